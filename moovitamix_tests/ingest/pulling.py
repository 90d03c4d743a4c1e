"""Pulls and records for tests: a pull from a running source at a chosen moment, by one call.

The source itself is `reference_source.py`; here is only what tests of two stages share.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from moovitamix.ingest.client import SourceClient
from moovitamix.ingest.erased import NOBODY, Erased
from moovitamix.ingest.fetch import Reading, read_source
from moovitamix.ingest.lake import LakeStore
from moovitamix.ingest.pull import pull_source
from moovitamix.ingest.pulls import Pull
from moovitamix_tests.reference_source import Record, ReferenceSource

FIRST_DAY = date(2026, 11, 1)
# The first pull begins at noon of the 21st: the 20th is the last day that is over.
NOON = datetime(2026, 11, 21, 12)  # noqa: DTZ001
ONE_DAY = timedelta(days=1)


def at(day: int, hour: int = 12, minute: int = 0) -> datetime:
    """A moment in November 2026, naive UTC."""
    return datetime(2026, 11, day, hour, minute)  # noqa: DTZ001


def pull_at(
    lake: LakeStore,
    source: ReferenceSource,
    moment: datetime = NOON,
    *,
    erased: Erased = NOBODY,
) -> Pull:
    """Pull everything from a running source, the clock standing at that moment."""

    async def pull() -> Pull:
        async with SourceClient(source.url) as client:
            return await pull_source(
                lake,
                client,
                spool=spool,
                clock=lambda: moment,
                first_day=FIRST_DAY,
                erased=erased,
            )

    with tempfile.TemporaryDirectory() as folder:
        spool = Path(folder) / "spool"
        kept = asyncio.run(pull())
        assert not spool.exists(), "what is kept is in the lake, and nowhere else"
    return kept


@dataclass(frozen=True)
class Found:
    """A reading in memory, for tests to look at; see `fetch.Reading`."""

    records: pl.DataFrame
    rejected: pl.DataFrame
    pages: int
    total: int
    received: int
    superseded: int
    distinct: int
    unknown: dict[str, int]


def read(source: ReferenceSource, troubles: list[str] | None = None) -> dict[str, Found]:
    """Read everything from a running source, without keeping it."""

    async def reading(folder: Path) -> dict[str, Reading]:
        async with SourceClient(source.url) as client:
            return await read_source(
                client, folder, on_trouble=(troubles if troubles is not None else []).append
            )

    with tempfile.TemporaryDirectory() as folder:
        readings = asyncio.run(reading(Path(folder)))
        kept = {path.name for path in Path(folder).iterdir()}
        assert len(kept) <= 1, "what is thrown away leaves nothing behind"
        return {
            name: Found(
                reading.records.scan().collect(),
                reading.rejected.scan().collect(),
                reading.pages,
                reading.total,
                reading.received,
                reading.superseded,
                reading.distinct,
                reading.unknown,
            )
            for name, reading in readings.items()
        }


def empty(source: ReferenceSource) -> ReferenceSource:
    """The same source without a record."""
    source.tracks, source.users, source.listens = [], [], []
    return source


def a_track(
    track_id: int, created: datetime, updated: datetime | None = None, **fields: Any
) -> Record:
    """A track as the source sends it."""
    return {
        "id": track_id,
        "name": f"Track {track_id}",
        "artist": "Zoë Núñez",
        "songwriters": "Noël O'Neill",
        "duration": "03:30",
        "genres": "Jazz",
        "album": "Album",
        **_stamps(created, updated),
        **fields,
    }


def a_user(
    user_id: int, created: datetime, updated: datetime | None = None, **fields: Any
) -> Record:
    """A user as the source sends it."""
    return {
        "id": user_id,
        "first_name": "Zoë",
        "last_name": "Núñez",
        "email": f"user{user_id}@example.org",
        "gender": "Female",
        "favorite_genres": "Jazz",
        **_stamps(created, updated),
        **fields,
    }


def a_listen(
    user_id: int | None,
    items: list[int] | None,
    created: datetime,
    updated: datetime | None = None,
) -> Record:
    """A listen record as the source sends it."""
    return {"user_id": user_id, "items": items, **_stamps(created, updated)}


def _stamps(created: datetime, updated: datetime | None) -> dict[str, str]:
    return {
        "created_at": created.isoformat(timespec="microseconds"),
        "updated_at": (updated or created).isoformat(timespec="microseconds"),
    }
