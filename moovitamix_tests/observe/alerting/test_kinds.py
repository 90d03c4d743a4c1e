"""Each kind of alert is raised by what is really in the stores, and ends when that does."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import pytest
import redis

from moovitamix.observe.conditions import RULES
from moovitamix.observe.facts import quarantine_levels
from moovitamix.observe.standing import AND_SO_MANY, EXPIRES_SOON
from moovitamix.recommend import experiments, registry, succession
from moovitamix.recommend.gate import Decision
from moovitamix.resources import Cache
from moovitamix.serve.generations import current_key
from moovitamix_tests.observe.alerting.conftest import NOW, World
from moovitamix_tests.serve.test_generations import PREFIX, publish
from moovitamix_tests.serve.test_life import age
from moovitamix_tests.test_runbook import RUNBOOK, anchors

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def test_every_kind_has_its_entry_in_the_runbook() -> None:
    assert {rule.runbook for rule in RULES.values()} <= anchors(RUNBOOK)


def test_nothing_is_told_of_a_world_in_which_nothing_was_done_yet(world: World) -> None:
    world.look()
    assert (world.open, world.told) == ([], [])


def test_each_look_leaves_its_moment_for_those_who_watch_the_daemon(world: World) -> None:
    for moment in (timedelta(), HOUR):
        world.look(moment)
        assert world.rows("SELECT looked_at FROM alert_looks") == [(NOW + moment,)]


def test_a_blocked_day_is_open_until_it_is_accepted(world: World) -> None:
    world.block(20)
    world.look()
    assert world.open == ["day_blocked:2026-11-20"]
    world.write("UPDATE blocked_days SET accepted_by = 'Zoë', accepted_at = now()")
    world.look(HOUR)
    assert world.open == []


def publish_days(world: World, *days: int, at: datetime = NOW) -> None:
    for day in days:
        world.write(
            "INSERT INTO published_days (day, pull, run_id, published_at) "
            "VALUES (%s, 'p', 'r', %s)",
            date(2026, 11, day),
            at,
        )


def test_a_day_is_late_when_it_is_not_published_in_time_and_not_when_it_is(world: World) -> None:
    publish_days(world, 18, 19)
    world.block(20)
    world.look(timedelta(hours=-5))  # 05:30: the 21st ended five and a half hours ago
    assert world.open == ["day_blocked:2026-11-20"]
    world.look()
    assert world.open == ["day_blocked:2026-11-20", "day_late:2026-11-21"]
    publish_days(world, 21)
    world.look(HOUR)
    assert world.open == ["day_blocked:2026-11-20"]
    world.look(timedelta(hours=20))  # 06:30 of the 23rd
    assert world.open == ["day_blocked:2026-11-20", "day_late:2026-11-22"]


def register(world: World, run: str) -> int:
    with world.warehouse.connect() as connection:
        return registry.register(
            connection,
            run_id=run,
            as_of=date(2026, 11, 21),
            pull="p1",
            matrix_fingerprint="f00d",
            parameters={},
            artifact="",
        ).version


def decide(world: World, version: int, decision: Decision) -> None:
    """What the gate does with its decision."""
    with world.warehouse.connect() as connection:
        if decision.promoted:
            registry.promote(connection, version, decision)
        else:
            registry.record_verdict(connection, version, decision)
        # The tables' clock is the server's; looks here are at a moment of the test's.
        connection.execute(
            "UPDATE model_decisions SET decided_at = %s WHERE version = %s", (NOW, version)
        )
        connection.execute(
            "UPDATE model_versions SET created_at = %(at)s, "
            "promoted_at = CASE WHEN promoted_at IS NOT NULL THEN %(at)s END "
            "WHERE version = %(version)s",
            {"at": NOW, "version": version},
        )


FIRST = Decision("cannot tell", "als", True, "NDCG@10 0.21, 12 users.")


def test_a_promotion_is_told_once_with_its_figures_and_never_again(world: World) -> None:
    version = register(world, "r1")
    decide(world, version, FIRST)
    for hours in range(0, 24 * 5, 12):
        world.look(hours * HOUR)
    told = [one for one in world.told if "is the champion. It" in one]
    assert len(told) == 1
    assert told[0].startswith(f"Version {version} is the champion. It was promoted. cannot tell:")
    assert "NDCG@10 0.21, 12 users." in told[0]
    assert world.rows("SELECT count(*) FROM alerts WHERE kind = 'model_promoted'") == [(1,)]


def test_a_refusal_is_told_once_with_its_figures(world: World) -> None:
    champion, candidate = register(world, "r1"), register(world, "r2")
    decide(world, champion, FIRST)
    reason = "NDCG@10 -0.02 [-0.03, -0.01]."
    decide(world, candidate, Decision("worse than production", "als", False, reason, False))
    world.look()
    world.look(HOUR)
    told = [one for one in world.told if "not promoted" in one]
    assert len(told) == 1
    assert f"The champion stays (version {champion}). worse than production: {reason}" in told[0]


def test_what_somebody_does_by_hand_is_told_without_their_name_and_words(world: World) -> None:
    first, second = register(world, "r1"), register(world, "r2")
    decide(world, first, FIRST)
    decide(world, second, Decision("better than the champion", "als", False, "+0.01"))
    world.write(
        "UPDATE model_versions SET artifact = 'a'",
    )
    with world.warehouse.connect() as connection:
        succession.roll_back(connection, "Zoë", "Odd lists, says Perpetua")
        connection.execute("UPDATE model_decisions SET decided_at = %s", (NOW,))
    world.look()
    told = [one for one in world.told if "rolled back" in one]
    assert len(told) == 1
    assert f"after version {second}" in told[0]
    assert "Zoë" not in told[0]
    assert "Perpetua" not in told[0]


@pytest.fixture
def served(world: World, valkey: redis.Redis, valkey_url: str) -> World:
    """A champion, and a generation of it, looked at by the server's own clock."""
    decide(world, register(world, "r1"), FIRST)
    publish(valkey)
    world.cache = Cache(url=valkey_url, namespace=PREFIX)
    return world


