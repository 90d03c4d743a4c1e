"""The book of alerts stays right whatever is found in whatever order, and whoever is killed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moovitamix.observe import ledger, outbox
from moovitamix.observe.conditions import RULES, Condition, Kind
from moovitamix_tests.observe.alerting.conftest import NOW, RUNBOOK, World
from moovitamix_tests.observe.alerting.receivers import Hook

MINUTE = timedelta(minutes=1)
KEYS = ("a", "b", "c")


def found(kind: Kind, key: str) -> Condition:
    return Condition(key=key, kind=kind, title=key, text=key)


def told(world: World) -> list[tuple[str, str, str]]:
    return world.rows(
        "SELECT a.key, n.what, n.channel FROM alert_notices n JOIN alerts a ON a.id = n.alert_id "
        "ORDER BY n.id"
    )


@settings(
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    kind=st.sampled_from(["day_late", "run_failed", "model_promoted"]),
    looks=st.lists(st.sets(st.sampled_from(KEYS)), max_size=8),
)
def test_each_beginning_and_each_end_is_noted_once_for_each_channel(
    world: World, kind: Kind, looks: list[set[str]]
) -> None:
    world.write("TRUNCATE alerts CASCADE")
    nature = RULES[kind].nature
    is_open: set[str] = set()
    ever: set[str] = set()
    expected: list[tuple[str, str, str]] = []
    for number, keys in enumerate(looks):
        with world.warehouse.connect() as connection:
            look = ledger.Look([found(kind, key) for key in sorted(keys)], list(RULES))
            ledger.enter(connection, look, ["x", "y"], NOW + number * MINUTE)
        opened = keys - is_open if nature == "lasts" else keys - ever
        over = set() if nature == "announced" else is_open - keys
        expected += [(key, "new", channel) for key in opened for channel in "xy"]
        expected += [(key, "over", channel) for key in over for channel in "xy"]
        ever |= keys
        if nature != "announced":
            is_open = (is_open - over) | opened
        assert world.open == sorted(is_open)
    assert sorted(told(world)) == sorted(expected)


def test_the_database_itself_allows_one_open_alert_for_a_key(world: World) -> None:
    insert = (
        "INSERT INTO alerts (key, kind, severity, title, text, runbook, first_seen, last_seen) "
        "VALUES ('a', 'drift', 'info', '', '', '', now(), now())"
    )
    world.write(insert)
    with pytest.raises(psycopg.errors.UniqueViolation):
        world.write(insert)


def test_looks_at_the_same_moment_tell_once(hooked: World, hook: Hook) -> None:
    hooked.block(19, 20)
    with ThreadPoolExecutor(4) as lookers:
        list(lookers.map(lambda _: hooked.look(), range(4)))
    assert len(hook.messages) == 1
    assert hooked.rows("SELECT count(*), count(sent_at) FROM alert_notices") == [(2, 2)]


def test_who_is_killed_between_claim_and_sending_has_lost_nothing(
    hooked: World, hook: Hook
) -> None:
    hook.down = True
    hooked.block(20)
    hooked.look()
    hook.down = False
    channel = hooked.post.channels[0]
    with hooked.warehouse.connect() as connection:  # and then the process is gone
        claimed = outbox._claim(
            connection, channel, NOW + 5 * MINUTE, namespace="mvx", runbook=RUNBOOK
        )
    assert claimed is not None
    hooked.look(6 * MINUTE)  # might still be on its way
    assert hook.messages == []
    hooked.look(5 * MINUTE + outbox.pause(2))
    assert len(hook.messages) == 1


def test_what_was_over_long_ago_is_forgotten_and_what_is_open_is_not(world: World) -> None:
    world.block(20)
    world.look()
    world.unblock()
    world.look(MINUTE)
    world.block(19)
    world.look(2 * MINUTE)
    world.look(ledger.KEEP_FOR + 2 * MINUTE)
    assert world.rows("SELECT key FROM alerts") == [("day_blocked:2026-11-19",)]


def test_a_channel_that_is_named_no_more_is_given_up_after_a_week(
    hooked: World, world: World, hook: Hook
) -> None:
    hook.down = True
    hooked.block(20)
    hooked.look()
    world.look(ledger.GIVE_UP_AFTER - MINUTE)
    assert len(told(world)) == 1
    world.look(ledger.GIVE_UP_AFTER + MINUTE)
    assert told(world) == []
