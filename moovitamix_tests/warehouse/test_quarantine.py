"""What waits in quarantine is told without personal values, and loaded once when it can be."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import msgspec

from moovitamix.ingest.lake import LakeStore
from moovitamix.resources import Warehouse
from moovitamix.warehouse.quarantine import (
    Group,
    Retried,
    newest_waiting,
    retry,
    waiting_groups,
)
from moovitamix_tests.ingest.pulling import FIRST_DAY, a_listen, a_track, a_user, at, pull_at
from moovitamix_tests.reference_source import Record, ReferenceSource
from moovitamix_tests.warehouse.loading import contents, load, rows_of

WAITING = "SELECT endpoint, field FROM quarantine WHERE resolved_at IS NULL"


def retry_at(warehouse: Warehouse, lake: LakeStore, present: datetime) -> Retried:
    with warehouse.connect() as connection:
        return retry(connection, lake, present=present, first_day=FIRST_DAY)


def reject(warehouse: Warehouse, endpoint: str, record: Record, pull: str, day: int = 20) -> None:
    """A record in quarantine, as an earlier and stricter contract would have left it there."""
    with warehouse.connect() as connection:
        connection.execute(
            "INSERT INTO quarantine (endpoint, sha256, payload, day, pull, reason, field) "
            "VALUES (%(e)s, sha256(%(p)s), %(p)s, %(day)s, %(pull)s, 'Too strict', 'name')",
            {
                "e": endpoint,
                "p": msgspec.json.encode(record),
                "day": f"2026-11-{day}",
                "pull": pull,
            },
        )


def test_what_waits_is_counted_by_reason_and_the_newest_shown_first(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    small.listens += [a_listen(None, [1], at(12)), a_listen(None, [2], at(12))]
    small.listens.append(a_listen(9, [1], at(12)))
    pull_at(lake, small)
    load(warehouse, lake, *range(1, 21))
    with warehouse.connect() as connection:
        connection.execute(
            "UPDATE quarantine SET first_seen = '2026-11-01' WHERE endpoint = 'listens'"
        )
        groups = waiting_groups(connection)
        assert [(group.endpoint, group.field, group.count) for group in groups] == [
            ("listen_history", "user_id", 2),
            ("listens", "user_id", 1),
        ]
        assert waiting_groups(connection, "listens") == [
            Group("listens", "user_id", "Unknown user", 1)
        ]
        newest = newest_waiting(connection, limit=2)
        assert [row.endpoint for row in newest] == ["listen_history"] * 2
        assert [row.endpoint for row in newest_waiting(connection, "listens", limit=5)] == [
            "listens"
        ]


def test_a_record_that_todays_contract_accepts_is_loaded_as_by_a_publication(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    pull = pull_at(lake, small)
    load(warehouse, lake, *range(1, 21))
    reject(warehouse, "tracks", a_track(7, at(5), genres="Ska, Jazz", duration="02:05"), pull.name)
    reject(warehouse, "users", a_user(7, at(6), favorite_genres="Ska"), pull.name)
    reject(warehouse, "listen_history", a_listen(7, [7, 1, 7], at(13)), pull.name)
    before = contents(warehouse)

    retried = retry_at(warehouse, lake, at(21))
    assert dict(retried.resolved) == {"listen_history": 1, "tracks": 1, "users": 1}
    assert dict(retried.inserted) == {
        "genres": 1,
        "tracks": 1,
        "users": 1,
        "track_genres": 2,
        "user_favorite_genres": 1,
        "listen_history": 3,
    }
    assert retried.waiting == []
    found = contents(warehouse)
    assert [row for row in found["listen_history"] if row not in before["listen_history"]] == [
        (7, 1, at(13), at(13), 1),
        (7, 7, at(13), at(13), 1),
        (7, 7, at(13), at(13), 2),
    ]
    assert {row for row in found["track_genres"] if row[0] == 7} == {(7, "jazz"), (7, "ska")}
    assert rows_of(warehouse, "SELECT run_id FROM staged_listens") == []
    again = retry_at(warehouse, lake, at(21))
    assert (dict(again.resolved), sum(again.inserted.values())) == ({}, 0)
    assert contents(warehouse) == found


def test_a_replayed_record_never_overwrites_what_a_newer_pull_brought(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    older = pull_at(lake, small)
    pull_at(lake, small, at(22))
    small.tracks[0] = a_track(1, at(5), at(22, 9), name="Newer")
    pull_at(lake, small, at(23))
    load(warehouse, lake, *range(1, 23))
    reject(warehouse, "tracks", a_track(1, at(5), name="Older"), older.name)
    assert dict(retry_at(warehouse, lake, at(23)).resolved) == {"tracks": 1}
    assert rows_of(warehouse, "SELECT name FROM tracks WHERE id = 1") == [("Newer",)]


def test_of_two_contents_of_one_record_the_newer_is_loaded(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    pull = pull_at(lake, small)
    load(warehouse, lake, *range(1, 21))
    reject(warehouse, "tracks", a_track(7, at(5), name="Second"), pull.name + "2")
    reject(warehouse, "tracks", a_track(7, at(5), name="First"), pull.name + "1")
    assert dict(retry_at(warehouse, lake, at(23)).resolved) == {"tracks": 2}
    assert rows_of(warehouse, "SELECT name FROM tracks WHERE id = 7") == [("Second",)]


PLAYS = "SELECT track_id, nth, listened_at FROM listen_history WHERE user_id = 1"


def test_what_a_listen_has_grown_by_was_heard_when_it_grew_whether_retried_or_pulled(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    small.tracks.append(a_track(3, at(5)))
    small.listens = [a_listen(1, [1, 2, 1], at(12))]
    pull_at(lake, small)
    load(warehouse, lake, *range(1, 21))
    small.listens = [a_listen(1, [1, 2, 1, 3], at(12), at(24, 9))]
    pull_at(lake, small, at(22))
    load(warehouse, lake, 21)
    assert rows_of(warehouse, WAITING) == [("listen_history", "updated_at")]
    heard = [(1, 1, at(12)), (1, 2, at(12)), (2, 1, at(12)), (3, 1, at(24, 9))]

    assert dict(retry_at(warehouse, lake, at(24, 8)).resolved) == {"listen_history": 1}
    assert rows_of(warehouse, PLAYS) == heard
    pull_at(lake, small, at(25, 3))
    load(warehouse, lake, 22, 23, 24)
    assert rows_of(warehouse, PLAYS) == heard


def test_of_several_contents_of_a_listen_all_plays_are_loaded(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    small.tracks.append(a_track(3, at(5)))
    small.listens = []
    pull = pull_at(lake, small)
    load(warehouse, lake, *range(1, 21))
    for items, updated, later in (([2], at(14), "2"), ([1, 3], at(13), "1"), ([3, 3], at(13), "1")):
        content = a_listen(1, items, at(13), updated)
        reject(warehouse, "listen_history", content, pull.name + later)

    assert dict(retry_at(warehouse, lake, at(21)).resolved) == {"listen_history": 3}
    assert rows_of(warehouse, PLAYS) == [
        (1, 1, at(13)),
        (2, 1, at(14)),
        (3, 1, at(13)),
        (3, 2, at(13)),
    ]


def test_what_was_dated_ahead_is_loaded_when_its_time_has_come(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    small.tracks.append(a_track(7, at(26)))
    pull_at(lake, small)
    load(warehouse, lake, *range(1, 21))
    assert rows_of(warehouse, WAITING) == [("tracks", "created_at")]
    assert dict(retry_at(warehouse, lake, at(26, 13)).resolved) == {}
    assert dict(retry_at(warehouse, lake, at(27, 1)).resolved) == {"tracks": 1}
    assert rows_of(warehouse, "SELECT created_at FROM tracks WHERE id = 7") == [(at(26),)]


def test_what_still_breaks_the_contract_waits_with_todays_reason(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    pull = pull_at(lake, small)
    load(warehouse, lake, *range(1, 21))
    reject(warehouse, "tracks", a_track(7, at(5), duration="3.5"), pull.name)
    retried = retry_at(warehouse, lake, at(21))
    assert [(group.field, group.count) for group in retried.waiting] == [("duration", 1)]
    assert "3.5" not in retried.waiting[0].reason
    assert rows_of(warehouse, "SELECT last_tried > first_seen FROM quarantine") == [(True,)]


def test_of_a_day_that_is_not_published_nothing_is_replayed(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    pull = pull_at(lake, small)
    load(warehouse, lake, *range(1, 21), bad=[20])
    reject(warehouse, "tracks", a_track(7, at(5)), pull.name)
    assert dict(retry_at(warehouse, lake, at(21)).resolved) == {}
    load(warehouse, lake, 20)
    assert dict(retry_at(warehouse, lake, at(21)).resolved) == {"tracks": 1}


def test_listens_are_replayed_once_by_retries_and_loads_at_the_same_time(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    small.listens = [a_listen(8, [1, 2, 1], at(12)), a_listen(1, [9], at(12))]
    first = pull_at(lake, small)
    load(warehouse, lake, *range(1, 21))
    assert rows_of(warehouse, "SELECT count(*) FROM listen_history") == [(0,)]
    small.users.append(a_user(8, at(21, 9)))
    pull_at(lake, small, at(22))
    reject(warehouse, "users", a_user(8, at(6)), first.name)

    def work(number: int) -> Any:
        return load(warehouse, lake, 21) if number % 2 else retry_at(warehouse, lake, at(22))

    with ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(work, range(6)))
    assert sum(outcome.inserted["listen_history"] for outcome in outcomes) == 3
    assert len(contents(warehouse)["listen_history"]) == 3
    assert rows_of(warehouse, WAITING) == [("listens", "track_id")]


def test_a_rejected_record_waits_no_longer_once_a_later_pull_has_brought_it_mended(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    small.tracks.append(a_track(3, at(5), duration="long"))
    small.users.append(a_user(3, at(6), email=None))
    small.listens += [
        a_listen(2, None, at(13)),
        a_listen(2, None, at(14)),
        a_listen(None, [], at(9)),
    ]
    pull_at(lake, small)
    load(warehouse, lake, *range(1, 21))
    assert len(rows_of(warehouse, WAITING)) == 5
    small.tracks[-1] = a_track(3, at(5))
    small.users[-1] = a_user(3, at(6))
    small.listens[-3] = a_listen(2, [1], at(13))
    pull_at(lake, small, at(22))
    load(warehouse, lake, 21)
    still = [("listen_history", "items"), ("listen_history", "user_id")]
    assert rows_of(warehouse, WAITING) == still
    load(warehouse, lake, 20)
    assert rows_of(warehouse, WAITING) == still, "in whatever order days are loaded"


def test_a_record_that_was_mended_and_breaks_again_to_the_same_bytes_waits_again(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    broken = a_track(3, at(5), duration="long")
    small.tracks.append(broken)
    pull_at(lake, small)
    load(warehouse, lake, *range(1, 21))
    small.tracks[-1] = a_track(3, at(5))
    pull_at(lake, small, at(22))
    load(warehouse, lake, 21)
    assert rows_of(warehouse, WAITING) == []
    small.tracks[-1] = broken
    third = pull_at(lake, small, at(23))
    load(warehouse, lake, 22)
    waiting = "SELECT day, pull FROM quarantine WHERE resolved_at IS NULL"
    assert rows_of(warehouse, waiting) == [(third.over, third.name)]
    load(warehouse, lake, 20)
    assert rows_of(warehouse, waiting) == [(third.over, third.name)], "in whatever order"
    small.tracks[-1] = a_track(3, at(5), name="Mended for good")
    pull_at(lake, small, at(24))
    load(warehouse, lake, 20, 22)
    assert rows_of(warehouse, WAITING) == []