def test_lists_that_nobody_renewed_are_told_of_until_somebody_does(
    served: World, valkey: redis.Redis
) -> None:
    generation = publish(valkey)
    since_now = generation.published_at - NOW
    served.look(since_now)
    assert served.open == []
    age(valkey, generation, EXPIRES_SOON - HOUR)
    served.look(since_now + HOUR / 60)
    assert served.open == ["lists_expiring"]
    age(valkey, generation, EXPIRES_SOON + HOUR)
    served.look(since_now + HOUR / 30)
    assert served.open == []


def test_it_is_told_that_nothing_is_served_until_something_is(
    served: World, valkey: redis.Redis
) -> None:
    valkey.delete(current_key(PREFIX))
    served.look(timedelta(minutes=50))  # its publication is on its way
    assert served.open == []
    served.look(HOUR)
    assert served.open == ["nothing_served"]
    publish(valkey)
    served.look(2 * HOUR)
    assert "nothing_served" not in served.open


def test_a_redis_that_is_down_neither_ends_nor_raises_what_is_told_of_lists(
    served: World, valkey: redis.Redis
) -> None:
    valkey.delete(current_key(PREFIX))
    served.look(HOUR)
    served.cache = Cache(url="redis://127.0.0.1:1", namespace=PREFIX)
    served.block(20)
    served.look(2 * HOUR)
    assert served.open == ["day_blocked:2026-11-20", "nothing_served", "redis_down"]
    assert any("Whether lists are served cannot be told" in one for one in served.told)


def test_that_redis_is_down_is_told_until_it_answers(served: World) -> None:
    there = served.cache
    served.cache = Cache(url="redis://127.0.0.1:1", namespace=PREFIX)
    served.look(HOUR)
    assert served.open == ["redis_down"]
    served.cache = there
    served.look(2 * HOUR)
    assert served.open == []


def wait(world: World, count: int, *, since: datetime) -> None:
    world.write(
        "INSERT INTO quarantine (endpoint, sha256, payload, day, pull, reason, first_seen) "
        "SELECT 'tracks', sha256((%s || n)::bytea), '', '2026-11-20', 'p', 'broken', %s "
        "FROM generate_series(1, %s) n",
        since.isoformat(),
        since,
        count,
    )


def test_more_in_quarantine_than_usual_is_told_until_it_is_less(world: World) -> None:
    publish_days(world, 10, at=NOW - 10 * DAY)
    publish_days(world, *range(11, 22))
    wait(world, 30, since=NOW - 9 * DAY)
    wait(world, 30 + AND_SO_MANY, since=NOW - HOUR)
    world.look()
    assert world.open == []
    wait(world, 1, since=NOW)
    world.look()
    assert world.open == ["quarantine_growing"]
    assert any("81 records wait; in the last 7 days it was 30" in one for one in world.told)
    world.write("UPDATE quarantine SET resolved_at = %s WHERE first_seen = %s", NOW, NOW)
    world.look(HOUR)
    assert world.open == []


def test_the_level_of_each_day_is_told_from_when_rows_came_and_were_resolved(world: World) -> None:
    publish_days(world, 10, at=NOW - 5.5 * DAY)
    wait(world, 4, since=NOW - 9 * DAY)
    wait(world, 2, since=NOW - 2 * DAY)
    wait(world, 1, since=NOW - 1.5 * DAY)
    world.write(
        "UPDATE quarantine SET resolved_at = %s WHERE first_seen = %s", NOW - HOUR, NOW - 2 * DAY
    )
    with world.warehouse.connect() as connection:
        assert quarantine_levels(connection, NOW) == (5, [7, 6, 4, 4, 4])


