"""What the app told is loaded with its day, once, whoever brings it first; and never too late."""

from __future__ import annotations

import uuid
from datetime import date
from typing import Any

import psycopg
import pytest

from moovitamix.ingest.lake import LakeStore
from moovitamix.resources import Warehouse
from moovitamix.warehouse.expectations import expectations_of
from moovitamix.warehouse.judge import gx_validator, judge_days
from moovitamix.warehouse.reconcile import reconcile
from moovitamix.warehouse.told import forget_loaded
from moovitamix_tests.ingest.pulling import a_listen, a_track, a_user, at, pull_at
from moovitamix_tests.reference_source import ReferenceSource
from moovitamix_tests.warehouse.loading import contents, load, november, rows_of, stage_days
from moovitamix_tests.warehouse.telling import tell, tell_within


def listens(warehouse: Warehouse) -> list[tuple[Any, ...]]:
    return contents(warehouse)["listen_history"]


def staged(warehouse: Warehouse) -> list[tuple[Any, ...]]:
    return rows_of(warehouse, "SELECT day, user_id, track_id, nth, told FROM staged_listens")


def test_what_is_told_is_loaded_with_its_day_and_brings_its_user_and_tracks(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    pull_at(lake, small)
    tell(warehouse, 2, at(14), [2, 2])
    assert load(warehouse, lake, 13).inserted["listen_history"] == 0
    outcome = load(warehouse, lake, 14)
    assert outcome.staged_listens == outcome.inserted["listen_history"] == 2
    assert listens(warehouse) == [(2, 2, at(14), at(14), 1), (2, 2, at(14), at(14), 2)]
    assert [row[0] for row in contents(warehouse)["users"]] == [2]
    assert [row[0] for row in contents(warehouse)["tracks"]] == [2]
    again = load(warehouse, lake, 14)
    assert (again.staged_listens, again.known_listens) == (2, 2)


@pytest.mark.parametrize("days", [[12], [13], [12, 13]], ids=["same day", "next day", "both"])
def test_a_record_that_is_told_and_pulled_counts_once_in_one_run(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource, days: list[int]
) -> None:
    pull_at(lake, small)
    tell(warehouse, 1, at(12), [1, 2, 1], day=days[0])
    tell(warehouse, 1, at(12), [1, 2, 1], day=days[-1])
    outcome = load(warehouse, lake, 12, 13)
    assert len(listens(warehouse)) == outcome.inserted["listen_history"] == 3
    assert outcome.reconciles()


def test_a_day_that_is_told_and_pulled_is_as_busy_as_one_that_is_pulled(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    pull_at(lake, small)
    tell(warehouse, 1, at(12), [1, 2, 1])
    load(warehouse, lake, 12)
    assert rows_of(warehouse, "SELECT listens FROM published_days") == [(3,)]


@pytest.mark.parametrize("bad", [12, 13])
def test_where_one_of_its_two_days_is_blocked_the_other_brings_it(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource, bad: int
) -> None:
    pull_at(lake, small)
    tell(warehouse, 1, at(12), [1, 2, 1], day=13)
    outcome = load(warehouse, lake, 12, 13, bad=[bad])
    assert outcome.inserted["listen_history"] == len(listens(warehouse)) == 3
    later = load(warehouse, lake, bad)
    assert (later.staged_listens, later.known_listens) == (3, 3)


@pytest.mark.parametrize("first", ["told", "pulled"])
def test_told_in_one_run_and_pulled_in_another_it_counts_once(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource, first: str
) -> None:
    pull_at(lake, small)
    tell(warehouse, 1, at(12), [1, 2, 1], day=14, listened=at(12, 15))
    for day in (14, 12) if first == "told" else (12, 14):
        load(warehouse, lake, day)
    assert listens(warehouse) == [
        (1, 1, at(12, 15), at(12), 1),
        (1, 1, at(12, 15), at(12), 2),
        (1, 2, at(12, 15), at(12), 1),
    ], "the app told of it before any pull: its moment counts, whichever day is loaded first"


def test_a_record_that_grows_is_told_pulled_and_loaded_play_by_play(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    pull_at(lake, small, at(14))
    load(warehouse, lake, 12)
    tell(warehouse, 1, at(12), [1, 2, 1, 2], day=13, listened=at(13, 9))
    outcome = load(warehouse, lake, 13)
    assert outcome.inserted["listen_history"] == outcome.staged_listens == 1
    small.listens = [a_listen(1, [1, 2, 1, 2], at(12), at(13, 9))]
    pull_at(lake, small, at(15))
    assert load(warehouse, lake, 14).inserted["listen_history"] == 0
    assert len(listens(warehouse)) == 4


def test_what_is_told_of_the_unknown_waits_and_is_loaded_when_they_arrive(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    pull_at(lake, small, at(14))
    tell(warehouse, 9, at(13), [1, 9])
    outcome = load(warehouse, lake, 13)
    assert (outcome.staged_listens, outcome.quarantined_listens) == (2, 2)
    assert {row[2] for row in contents(warehouse)["quarantine"]} == {"Unknown user"}

    # It is not taken again with other days, of which it would be a part that hangs in the air.
    assert load(warehouse, lake, 12).staged_listens == 3

    small.users.append(a_user(9, at(14)))
    small.tracks.append(a_track(9, at(14)))
    small.listens.append(a_listen(9, [1, 9], at(13)))
    pull_at(lake, small, at(15))
    assert load(warehouse, lake, 14).replayed_listens == 0, "the pull brings it with this day"
    assert len([row for row in listens(warehouse) if row[0] == 9]) == 2
    assert contents(warehouse)["quarantine"] == []
    with warehouse.connect() as connection:
        assert reconcile(connection, lake).reconciles


def test_what_waits_is_replayed_when_only_its_user_and_track_arrive(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    pull_at(lake, small, at(14))
    tell(warehouse, 9, at(13), [1, 2])
    load(warehouse, lake, 13)
    small.users.append(a_user(9, at(14)))
    pull_at(lake, small, at(15))
    assert load(warehouse, lake, 14).replayed_listens == 2
    assert rows_of(warehouse, "SELECT DISTINCT told FROM listen_history WHERE user_id = 9") == [
        (True,)
    ]


def test_what_is_committed_after_its_day_was_published_comes_with_the_next_load_of_any_day(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    pull_at(lake, small)
    with warehouse.connect() as midnight:
        tell_within(midnight, 2, at(14, 23), [2])
        assert load(warehouse, lake, 14).staged_listens == 0
    outcome = load(warehouse, lake, 15)
    assert outcome.inserted["listen_history"] == 1
    assert [row[0] for row in contents(warehouse)["users"]] == [2]
    assert listens(warehouse) == [(2, 2, at(14, 23), at(14, 23), 1)]
    assert load(warehouse, lake, 15, 16).staged_listens == 0, "it is loaded by now"


def test_what_came_late_is_withheld_with_the_day_that_took_it_and_tried_again(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    pull_at(lake, small)
    load(warehouse, lake, 14)
    tell(warehouse, 2, at(14, 23), [2])
    assert load(warehouse, lake, 15, bad=[15]).inserted["listen_history"] == 0
    # A day that is not published yet brings its own, and nothing of it comes with another.
    tell(warehouse, 2, at(15, 23), [2])
    assert load(warehouse, lake, 16).inserted["listen_history"] == 1
    assert load(warehouse, lake, 15).inserted["listen_history"] == 1


def test_the_checks_of_a_day_pass_with_a_play_that_is_told_and_pulled(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    pull_at(lake, small)
    tell(warehouse, 1, at(12), [1, 2, 1], day=13)
    run_id, days = uuid.uuid4().hex, [november(12), november(13)]
    stage_days(warehouse, lake, days, run_id)
    assert len(staged(warehouse)) == 6

    def failed() -> dict[str, int]:
        rules = expectations_of("staged_listens")
        validate = gx_validator(
            warehouse.address(), warehouse.schema_name, "staged_listens", run_id, rules
        )
        whole = judge_days(validate, days).whole
        return {name: one.unexpected for name, one in whole.items() if not one.passed}

    assert failed() == {}
    with warehouse.connect() as connection:
        connection.execute("INSERT INTO staged_listens SELECT * FROM staged_listens WHERE told")
    assert failed() == {"play_unique": 6}, "what is told twice is a fault, of ours"


def test_what_the_app_told_is_known_to_the_reconciliation(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    pull_at(lake, small)
    tell(warehouse, 2, at(12, 9), [2])
    with warehouse.connect() as connection:
        connection.execute("UPDATE activity SET taken_at = now() - interval '1 day'")
    load(warehouse, lake, 12)

    def found() -> tuple[int, int, int]:
        with warehouse.connect() as connection:
            this = reconcile(connection, lake)
        return this.dealt, this.loaded, this.unknown

    assert found() == (4, 4, 0)
    with warehouse.connect() as connection:
        assert forget_loaded(connection, november(13)).plays == 1
    assert found() == (3, 3, 0), "that no pull knows it is no fault, even when activity is gone"
    tell(warehouse, 2, at(12, 10), [2])
    assert found() == (3, 3, 0), "what came just now comes with the next load"
    with warehouse.connect() as connection:
        connection.execute("UPDATE activity SET taken_at = now() - interval '1 day'")
    assert found() == (4, 3, 0), "what was there in time and is not loaded is lost"


def kept_after(warehouse: Warehouse, before: date) -> tuple[list[int], list[int]]:
    with warehouse.connect() as connection:
        forget_loaded(connection, before)
    plays = rows_of(warehouse, "SELECT user_id FROM activity")
    marks = rows_of(warehouse, "SELECT user_id FROM activity_marks")
    return [one for (one,) in plays], [one for (one,) in marks]


def test_what_is_loaded_goes_in_time_and_what_is_not_stays(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    pull_at(lake, small)
    tell(warehouse, 1, at(12, 9), [1])
    tell(warehouse, 2, at(13, 9), [1])
    tell(warehouse, 9, at(12, 9), [1])
    load(warehouse, lake, 12, 13)
    assert kept_after(warehouse, november(12)) == ([1, 2, 9], [1, 2, 9])
    assert kept_after(warehouse, november(13)) == ([2, 9], [1, 2, 9]), "the mark is of just now"
    with warehouse.connect() as connection:
        connection.execute("UPDATE activity_marks SET marked_at = '2026-11-01'")
    assert kept_after(warehouse, november(13)) == ([2, 9], [2, 9])
    assert kept_after(warehouse, november(20)) == ([9], [9])
    before = contents(warehouse)
    load(warehouse, lake, 12, 13)
    assert contents(warehouse) == before


def test_a_mark_that_is_being_made_is_not_removed(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    pull_at(lake, small)
    tell(warehouse, 1, at(12), [1])
    load(warehouse, lake, 12)
    with warehouse.connect() as connection:
        connection.execute("UPDATE activity_marks SET marked_at = '2026-11-01'")
    with warehouse.connect() as tidying, warehouse.connect() as telling:
        telling.execute("SET lock_timeout = '5s'")
        tell_within(telling, 1, at(13), [2])
        telling.execute("UPDATE activity_marks SET marked_at = now()")
        tidying.execute("SET lock_timeout = '1ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            forget_loaded(tidying, november(13))
        tidying.rollback()
    assert kept_after(warehouse, november(13)) == ([1], [1])
