"""What is old goes, and nothing that a day, a check or the next pull needs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import redis

from moovitamix.chores import housekeeping
from moovitamix.erasure import erase_users
from moovitamix.ingest import people as in_files
from moovitamix.ingest.lake import LakeStore
from moovitamix.ingest.pulls import kept_pulls
from moovitamix.ingest.spool_folder import own_folder
from moovitamix.resources import Cache, Lake, Warehouse
from moovitamix.retention import Tidied, keep_house
from moovitamix.settings import Settings, get_settings
from moovitamix_tests.conftest import drop_schemas
from moovitamix_tests.ingest.pulling import a_listen, a_track, a_user, at, empty, pull_at
from moovitamix_tests.peopled import HER, Peopled, adds_up, make_peopled
from moovitamix_tests.reference_source import ReferenceSource
from moovitamix_tests.warehouse.loading import CONTENTS, contents, load, rows_of

NOTHING = Tidied(0, 0, 0, 0)


@pytest.fixture
def small(source: ReferenceSource) -> ReferenceSource:
    """Two tracks, two users and a listen."""
    empty(source)
    source.tracks = [a_track(1, at(5)), a_track(2, at(5))]
    source.users = [a_user(1, at(6)), a_user(2, at(6))]
    source.listens = [a_listen(1, [1, 2, 1], at(12))]
    return source


@pytest.fixture
def peopled(
    warehouse: Warehouse, lake: LakeStore, valkey: redis.Redis, source: ReferenceSource
) -> Peopled:
    return make_peopled(warehouse, lake, valkey, source)


def tidy(world: Peopled, present: datetime, *, kept: int = 90, withdrawn: int = 30) -> Tidied:
    settings = Settings(
        now=present.replace(tzinfo=UTC),
        keep_replaced_days=kept,
        erase_withdrawn_after_days=withdrawn,
    )
    return keep_house(world.warehouse, world.lake, world.cache, settings)


def test_any_day_loaded_again_after_pruning_gives_the_same_tables(
    peopled: Peopled, source: ReferenceSource
) -> None:
    lake, warehouse = peopled.lake, peopled.warehouse
    before, waiting = peopled.contents(), rows_of(warehouse, "SELECT key FROM quarantine")
    assert tidy(peopled, at(23, 13)) == NOTHING
    later = tidy(peopled, at(23) + timedelta(days=40), withdrawn=100)
    assert later == replace(NOTHING, told=3)
    assert rows_of(warehouse, "SELECT user_id FROM activity") == [(HER,)], "not loaded yet"

    # The first two pulls are old, and have replaced nothing.
    done = tidy(peopled, at(24, 13), kept=2)
    assert (done.users, done.contents, done.files) == (0, 0, 16)
    names = lake.names("pulls")
    assert not [name for name in names if "20261121" in name and "seen" in name]
    pull_at(lake, source, at(24))
    load(warehouse, lake, 23)
    assert peopled.contents() == before
    done = tidy(peopled, at(26), kept=2)
    assert (done.contents, done.files) == (2, 8), "her edit and her listen that has grown"
    assert tidy(peopled, at(26), kept=2) == NOTHING
    assert adds_up(lake)
    newest = kept_pulls(lake)[-1].name
    assert {name for name in lake.names("pulls") if ".seen" in name or ".gone" in name} == {
        *(f"pulls/{newest}/{one}.seen.parquet" for one in ("tracks", "users", "listen_history")),
        *(f"pulls/{newest}/{one}.gone.parquet" for one in ("tracks", "users")),
    }

    for day in (22, 5, 12, 21, 20):
        load(warehouse, lake, day)
        assert peopled.contents() == before
    assert rows_of(warehouse, "SELECT key FROM quarantine") == waiting
    told = set(rows_of(warehouse, CONTENTS["listen_history"] + " WHERE told"))
    drop_schemas(warehouse)
    load(warehouse, lake, *range(1, 24))
    again = contents(warehouse)
    before["listen_history"] = [row for row in before["listen_history"] if row not in told]
    assert {name: rows for name, rows in again.items() if name != "quarantine"} == {
        name: rows for name, rows in before.items() if name != "quarantine"
    }
    pull = pull_at(lake, source, at(26))
    assert sum(n.stored for n in pull.counts.values()) == 0, "the latest contents are still known"


def test_rejected_records_stay_until_their_day_is_published(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource, valkey: redis.Redis
) -> None:
    world = Peopled(warehouse, lake, valkey, small)
    small.tracks.append(a_track(3, at(5), duration="long"))
    pull_at(lake, small)
    load(warehouse, lake, *range(1, 20))
    pull_at(lake, small, at(22))
    assert tidy(world, at(26), kept=2).files == 5
    load(warehouse, lake, 20)
    assert [row[0] for row in contents(warehouse)["quarantine"]] == ["tracks"]
    assert tidy(world, at(26), kept=2).files == 3
    with warehouse.connect() as connection:
        connection.execute("UPDATE quarantine SET last_tried = '2026-11-21'")
    assert tidy(world, at(26), kept=2).quarantined == 1


def test_users_gone_for_long_are_erased_and_nobody_else(peopled: Peopled) -> None:
    assert tidy(peopled, at(23) + timedelta(days=30)) == NOTHING
    others = [row for row in peopled.contents()["users"] if row[0] != 1]
    done = tidy(peopled, at(24) + timedelta(days=30))
    assert done.users == 1
    assert peopled.contents()["users"] == others
    assert [row for row in peopled.contents()["listen_history"] if row[0] == 1] == []
    assert tidy(peopled, at(24) + timedelta(days=30)) == NOTHING


def test_impressions_and_clicks_go_in_time_and_what_the_matrix_is_made_of_stays(
    peopled: Peopled,
) -> None:
    with peopled.warehouse.connect() as connection:
        connection.execute(
            "INSERT INTO feedback (user_id, track_id, kind, at, day) "
            "SELECT 1, 1, kind, moment, moment::date FROM unnest("
            "  '{impression,click,skip,hide,unhide}'::text[]) AS kind,"
            "  unnest('{2026-11-22 12:00,2026-11-24 12:00}'::timestamp[]) AS moment"
        )
    assert tidy(peopled, at(22) + timedelta(days=90), withdrawn=200).shown == 0
    assert tidy(peopled, at(23) + timedelta(days=90), withdrawn=200).shown == 2
    left = rows_of(
        peopled.warehouse, "SELECT day::text, count(*) FROM feedback GROUP BY 1 ORDER BY 1"
    )
    assert left == [("2026-11-22", 3), ("2026-11-24", 5)]


class Killed(BaseException):
    """As a process ends that is killed: nothing after it is executed."""


def test_an_erasure_that_was_killed_is_completed_without_anybody_asking(
    peopled: Peopled, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise Killed

    stores = peopled.warehouse, peopled.lake, peopled.cache
    with monkeypatch.context() as patch:
        patch.setattr("moovitamix.recommend.people.erase_from_artifacts", killed)
        with pytest.raises(Killed):
            erase_users(*stores, [HER], spool=get_settings().spool)
    assert not [one for one in in_files.named_in_files(peopled.lake) if HER in one.rows["id"]]
    assert peopled.mentions()
    tidy(peopled, at(23, 13))
    assert peopled.mentions() == []


def test_what_a_killed_pull_has_left_on_this_machine_goes_and_what_is_in_use_stays(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource, valkey: redis.Redis
) -> None:
    world = Peopled(warehouse, lake, valkey, small)
    spool = get_settings().spool
    spool.mkdir(parents=True)
    with own_folder(spool) as folder:
        for place in (folder, spool, spool / "left"):
            place.mkdir(exist_ok=True)
            (place / "users-0.arrow").write_bytes(b"perpetua@example.org")
        tidy(world, at(26))
        assert [*spool.iterdir()] == [folder], "of a pull that is under way"
        assert (folder / "users-0.arrow").exists()
    assert not spool.exists()


def test_the_nightly_job_keeps_house(
    warehouse: Warehouse,
    lake: LakeStore,
    small: ReferenceSource,
    valkey: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = Peopled(warehouse, lake, valkey, small)
    small.users.append(a_user(3, at(6)))
    pull_at(lake, small)
    small.users.pop()
    pull_at(lake, small, at(22))
    load(warehouse, lake, *range(1, 22))
    monkeypatch.setenv("MOOVITAMIX_NOW", "2026-12-24T00:00")
    get_settings.cache_clear()
    resources = {"lake": Lake(url=lake.url), "warehouse": warehouse, "cache": world.cache}
    assert housekeeping.execute_in_process(resources=resources).success
    assert rows_of(warehouse, "SELECT id FROM users") == [(1,), (2,)]
    measured = "SELECT day::text, store FROM size_figures GROUP BY day, store ORDER BY store"
    stores = ("lake", "postgres", "redis")
    assert rows_of(warehouse, measured) == [("2026-12-24", store) for store in stores]


def test_a_night_without_redis_is_no_failed_night(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    pull_at(lake, small)
    resources = {
        "lake": Lake(url=lake.url),
        "warehouse": warehouse,
        "cache": Cache(url="redis://127.0.0.1:1"),
    }
    assert housekeeping.execute_in_process(resources=resources).success
    stores = rows_of(warehouse, "SELECT DISTINCT store FROM size_figures ORDER BY store")
    assert stores == [("lake",), ("postgres",)]
