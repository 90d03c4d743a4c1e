"""Whatever the contract takes can be staged and published; what it does not take costs no other.

Records are drawn by the contract's own limits, their ends preferred, and go the whole way: pages,
a pull, staging, the tables of a real Postgres.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, LiteralString

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg import sql

from moovitamix.ingest.contract import EARLIEST, GENRE_LENGTH, LATEST, MOST_PLAYS_A_RECORD
from moovitamix.ingest.lake import LakeStore
from moovitamix.resources import Warehouse
from moovitamix.warehouse.tables import metadata
from moovitamix_tests.ingest.pulling import a_listen, a_track, a_user, empty, pull_at
from moovitamix_tests.reference_source import Record, ReferenceSource
from moovitamix_tests.warehouse.loading import (
    give_verdicts,
    publish_days,
    rows_of,
    stage_days,
)

World = tuple[list[Record], list[Record], list[Record]]

TRACKS: LiteralString = (
    "SELECT id, name, artist, songwriters, album, extract(epoch FROM duration)::int, created_at, "
    "updated_at FROM tracks"
)
USERS: LiteralString = (
    "SELECT id, first_name, last_name, email, gender, created_at, updated_at FROM users"
)
LISTENS: LiteralString = (
    "SELECT user_id, recorded_at, track_id, count(*)::int FROM listen_history GROUP BY 1, 2, 3"
)

# Later than all that the contract takes, so that all of it is dealt to a day.
PULLED = datetime(2101, 1, 2, 12)  # noqa: DTZ001
LONGEST = 10_000

CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\x00")
ODD = st.sampled_from(
    ["", " ", '"', "\\.", "\\N", "\r", "\n", "\r\n", "\t", ",", "'", "\ufeff", "\x85"]
)
SHORT = st.one_of(st.text(CHARACTERS, max_size=20), ODD)
TEXTS = st.one_of(
    SHORT, st.text(CHARACTERS, min_size=1, max_size=9).map(lambda text: filled(text, LONGEST))
)
IDS = st.one_of(st.integers(-(2**63), 2**63 - 1), st.sampled_from([-(2**63), -1, 0, 2**63 - 1]))
LAST_MOMENT = LATEST - timedelta(microseconds=1)
MOMENTS = st.one_of(st.datetimes(EARLIEST, LAST_MOMENT), st.sampled_from([EARLIEST, LAST_MOMENT]))
DURATIONS = st.from_regex(re.compile(r"[0-9]{1,4}:[0-5][0-9]", re.ASCII), fullmatch=True)
# What lower case makes longer is among them.
NAMES = st.one_of(
    SHORT.map(lambda text: text.replace(",", "")),
    st.one_of(st.sampled_from("İȺ𐍈🎵 "), CHARACTERS).map(
        lambda one: one.replace(",", "") * GENRE_LENGTH
    ),
)
GENRES = st.one_of(
    st.lists(NAMES, max_size=4).map(",".join),
    st.just("," * LONGEST),
    NAMES.map(lambda name: filled(f"{name},", LONGEST)),
)


def filled(text: str, length: int) -> str:
    """The text again and again, up to a length."""
    return (text * length)[:length]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Tracks and users of different ids, and listens of them, of different keys."""
    ids = st.lists(IDS, unique=True, min_size=1, max_size=3)
    tracks = [
        a_track(
            number,
            draw(MOMENTS),
            draw(MOMENTS),
            **{name: draw(TEXTS) for name in ("name", "artist", "songwriters", "album")},
            duration=draw(DURATIONS),
            genres=draw(GENRES),
        )
        for number in draw(ids)
    ]
    users = [
        a_user(
            number,
            draw(MOMENTS),
            draw(MOMENTS),
            **{name: draw(TEXTS) for name in ("first_name", "last_name", "email", "gender")},
            favorite_genres=draw(GENRES),
        )
        for number in draw(ids)
    ]
    heard = st.sampled_from([track["id"] for track in tracks])
    lists = st.one_of(st.lists(heard, max_size=5), heard.map(lambda track: [track] * 300))
    listens = draw(
        st.lists(
            st.builds(
                a_listen, st.sampled_from([user["id"] for user in users]), lists, MOMENTS, MOMENTS
            ),
            max_size=3,
            unique_by=lambda listen: (listen["user_id"], listen["created_at"]),
        )
    )
    return tracks, users, listens


def extremes(moment: datetime) -> World:
    """Each value at an end of what the contract takes."""
    longest = filled("ñ🎵", LONGEST)
    names = dict.fromkeys(("name", "artist", "songwriters", "album"), longest)
    genres = filled("🎵" * GENRE_LENGTH + ",", LONGEST)
    track = a_track(2**63 - 1, moment, moment, **names, duration="9999:59", genres=genres)
    other = a_track(
        -(2**63), moment, moment, duration="0:00", genres=",".join(map(str, range(2_000)))
    )
    names = dict.fromkeys(("first_name", "last_name", "email", "gender"), longest)
    user = a_user(-(2**63), moment, moment, **names, favorite_genres=genres)
    heard = [track["id"]] * MOST_PLAYS_A_RECORD
    return [track, other], [user], [a_listen(user["id"], heard, moment)]


def emptied(warehouse: Warehouse) -> Warehouse:
    """The warehouse with no row in any table."""
    names = [table.name for table in metadata.tables.values()]
    with warehouse.connect() as connection:
        connection.execute(
            sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(map(sql.Identifier, names)))
        )
    return warehouse


@given(world=worlds())
@example(world=extremes(EARLIEST))
@example(world=extremes(LAST_MOMENT))
@settings(
    max_examples=15,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.large_base_example,
    ],
)
def test_whatever_the_contract_takes_is_published(
    source: ReferenceSource, warehouse: Warehouse, world: World
) -> None:
    empty(source)
    source.tracks, source.users, source.listens = world
    emptied(warehouse)
    with tempfile.TemporaryDirectory() as folder:
        lake = LakeStore(Path(folder).as_uri())
        pull = pull_at(lake, source, PULLED)
        assert [counts.rejected for counts in pull.counts.values()] == [0, 0, 0]
        days = sorted({day for counts in pull.counts.values() for day in counts.dealt})
        stage_days(warehouse, lake, days, "run")
        give_verdicts(warehouse, days, "run", pull=pull.name)
        outcome = publish_days(warehouse, lake, days, "run")
    assert (outcome.published, outcome.overlong_genres) == (days, 0)
    assert rows_of(warehouse, "SELECT * FROM quarantine") == []
    assert rows_of(warehouse, TRACKS) == in_order(
        (
            *(track[name] for name in ("id", "name", "artist", "songwriters", "album")),
            sum(
                int(part) * unit
                for part, unit in zip(track["duration"].split(":"), (60, 1), strict=True)
            ),
            *stamps(track),
        )
        for track in world[0]
    )
    assert rows_of(warehouse, USERS) == in_order(
        (
            *(user[name] for name in ("id", "first_name", "last_name", "email", "gender")),
            *stamps(user),
        )
        for user in world[1]
    )
    assert rows_of(warehouse, LISTENS) == in_order(
        (listen["user_id"], *stamps(listen)[:1], track, times)
        for listen in world[2]
        for track, times in Counter[int](listen["items"]).items()
    )


def in_order(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return sorted(rows, key=repr)


def stamps(record: Record) -> tuple[datetime, datetime]:
    created, updated = record["created_at"], record["updated_at"]
    return datetime.fromisoformat(created), datetime.fromisoformat(updated)
