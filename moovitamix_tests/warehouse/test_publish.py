"""What is staged and judged good is in the six tables, once, and nothing else is."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import LiteralString

import pytest
from psycopg.errors import ForeignKeyViolation

from moovitamix.errors import NothingToDo
from moovitamix.ingest.lake import LakeStore
from moovitamix.resources import Warehouse
from moovitamix.warehouse.days import blocked_days, published_days
from moovitamix_tests.ingest.pulling import (
    a_listen,
    a_track,
    a_user,
    at,
    pull_at,
)
from moovitamix_tests.reference_source import ReferenceSource
from moovitamix_tests.warehouse.loading import (
    contents,
    give_verdicts,
    load,
    november,
    publish_days,
    rows_of,
    stage_days,
)


def test_six_tables_hold_what_the_source_said(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    pull = pull_at(lake, small)
    outcome = load(warehouse, lake, *range(1, 21))
    found = contents(warehouse)
    assert found["genres"] == [("hip hop",), ("jazz",), ("r&b",)]
    assert found["tracks"] == [
        (
            1,
            "Track 1",
            "Zoë Núñez",
            "Noël O'Neill",
            timedelta(minutes=3, seconds=30),
            "Album",
            at(5),
            at(5),
            None,
            pull.name,
        ),
        (
            2,
            "Track 2",
            "Zoë Núñez",
            "Noël O'Neill",
            timedelta(minutes=61, seconds=1),
            "Album",
            at(5),
            at(5),
            None,
            pull.name,
        ),
    ]
    assert found["users"][0] == (
        *(1, "Zoë", "Núñez", "user1@example.org", "Female", at(6), at(6), pull.name, None),
    )
    assert found["track_genres"] == [(1, "hip hop"), (1, "jazz")]
    assert found["user_favorite_genres"] == [(1, "r&b"), (2, "jazz"), (2, "r&b")]
    assert found["listen_history"] == [
        (1, 1, at(12), at(12), 1),
        (1, 1, at(12), at(12), 2),
        (1, 2, at(12), at(12), 1),
    ]
    assert dict(outcome.rows) == dict(outcome.inserted)
    assert outcome.rows["listen_history"] == outcome.staged_listens == 3
    assert outcome.published == [november(day) for day in range(1, 21)]


def test_a_second_run_of_the_same_adds_nothing(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    pull_at(lake, small)
    load(warehouse, lake, *range(1, 21))
    before, ids = contents(warehouse), rows_of(warehouse, "SELECT id FROM listen_history")
    again = load(warehouse, lake, *range(1, 21))
    assert contents(warehouse) == before
    assert rows_of(warehouse, "SELECT id FROM listen_history") == ids
    assert set(again.inserted.values()) == set(again.updated.values()) == {0}
    assert again.known_listens == again.staged_listens == 3


def test_a_single_day_brings_the_tracks_and_users_that_its_listens_name(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    pull_at(lake, small)
    load(warehouse, lake, 12)
    found = contents(warehouse)
    assert [row[0] for row in found["tracks"]] == [1, 2]
    assert [row[0] for row in found["users"]] == [1]
    assert len(found["listen_history"]) == 3
    assert found["user_favorite_genres"] == [(1, "r&b")]


def test_names_with_the_traps_of_a_copy_come_through(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    names = ["", "a,b", 'say "ah"', "two\nlines", "win\r\ndows", "mac\r", "\\.", "x\n\\.\ny", "\\N",
             " ", "NULL", "𝄞 ﷽", "it's"]  # fmt: skip
    small.tracks = [a_track(n, at(5), name=name, genres=name) for n, name in enumerate(names)]
    small.listens = []
    pull_at(lake, small)
    load(warehouse, lake, 5)
    assert dict(rows_of(warehouse, "SELECT id, name FROM tracks")) == dict(enumerate(names))


def test_the_greatest_ids_and_the_oldest_moments_come_through(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    small.tracks = [a_track(2**63 - 1, at(5)), a_track(-(2**63), at(5).replace(year=1900))]
    small.listens = [a_listen(1, [2**63 - 1, -(2**63)], at(12))]
    pull_at(lake, small)
    outcome = load(warehouse, lake, *range(1, 21))
    assert outcome.rows["listen_history"] == 2
    assert outcome.rows["tracks"] == 2


def test_an_edited_track_replaces_its_content_and_its_genres(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    pull_at(lake, small)
    load(warehouse, lake, *range(1, 21))
    small.tracks[0] = a_track(1, at(5), at(21, 9), name="Edited", genres="Jazz,Soul")
    pull_at(lake, small, at(22))
    outcome = load(warehouse, lake, 21)
    assert outcome.updated == {"tracks": 1, "users": 0}
    found = contents(warehouse)
    assert found["tracks"][0][1] == "Edited"
    assert found["track_genres"] == [(1, "jazz"), (1, "soul")]
    assert found["genres"] == [("jazz",), ("r&b",), ("soul",)], "nobody names hip hop any more"
    assert outcome.inserted["genres"] == 1


def test_an_older_pull_never_overwrites_a_newer(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    pull_at(lake, small)
    days = [november(day) for day in range(1, 21)]
    stage_days(warehouse, lake, days, "slow")
    give_verdicts(warehouse, days, "slow")
    small.tracks[0] = a_track(1, at(5), at(21, 9), name="Newer", genres="Soul")
    small.users[0] = a_user(1, at(6), at(21, 9), first_name="Newer", favorite_genres="Soul")
    pull_at(lake, small, at(22))
    load(warehouse, lake, *range(1, 22))
    newer = contents(warehouse)
    outcome = publish_days(warehouse, lake, days, "slow")
    assert outcome.updated == {"tracks": 0, "users": 0}
    found = contents(warehouse)
    for table in ("tracks", "users", "track_genres", "user_favorite_genres", "listen_history"):
        assert found[table] == newer[table]


def test_a_grown_listen_adds_only_what_is_new(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    pull_at(lake, small)
    load(warehouse, lake, *range(1, 21))
    small.listens = [a_listen(1, [1, 2, 1, 2], at(12), at(21, 9))]
    pull_at(lake, small, at(22))
    outcome = load(warehouse, lake, 21)
    assert (outcome.staged_listens, outcome.known_listens) == (4, 3)
    assert outcome.inserted["listen_history"] == 1
    assert (1, 2, at(21, 9), at(12), 2) in contents(warehouse)["listen_history"]


def test_a_day_with_a_bad_verdict_is_withheld_and_the_others_are_published(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    small.users.append(a_user(3, at(7)))
    pull_at(lake, small)
    outcome = load(warehouse, lake, *range(1, 21), bad=[7, 12])
    assert outcome.withheld == [november(7), november(12)]
    assert [row[0] for row in contents(warehouse)["users"]] == [1, 2]
    assert contents(warehouse)["listen_history"] == []
    with warehouse.connect() as connection:
        assert set(blocked_days(connection)) == {november(7), november(12)}
        assert published_days(connection) == {november(day) for day in range(1, 21)} - {
            november(7),
            november(12),
        }
    load(warehouse, lake, 7, 12)
    with warehouse.connect() as connection:
        assert blocked_days(connection) == {}
        assert november(7) in published_days(connection)
    assert [row[0] for row in contents(warehouse)["users"]] == [1, 2, 3]


def test_what_only_a_withheld_day_names_is_not_brought_along(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    pull_at(lake, small)
    load(warehouse, lake, 12, 13, bad=[12])
    assert contents(warehouse)["users"] == contents(warehouse)["tracks"] == []


def test_what_a_good_day_names_is_published_though_its_own_day_is_withheld(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    pull_at(lake, small)
    outcome = load(warehouse, lake, 5, 6, 12, bad=[5, 6])
    assert outcome.published == [november(12)]
    assert [row[0] for row in contents(warehouse)["users"]] == [1]
    assert len(contents(warehouse)["listen_history"]) == outcome.staged_listens > 0


def test_a_day_that_one_of_three_has_not_judged_is_withheld(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    pull_at(lake, small)
    days = [november(5), november(6)]
    stage_days(warehouse, lake, days, "run")
    give_verdicts(warehouse, days, "run")
    with warehouse.connect() as connection:
        connection.execute(
            "UPDATE verdicts SET failed = '{not judged}' "
            "WHERE endpoint = 'staged_listens' AND day = '2026-11-05'"
        )
        connection.execute(
            "DELETE FROM verdicts WHERE endpoint = 'staged_tracks' AND day = '2026-11-06'"
        )
    outcome = publish_days(warehouse, lake, days, "run")
    assert outcome.withheld == days
    assert set(outcome.rows.values()) == {0}


def test_without_anything_staged_there_is_nothing_to_do(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    pull_at(lake, small)
    stage_days(warehouse, lake, [november(12)], "another run")
    with pytest.raises(NothingToDo, match="ingest_day"):
        publish_days(warehouse, lake, [november(12)], "this run")
    assert set(map(len, contents(warehouse).values())) == {0}


def test_a_run_publishes_its_own_rows_only_and_leaves_none_behind(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    pull_at(lake, small)
    stage_days(warehouse, lake, [november(6)], "another run")
    give_verdicts(warehouse, [november(6)], "another run")
    load(warehouse, lake, 5)
    assert contents(warehouse)["users"] == []
    for query in (
        "SELECT DISTINCT run_id FROM staged_users",
        "SELECT DISTINCT run_id FROM verdicts",
    ):
        assert rows_of(warehouse, query) == [("another run",)]
    assert rows_of(warehouse, "SELECT DISTINCT run_id FROM staged_tracks") == []


ORPHANS: list[LiteralString] = [
    (
        "INSERT INTO listen_history (user_id, track_id, listened_at, recorded_at, nth) "
        "VALUES (99, 1, now(), now(), 1)"
    ),
    (
        "INSERT INTO listen_history (user_id, track_id, listened_at, recorded_at, nth) "
        "VALUES (1, 99, now(), now(), 1)"
    ),
    "INSERT INTO track_genres SELECT 99, id FROM genres LIMIT 1",
    "INSERT INTO track_genres VALUES (1, 999)",
    "INSERT INTO user_favorite_genres SELECT 99, id FROM genres LIMIT 1",
    "INSERT INTO user_favorite_genres VALUES (1, 999)",
    "DELETE FROM tracks WHERE id = 1",
    "DELETE FROM users WHERE id = 1",
    "DELETE FROM genres WHERE name = 'jazz'",
]


def test_foreign_keys_hold(warehouse: Warehouse, lake: LakeStore, small: ReferenceSource) -> None:
    pull_at(lake, small)
    load(warehouse, lake, *range(1, 21))
    with warehouse.connect() as connection:
        for orphan in ORPHANS:
            with pytest.raises(ForeignKeyViolation), connection.transaction():
                connection.execute(orphan)


def test_two_publications_at_once_take_turns(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    pull_at(lake, small)
    days = [november(day) for day in (5, 6, 12)]
    runs = [uuid.uuid4().hex for _ in range(4)]
    for run_id in runs:
        stage_days(warehouse, lake, days, run_id)
        give_verdicts(warehouse, days, run_id)
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(lambda run_id: publish_days(warehouse, lake, days, run_id), runs))
    assert sorted(outcome.inserted["listen_history"] for outcome in outcomes) == [0, 0, 0, 3]
    assert all(outcome.reconciles() for outcome in outcomes)


def test_how_busy_a_day_was_is_told_by_the_most_that_it_ever_had(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    pull_at(lake, small)
    load(warehouse, lake, *range(11, 15))
    busy = "SELECT day, listens FROM published_days ORDER BY day"
    expected = [(november(11), 0), (november(12), 3), (november(13), 0), (november(14), 0)]
    assert rows_of(warehouse, busy) == expected
    # The listen grows, and goes to another day with all that it held before.
    small.listens[0] = a_listen(1, [1, 2, 1, 2], at(12), at(21))
    pull_at(lake, small, at(22))
    load(warehouse, lake, 12, 21)
    assert rows_of(warehouse, busy) == [*expected, (november(21), 4)]