def test_the_first_load_is_not_more_than_usual(world: World) -> None:
    publish_days(world, 20, 21, at=NOW - HOUR)
    wait(world, 1_000, since=NOW - HOUR)
    world.look()
    assert world.open == []


def read_drift(
    world: World, day: int, version: int, as_of: int = 1, reason: str = "", **verdicts: str
) -> None:
    for feature, verdict in verdicts.items():
        world.write(
            "INSERT INTO drift_readings "
            "(day, feature, model_version, as_of, value, warn, alarm, verdict, reason) "
            "VALUES (%s, %s, %s, %s, 0.1234, 0.05, 0.1, %s, %s)",
            date(2026, 11, day),
            feature,
            version,
            date(2026, 11, as_of),
            verdict,
            reason,
        )


def test_drift_is_told_with_its_features_until_the_newest_day_is_steady(world: World) -> None:
    version = register(world, "r1")
    decide(world, version, FIRST)
    read_drift(world, 20, version, genre_mix="drifted", activity="warning", popularity="drifted")
    world.look()
    assert f"drift:v{version}" in world.open
    told = next(one for one in world.told if "drifted" in one)
    assert "genre_mix 0.123 (alarm from 0.1), popularity 0.123" in told
    assert "activity" not in told
    read_drift(world, 21, version, genre_mix="steady", activity="steady", popularity="cannot tell")
    world.look(HOUR)
    assert f"drift:v{version}" not in world.open


def test_drift_from_a_former_champion_is_nobodys_business(world: World) -> None:
    first, second = register(world, "r1"), register(world, "r2")
    decide(world, first, FIRST)
    read_drift(world, 20, first, genre_mix="drifted")
    world.look()
    assert f"drift:v{first}" in world.open
    decide(world, second, Decision("sound", "als", False, "x"))
    world.look(HOUR)
    assert f"drift:v{first}" not in world.open


def test_drift_that_cannot_be_told_any_more_is_told_after_three_days_until_it_can(
    world: World,
) -> None:
    version = register(world, "r1")
    blind: Any = {"genre_mix": "cannot tell", "quality": "cannot tell"}
    for day in range(10, 14):
        read_drift(world, day, version, reason="too young", **blind)
    world.look()
    assert world.open == [], "it never could be told: the platform is young"
    read_drift(world, 14, version, genre_mix="steady", quality="cannot tell")
    for day in (15, 16):
        read_drift(world, day, version, reason="a hole", **blind)
    read_drift(world, 17, version, as_of=17, reason="trained on", **blind)
    world.look(HOUR)
    assert world.open == []
    read_drift(world, 18, version, reason="a hole", **blind)
    world.look(2 * HOUR)
    assert world.open == ["drift_unknown"]
    assert any("Of 3 days since 2026-11-15" in one and "a hole" in one for one in world.told)
    read_drift(world, 19, version, genre_mix="cannot tell", quality="warning")
    world.look(3 * HOUR)
    assert world.open == []


@pytest.mark.parametrize(("days", "over_after"), [(3.0, 3), (None, 28)])
def test_an_experiment_that_nobody_stops_is_told_of_when_its_days_are_over(
    world: World, days: float | None, over_after: int
) -> None:
    champion, challenger = register(world, "r1"), register(world, "r2")
    decide(world, champion, FIRST)
    with world.warehouse.connect() as connection:
        begun = experiments.begin(
            connection,
            champion=champion,
            challenger=challenger,
            share=0.5,
            salt="s",
            by="Zoë",
            days=days,
        )
    since = begun.started_at - NOW
    world.look(since + over_after * DAY - HOUR)
    assert "experiment_over:1" not in world.open
    world.look(since + over_after * DAY + HOUR)
    assert "experiment_over:1" in world.open
    with world.warehouse.connect() as connection:
        experiments.conclude(
            connection, begun, verdict="cannot tell", reason="", figures={}, by="Zoë"
        )
    world.look(since + over_after * DAY + 2 * HOUR)
    assert "experiment_over:1" not in world.open


def test_an_alert_holds_no_value_of_a_user(world: World) -> None:
    world.write(
        "INSERT INTO quarantine (endpoint, sha256, payload, day, pull, reason, field, first_seen) "
        "SELECT 'users', sha256(n::text::bytea), 'perpetua@example.org', '2026-11-20', 'p', "
        "'Perpetua', 'email', %s FROM generate_series(1, 500) n",
        NOW,
    )
    publish_days(world, 10, at=NOW - 10 * DAY)
    world.look()
    assert "quarantine_growing" in world.open
    rows: list[tuple[Any, ...]] = world.rows("SELECT a::text FROM alerts a")
    assert "erpetua" not in "".join([*world.told, *(row[0] for row in rows)])
