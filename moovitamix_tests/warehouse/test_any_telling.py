"""However posts, pulls and loads of days follow each other, each play is in the tables once."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from moovitamix.ingest.lake import LakeStore
from moovitamix.resources import Warehouse
from moovitamix.warehouse.days import gaps, published_days
from moovitamix.warehouse.reconcile import reconcile
from moovitamix.warehouse.told import forget_loaded
from moovitamix_tests.conftest import drop_schemas
from moovitamix_tests.ingest.pulling import a_listen, a_track, a_user, at, empty, pull_at
from moovitamix_tests.reference_source import ReferenceSource
from moovitamix_tests.schema_copies import SchemaCopies
from moovitamix_tests.warehouse.loading import contents, load, november, rows_of
from moovitamix_tests.warehouse.telling import Play, plays_of, tell

FIRST, LAST_DAYS = 12, (14, 16, 18)
KNOWN, LATER, NEVER = (1, 2, 3), 4, 5
IDS = (*KNOWN, LATER, NEVER)


@dataclass(frozen=True)
class Heard:
    """A listen record: its last track may be added later."""

    user: int
    day: int
    hour: int
    tracks: Sequence[int]

    @property
    def moment(self) -> datetime:
        return at(self.day, self.hour)


@dataclass(frozen=True)
class Told:
    """The app tells of a record, or of its beginning, maybe days after it."""

    record: Heard
    whole: bool
    day: int


@dataclass(frozen=True)
class Sent:
    """The source has a record from now on."""

    record: Heard


@dataclass(frozen=True)
class Loaded:
    """Some days are loaded in one run, one of them bad."""

    first: int
    last: int
    bad: int


@dataclass(frozen=True)
class Tidied:
    """What was told and is loaded goes, up to a day."""

    before: int


Step = Told | Sent | Loaded | Tidied
# What happens before each pull, and after the last one.
History = Sequence[Sequence[Step]]


@st.composite
def histories(draw: st.DrawFn) -> History:
    records = draw(
        st.lists(
            st.builds(
                Heard,
                st.sampled_from(IDS),
                st.integers(FIRST, LAST_DAYS[-1]),
                st.integers(0, 23),
                st.lists(st.sampled_from(IDS), min_size=1, max_size=4),
            ),
            min_size=2,
            max_size=6,
            unique_by=lambda one: (one.user, one.moment),
        )
    )

    def step(over: int, today: int) -> st.SearchStrategy[Step]:
        heard = [one for one in records if one.day <= today] or [
            Heard(1, FIRST, 0, [1, 2, 1])  # nobody has heard anything else yet
        ]
        told = st.builds(Told, st.sampled_from(heard), st.booleans(), st.integers(FIRST, today))
        sent = st.builds(Sent, st.sampled_from(heard))
        tidied = st.builds(Tidied, st.integers(FIRST, today))
        if over < FIRST:
            return st.one_of(told, sent, tidied)
        days = st.integers(FIRST, over)
        loaded = st.builds(lambda a, b, bad: Loaded(min(a, b), max(a, b), bad), days, days, days)
        if over == LAST_DAYS[-1]:  # no pull would bring what is sent now
            return st.one_of(told, loaded, tidied)
        return st.one_of(told, told, sent, loaded, loaded, tidied)

    overs = (FIRST - 1, *LAST_DAYS)
    todays = (*LAST_DAYS, LAST_DAYS[-1])
    return [
        draw(st.lists(step(over, today), min_size=1, max_size=6))
        for over, today in zip(overs, todays, strict=True)
    ]


class World:
    """A source, a lake and a warehouse, and what has been heard of so far."""

    def __init__(self, warehouse: Warehouse, lake: LakeStore, source: ReferenceSource) -> None:
        self.warehouse = warehouse
        self.lake = lake
        self.source = source
        self.plays: set[Play] = set()
        self._sent: list[Heard] = []
        empty(source)
        source.tracks = [a_track(one, at(5)) for one in KNOWN]
        source.users = [a_user(one, at(5)) for one in KNOWN]

    def take(self, step: Step) -> None:
        """Let it happen."""
        match step:
            case Told(record, whole, day):
                tracks = record.tracks if whole else record.tracks[:-1]
                tell(self.warehouse, record.user, record.moment, tracks, day=day)
                self.plays |= set(plays_of(record.user, record.moment, tracks))
            case Sent(record):
                if record not in self._sent:
                    self._sent.append(record)
                    self.source.listens.append(
                        a_listen(record.user, list(record.tracks), record.moment)
                    )
                    self.plays |= set(plays_of(record.user, record.moment, record.tracks))
            case Loaded(first, last, bad):
                outcome = load(self.warehouse, self.lake, *range(first, last + 1), bad={bad})
                assert outcome.reconciles()
                event("a day was bad" if first <= bad <= last else "all days were good")
            case Tidied(before):
                with self.warehouse.connect() as connection:
                    if forget_loaded(connection, november(before)).plays:
                        event("activity was removed")

    def load_what_is_missing(self) -> None:
        """The days that no load has published, and the last one as every night."""
        with self.warehouse.connect() as connection:
            done = published_days(connection)
        days = [november(day) for day in range(FIRST, LAST_DAYS[-1] + 1)]
        last = days.pop()
        for first, end in [*gaps([day for day in days if day not in done]), (last, last)]:
            assert load(self.warehouse, self.lake, *range(first.day, end.day + 1)).reconciles()


def loadable(play: Play) -> bool:
    """Whether its user and its track arrive in the end."""
    return NEVER not in (play[0], play[2])


@given(history=histories())
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_each_play_is_in_the_tables_once_however_it_came(
    running_source: ReferenceSource,
    postgres_url: str,
    schema_copies: SchemaCopies,
    history: History,
) -> None:
    warehouse = Warehouse(url=postgres_url, namespace=schema_copies.another())
    running_source.on_request = None
    try:
        with tempfile.TemporaryDirectory() as folder:
            lake = LakeStore(Path(folder).as_uri())
            world = World(warehouse, lake, running_source)
            for number, steps in enumerate(history):
                for step in steps:
                    world.take(step)
                if number == 1:
                    running_source.users.append(a_user(LATER, at(15)))
                    running_source.tracks.append(a_track(LATER, at(15)))
                if number < len(LAST_DAYS):
                    pull_at(lake, running_source, at(LAST_DAYS[number] + 1))
            world.load_what_is_missing()
            loaded = rows_of(
                warehouse, "SELECT user_id, recorded_at, track_id, nth FROM listen_history"
            )
            assert loaded == sorted(filter(loadable, world.plays), key=repr)
            waiting = rows_of(
                warehouse,
                "SELECT DISTINCT (p ->> 'user_id')::bigint, (p ->> 'recorded_at')::timestamp, "
                "(p ->> 'track_id')::bigint, (p ->> 'nth')::int "
                "FROM (SELECT convert_from(payload, 'UTF8')::json AS p FROM quarantine "
                "WHERE resolved_at IS NULL) AS waiting",
            )
            assert {play for play in waiting if loadable(play)} == set()
            assert set(waiting) == {play for play in world.plays if not loadable(play)}
            with warehouse.connect() as connection:
                assert reconcile(connection, lake).reconciles
    finally:
        drop_schemas(warehouse)


@given(
    history=histories(),
    order=st.permutations(range(FIRST, LAST_DAYS[-1] + 1)),
    later=st.integers(0, 3),
)
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_told_before_it_is_loaded_makes_the_same_tables_in_any_order(
    running_source: ReferenceSource,
    postgres_url: str,
    schema_copies: SchemaCopies,
    history: History,
    order: Sequence[int],
    later: int,
) -> None:
    at_once, by_day = (
        Warehouse(url=postgres_url, namespace=schema_copies.another()) for _ in range(2)
    )
    running_source.on_request = None
    steps = [step for part in history for step in part]
    try:
        with tempfile.TemporaryDirectory() as folder:
            lake = LakeStore(Path(folder).as_uri())
            world = World(at_once, lake, running_source)
            for step in steps:
                if isinstance(step, Sent):
                    world.take(step)
                elif isinstance(step, Told):
                    record, moment = step.record, at(step.day, later)
                    tracks = record.tracks if step.whole else record.tracks[:-1]
                    for one in (at_once, by_day):
                        tell(
                            one,
                            record.user,
                            record.moment,
                            tracks,
                            day=step.day,
                            listened=max(record.moment, moment),
                        )
            pull_at(lake, running_source, at(LAST_DAYS[-1] + 1))
            load(at_once, lake, *range(FIRST, LAST_DAYS[-1] + 1))
            for day in order:
                load(by_day, lake, day)
            assert contents(by_day) == contents(at_once)
    finally:
        drop_schemas(at_once)
        drop_schemas(by_day)
