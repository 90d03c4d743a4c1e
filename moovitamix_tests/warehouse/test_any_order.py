"""Days loaded in any order, any number of times, singly or in ranges, end in the same tables."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moovitamix.ingest.lake import LakeStore
from moovitamix.resources import Warehouse
from moovitamix_tests.conftest import drop_schemas
from moovitamix_tests.ingest.pulling import a_listen, a_track, a_user, at, pull_at
from moovitamix_tests.reference_source import Record, ReferenceSource
from moovitamix_tests.schema_copies import SchemaCopies
from moovitamix_tests.warehouse.loading import contents, load

# Three pulls, each of which begins at noon of the day after the last day that it covers.
LAST_DAYS = (15, 16, 18)
DAYS = range(12, LAST_DAYS[-1] + 1)
Range = tuple[int, int]
AWAY: list[Record] = []  # a track that the second pull does not see, and the third one does


def spread(records: list[Record]) -> None:
    """Put records on the days from the 12th on; every fourth says it changed before it was made."""
    for number, record in enumerate(records):
        created = at(12 + number % 4, number % 24)
        updated = at(9) if number % 4 == 0 else created.replace(minute=30)
        record["created_at"] = created.isoformat(timespec="microseconds")
        record["updated_at"] = updated.isoformat(timespec="microseconds")


def before_the_first_pull(source: ReferenceSource) -> None:
    for records in (source.tracks, source.users, source.listens):
        spread(records)
    # A stranger who signs up later, a track that nobody ever hears of, a listen that waits.
    source.listens += [
        a_listen(200_001, [source.tracks[0]["id"]], at(13)),
        a_listen(source.users[0]["id"], [200_002, source.tracks[1]["id"]], at(14)),
        a_listen(source.users[1]["id"], [source.tracks[2]["id"]], at(16, 1)),
    ]


def before_the_second_pull(source: ReferenceSource) -> None:
    source.users.append(a_user(200_001, at(16, 3)))
    # A user and a track that go, another track that goes for a while.
    source.users.pop(9)
    source.tracks.pop(9)
    AWAY.append(source.tracks.pop(9))
    edited = source.tracks[3]
    edited |= {"name": "Edited", "genres": "Soul, Jazz"}
    edited["updated_at"] = at(16, 9).isoformat(timespec="microseconds")
    # An edit without a new date, and a listen that grows.
    source.users[5]["favorite_genres"] = "Hip  Hop,JAZZ"
    _grow(source, at(16, 20))


def before_the_third_pull(source: ReferenceSource) -> None:
    source.tracks.append(AWAY.pop())
    source.tracks.pop(10)
    source.tracks[3]["genres"] = "Soul"
    source.tracks.append(a_track(200_003, at(13), genres="Late Arrivals"))
    source.listens.append(a_listen(200_001, [200_003, 200_003], at(18)))
    _grow(source, at(17, 20))


def _grow(source: ReferenceSource, moment: Any) -> None:
    listen = next(one for one in source.listens if one["user_id"] and one["items"])
    listen["items"] = [*listen["items"], listen["items"][0]]
    listen["updated_at"] = moment.isoformat(timespec="microseconds")


@pytest.fixture(scope="module")
def lakes(tmp_path_factory: pytest.TempPathFactory) -> list[LakeStore]:
    """The lake as it stood after each of three pulls of a source that lives on between them."""
    folder = tmp_path_factory.mktemp("lakes")
    growing = LakeStore((folder / "growing").as_uri())
    changes = (before_the_first_pull, before_the_second_pull, before_the_third_pull)
    stood: list[LakeStore] = []
    with ReferenceSource(seed=7, records=60, now=at(15)) as source:
        for number, (change, last_day) in enumerate(zip(changes, LAST_DAYS, strict=True)):
            change(source)
            pull_at(growing, source, at(last_day + 1))
            stood.append(LakeStore((folder / str(number)).as_uri()))
            shutil.copytree(folder / "growing", folder / str(number))
    return stood


class Loads:
    """A way to come to the end: ranges after each pull, and at last all days, cut and shuffled."""

    def __init__(self, between: list[list[Range]], last: list[Range]) -> None:
        self.between = between
        self.last = last

    def __repr__(self) -> str:
        return f"Loads({self.between}, {self.last})"

    def run(self, lakes: list[LakeStore], warehouse: Warehouse) -> None:
        for lake, ranges in zip(lakes, [*self.between, self.last], strict=True):
            for first, last in ranges:
                load(warehouse, lake, *range(first, last + 1))


@st.composite
def ways(draw: st.DrawFn) -> Loads:
    def range_up_to(last_day: int) -> st.SearchStrategy[Range]:
        return st.tuples(st.integers(DAYS[0], last_day), st.integers(0, 3)).map(
            lambda drawn: (drawn[0], min(drawn[0] + drawn[1], last_day))
        )

    between = [draw(st.lists(range_up_to(last_day), max_size=2)) for last_day in LAST_DAYS[:-1]]
    cuts = sorted(draw(st.sets(st.sampled_from(DAYS[1:]), max_size=3)))
    whole = list(zip([DAYS[0], *cuts], [cut - 1 for cut in cuts] + [DAYS[-1]], strict=True))
    again = draw(st.lists(range_up_to(DAYS[-1]), max_size=1))
    return Loads(between, draw(st.permutations(whole + again)))


@pytest.fixture(scope="module")
def expected(
    lakes: list[LakeStore], postgres_url: str
) -> Iterator[dict[str, list[tuple[Any, ...]]]]:
    """What one run over all days makes of the last lake."""
    warehouse = Warehouse(url=postgres_url, namespace="at_once")
    load(warehouse, lakes[-1], *DAYS)
    yield contents(warehouse)
    drop_schemas(warehouse)


def test_the_world_that_is_loaded_holds_what_could_go_wrong(
    expected: dict[str, list[tuple[Any, ...]]],
) -> None:
    assert len(expected["tracks"]) == len(expected["users"]) == 61
    assert len(expected["listen_history"]) > 250
    withdrawn = [row[8] for row in expected["tracks"] if row[8] is not None]
    assert sorted(withdrawn) == [at(17), at(19)]
    assert [row[8] for row in expected["users"] if row[8] is not None] == [at(17)]
    assert ("late arrivals",) in expected["genres"]
    reasons = {(row[0], row[2]) for row in expected["quarantine"]}
    assert ("listens", "Unknown track") in reasons
    assert ("listens", "Unknown user") not in reasons
    assert sum(row[0] == "listen_history" for row in expected["quarantine"]) == 7


@given(way=ways())
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_way_through_the_days_ends_in_the_same_warehouse(
    lakes: list[LakeStore],
    expected: dict[str, list[tuple[Any, ...]]],
    postgres_url: str,
    schema_copies: SchemaCopies,
    way: Loads,
) -> None:
    warehouse = Warehouse(url=postgres_url, namespace=schema_copies.another())
    try:
        way.run(lakes, warehouse)
        assert contents(warehouse) == expected
    finally:
        drop_schemas(warehouse)


def test_loading_after_every_pull_or_after_the_last_ends_in_the_same_warehouse(
    lakes: list[LakeStore],
    expected: dict[str, list[tuple[Any, ...]]],
    warehouse: Warehouse,
) -> None:
    every_night = Loads([[(12, 15)], [(16, 16)]], [(17, 17), (18, 18), (12, 16)])
    every_night.run(lakes, warehouse)
    assert contents(warehouse) == expected


def test_a_backfill_day_by_day_ends_in_the_warehouse_of_one_run(
    lakes: list[LakeStore],
    expected: dict[str, list[tuple[Any, ...]]],
    warehouse: Warehouse,
) -> None:
    for day in reversed(DAYS):
        load(warehouse, lakes[-1], day)
    assert contents(warehouse) == expected
