"""Champion, lists, reactions, drift and quarantine in a report are those of the stores."""

from __future__ import annotations

from datetime import date, timedelta

import dagster as dg
import msgspec
import pytest
import redis

from moovitamix.observe import online
from moovitamix.observe.drift import Reading
from moovitamix.observe.drift_null import Bound
from moovitamix.observe.drift_store import Against, write_readings
from moovitamix.observe.report import page, sentences
from moovitamix.recommend import registry, succession
from moovitamix.recommend.gate import Decision
from moovitamix.serve.generations import Generation, added_key, current_key, meta_key
from moovitamix_tests.observe.report.conftest import DAY, NOW, TRACKS, USERS, Month

AS_OF = DAY - timedelta(days=4)
METRICS = {
    "rules": {"k": 10},
    "figures": {
        "discovery": {
            "candidate": {"ndcg": {"value": 0.2, "low": 0.1, "high": 0.3}},
            "popularity": {"ndcg": {"value": 0.1, "low": 0.05, "high": 0.15}},
        }
    },
}

_SHOWN = """
INSERT INTO feedback (user_id, track_id, kind, at, model_version, tier, day)
SELECT n, n, 'impression', %(day)s::timestamp + interval '1 hour', %(version)s, 'cached top-N',
       %(day)s
FROM generate_series(1, 30) n
UNION ALL
SELECT n, n, 'click', %(day)s::timestamp + interval '2 hours', NULL, NULL, %(day)s
FROM generate_series(1, 6) n
"""


def crown(month: Month, run_id: str, as_of: date) -> int:
    decision = Decision(
        verdict="better than popularity", algorithm="als", provisional=False, reason="It is."
    )
    with month.warehouse.connect() as connection:
        version = registry.register(
            connection,
            run_id=run_id,
            as_of=as_of,
            pull="p1",
            matrix_fingerprint="",
            parameters={},
            artifact="",
        ).version
        registry.record_evaluation(connection, version, METRICS, None)
        registry.promote(connection, version, decision)
    return version


@pytest.fixture
def served(month: Month, valkey: redis.Redis) -> Month:
    """A champion that was rolled back to, its lists, and what listeners did with them."""
    champion = crown(month, "r1", AS_OF)
    crown(month, "r2", DAY)
    generation = Generation(
        name=f"v{champion}-{AS_OF}-1",
        model_version=champion,
        algorithm="als",
        as_of=AS_OF,
        matrix_fingerprint="",
        list_length=100,
        keys={"u": 20, "r": 20, "g": 10, "t": 25, "p": 3},
        published_at=NOW - timedelta(hours=2),
        expires_at=NOW + timedelta(hours=22),
    )
    valkey.set(current_key("mvx"), generation.name)
    valkey.set(meta_key("mvx", generation.name), msgspec.json.encode(generation))
    valkey.hset(added_key("mvx", generation.name), mapping={"u": 4, "r": 4})  # folded in since
    readings = [
        Reading("genre_mix", 0.12, Bound(0.03, 0.05, 0.1), "drifted"),
        Reading("quality", None, None, "cannot tell", "the day has 3 users to judge by"),
    ]
    with month.warehouse.connect() as connection:
        connection.execute(
            "UPDATE model_versions SET artifact = 'kept' WHERE version = %s", (champion,)
        )
        succession.roll_back(connection, "Perpetua", "her words")
        against = Against(model_version=champion, as_of=AS_OF, pull="p1")
        write_readings(connection, DAY, readings, against)
        connection.execute(_SHOWN, {"day": DAY, "version": champion})
        online.count_day(connection, DAY)
        connection.execute("UPDATE users SET withdrawn_at = %s WHERE id = %s", (DAY, USERS))
    return month


def test_what_is_said_of_the_service_is_what_the_stores_hold(served: Month) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        found = served.collect(instance)
    model, lists, drift, shown = found.model, found.serving, found.drift, found.online
    assert model is not None
    assert (model.version, model.as_of, model.age_days, model.pinned) == (1, AS_OF, 4, True)
    (ndcg,) = model.measures
    assert (ndcg.name, ndcg.champion.value, ndcg.champion.high) == ("NDCG@10", 0.2, 0.3)
    assert ndcg.popularity is not None
    assert ndcg.popularity.value == 0.1
    assert lists is not None
    assert (lists.users, lists.users_covered) == (USERS - 1, 34)
    assert (lists.lists["u"], lists.lists["t"]) == (24, 25)
    assert (lists.tracks, lists.tracks_covered) == (TRACKS, 25)
    assert (lists.age_seconds, lists.expires_seconds) == (7_200, 79_200)
    assert drift is not None
    assert (drift.model_version, drift.verdict, len(drift.figures)) == (1, "drifted", 2)
    assert shown.day is not None
    assert (shown.day.clicks.count, shown.day.clicks.of) == (6, 30)
    assert [one.what for one in shown.apart] == ["tier cached top-N", "model version 1"]
    assert [one for one in shown.click_through if one is not None] == [shown.day.clicks]
    gone = next(one for one in found.volumes if one.name == "users gone")
    assert gone.count == 1
    assert [one.title for one in found.needs if one.severity == "info"] == ["Version 1 is pinned"]
    assert "The data has drifted from that of version 1" in [one.title for one in found.needs]

    whole = page.render(found, runbook="docs/runbook.md") + sentences.in_brief(found, "r")
    for said in (
        "87 % of 39 users have something of their own",
        "30 tracks were shown: click-through 20 % (9.5 to 37 %)",
        "Drifted against version 1, trained on data up to 2026-11-21: genre_mix.",
        "it is pinned",
        "version 1 was rolled back to by hand",
    ):
        assert said in whole, said
    assert "Perpetua" not in whole
    assert "her words" not in whole
