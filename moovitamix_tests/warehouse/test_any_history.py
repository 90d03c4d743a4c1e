"""Whatever the source went through and however it was loaded, the tables end up the same.

`test_any_order.py` draws ways through one history; here the history is drawn too, days go bad in
between, and publications run at once.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moovitamix.ingest.contract import TRACKS, USERS
from moovitamix.ingest.lake import LakeStore
from moovitamix.ingest.pulls import kept_pulls, latest_contents
from moovitamix.resources import Warehouse
from moovitamix.warehouse.publish import Outcome
from moovitamix.warehouse.stage import listens_slice
from moovitamix_tests.conftest import drop_schemas
from moovitamix_tests.ingest.pulling import a_listen, a_track, a_user, at, empty, pull_at
from moovitamix_tests.reference_source import Record, ReferenceSource
from moovitamix_tests.schema_copies import SchemaCopies
from moovitamix_tests.warehouse.loading import contents, load, november, rows_of

FIRST, LAST_DAYS = 12, (15, 16, 18)
# These stay throughout, for a source whose ids are gone is another world.
BASE = range(1, 7)
LATER = range(7, 10)


@dataclass(frozen=True)
class Change:
    """Something that happens at the source."""

    what: str
    record: int
    other: int
    day: int

    def apply(self, source: ReferenceSource) -> None:
        """Let it happen; nothing, where it makes no sense."""
        moment = at(self.day, self.record, self.other)
        tracks = {track["id"]: track for track in source.tracks}
        if self.what == "new track" and self.record not in tracks:
            source.tracks.append(a_track(self.record, moment, genres=f"Genre {self.other}"))
        elif self.what == "new user" and self.record not in {u["id"] for u in source.users}:
            source.users.append(a_user(self.record, moment))
        elif self.what == "edit" and self.record in tracks:
            _edit(tracks[self.record], moment, self.other)
        elif self.what == "withdraw" and self.record in set(LATER) & set(tracks):
            source.tracks.remove(tracks[self.record])
        elif self.what == "listen":
            # The same user and moment may come again: these records are one.
            heard = [self.other, 1, self.other]
            source.listens.append(a_listen(self.record, heard, at(self.day, self.record)))
        elif self.what == "grow" and source.listens:
            listen = source.listens[self.other % len(source.listens)]
            listen["items"] = [*listen["items"], self.record]
            listen["updated_at"] = moment.isoformat(timespec="microseconds")


def _edit(track: Record, moment: datetime, how: int) -> None:
    track["name"] = f"Edited {how}"
    track["genres"] = "Jazz, Soul" if how % 2 else "Soul"
    if how % 3:  # else an edit without a new date
        track["updated_at"] = moment.isoformat(timespec="microseconds")


@dataclass(frozen=True)
class Load:
    """Some days in one run, some of them bad; alone, or at once with the one after it."""

    first: int
    last: int
    bad: frozenset[int]
    at_once: bool


@dataclass(frozen=True)
class History:
    """What happens before each pull, what is loaded after it, and how all is loaded at last."""

    changes: Sequence[Sequence[Change]]
    loads: Sequence[Sequence[Load]]
    last: Sequence[tuple[int, int]]


@st.composite
def histories(draw: st.DrawFn) -> History:
    def change(last_day: int) -> st.SearchStrategy[Change]:
        return st.builds(
            Change,
            what=st.sampled_from(["new track", "new user", "edit", "withdraw", "listen", "grow"]),
            record=st.integers(1, LATER[-1]),
            other=st.integers(1, LATER[-1]),
            day=st.integers(FIRST, last_day + 1),
        )

    def some_load(last_day: int) -> st.SearchStrategy[Load]:
        return st.builds(
            lambda first, length, bad, at_once: Load(
                first, min(first + length, last_day), frozenset(bad), at_once
            ),
            st.integers(FIRST, last_day),
            st.integers(0, 3),
            st.sets(st.integers(FIRST, last_day), max_size=2),
            st.booleans(),
        )

    cuts = sorted(draw(st.sets(st.integers(FIRST + 1, LAST_DAYS[-1]), max_size=2)))
    whole = zip([FIRST, *cuts], [cut - 1 for cut in cuts] + [LAST_DAYS[-1]], strict=True)
    return History(
        [draw(st.lists(change(day), min_size=3, max_size=12)) for day in LAST_DAYS],
        [draw(st.lists(some_load(day), max_size=2)) for day in LAST_DAYS],
        draw(st.permutations(list(whole))),
    )


def found(source: ReferenceSource) -> None:
    empty(source)
    source.tracks = [a_track(number, at(5)) for number in BASE]
    source.users = [a_user(number, at(5)) for number in BASE]
    source.listens = [a_listen(number, [number, 7], at(12, number)) for number in BASE]


def load_some(warehouse: Warehouse, lake: LakeStore, loads: Sequence[Load]) -> None:
    def one(asked: Load) -> Outcome:
        days = range(asked.first, asked.last + 1)
        return load(warehouse, lake, *days, bad=asked.bad & set(days))

    together = [asked for asked in loads if asked.at_once]
    with ThreadPoolExecutor(2) as threads:
        outcomes = list(threads.map(one, together))
    outcomes += [one(asked) for asked in loads if not asked.at_once]
    for asked, outcome in zip(
        [*together, *(asked for asked in loads if not asked.at_once)], outcomes, strict=True
    ):
        assert outcome.reconciles()
        assert {day.day for day in outcome.withheld} == asked.bad & set(
            range(asked.first, asked.last + 1)
        )


def newest_contents(lake: LakeStore) -> dict[str, list[tuple[Any, ...]]]:
    """Of each track and user, the pull that brought what the source last said of it."""
    return {
        endpoint.name: sorted(
            latest_contents(lake, endpoint, kept_pulls(lake)).select("id", "pull").rows()
        )
        for endpoint in (TRACKS, USERS)
    }


def told(listens: Sequence[Record]) -> set[tuple[int, datetime, int]]:
    """Who has heard what, by which record: all that is over at the last pull."""
    moments = {one["created_at"]: datetime.fromisoformat(one["created_at"]) for one in listens}
    return {
        (one["user_id"], moments[one["created_at"]], track)
        for one in listens
        for track in one["items"]
        if moments[one["created_at"]].date() <= november(LAST_DAYS[-1])
    }


def found_in(lake: LakeStore) -> set[tuple[int, datetime, int]]:
    """The same of what the lake dealt to days."""
    days = [november(day) for day in range(1, LAST_DAYS[-1] + 1)]
    plays = listens_slice(lake, days).select("user_id", "recorded_at", "track_id")
    return set(plays.iter_rows())


@given(history=histories())
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_history_loaded_in_any_way_ends_in_the_tables_of_one_load(
    running_source: ReferenceSource,
    postgres_url: str,
    schema_copies: SchemaCopies,
    history: History,
) -> None:
    disturbed, at_once = (
        Warehouse(url=postgres_url, namespace=schema_copies.another()) for _ in range(2)
    )
    running_source.on_request = None
    found(running_source)
    try:
        with tempfile.TemporaryDirectory() as folder:
            lake = LakeStore(Path(folder).as_uri())
            for changes, loads, day in zip(history.changes, history.loads, LAST_DAYS, strict=True):
                for change in changes:
                    change.apply(running_source)
                pull_at(lake, running_source, at(day + 1))
                load_some(disturbed, lake, loads)
            for first, last in history.last:
                load(disturbed, lake, *range(first, last + 1))
            load(at_once, lake, *range(FIRST, LAST_DAYS[-1] + 1))
            assert contents(disturbed) == contents(at_once)
            newest = newest_contents(lake)
            assert told(running_source.listens) <= found_in(lake)
        assert rows_of(disturbed, "SELECT id, pull FROM tracks") == newest["tracks"]
        assert rows_of(disturbed, "SELECT id, pull FROM users") == newest["users"]
        assert not rows_of(
            disturbed,
            "SELECT h.id FROM listen_history h LEFT JOIN users u ON u.id = h.user_id "
            "LEFT JOIN tracks t ON t.id = h.track_id WHERE u.id IS NULL OR t.id IS NULL",
        )
    finally:
        drop_schemas(disturbed)
        drop_schemas(at_once)
