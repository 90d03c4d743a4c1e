"""What of a reading is new, and for which day, worked out part by part.

A part holds all contents of its records, read now and known before, so that nothing else has to
be in memory. The dealing rule is `deal.py`'s, what is written of it `keep.py`'s.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path

import polars as pl

from moovitamix.ingest import pulls
from moovitamix.ingest.contract import LISTENS, Endpoint
from moovitamix.ingest.deal import CLOCK_ERROR, PullTimes, changed_day, deal
from moovitamix.ingest.decode import Rejected
from moovitamix.ingest.fetch import Reading
from moovitamix.ingest.gone import identified, still_gone
from moovitamix.ingest.keep import Brought
from moovitamix.ingest.lake import LakeStore
from moovitamix.ingest.pulls import EndpointCounts, Pull
from moovitamix.ingest.rejected import rejected_frame
from moovitamix.ingest.settle import settle
from moovitamix.ingest.slices import contents_on_disk, dealt_schema
from moovitamix.ingest.spool import PART_ROWS, Spool, each_part


def bring(
    lake: LakeStore,
    reading: Reading,
    earlier: Sequence[Pull],
    times: PullTimes,
    folder: Path,
    *,
    erased: int = 0,
) -> Brought:
    """Deal what no earlier pull held, or held as another content of its record.

    Args:
        lake: Holds the earlier pulls.
        reading: Of an endpoint. What is dated too far ahead is moved to its rejected records.
        earlier: The kept pulls, oldest first.
        times: Of this pull.
        folder: For what is worked out, an empty one.
        erased: How many records of those who were erased have been left out of the reading.
    """
    endpoint, parts = reading.endpoint, reading.records.parts
    distinct = reading.distinct + erased
    known = pulls.known_contents_on_disk(lake, endpoint, earlier, folder / "known", parts)
    stored = _by_day(folder / "stored", endpoint, reading.records, times)
    # Only what comes in the place of an earlier content waits for what that one is.
    later = Spool.by_key(
        folder / "later", {**reading.records.schema, "day": pl.Date}, endpoint.key, parts
    )
    replaced = pl.DataFrame(schema=known.schema)
    dealt_to: Counter[date] = Counter()
    unknown = waiting = 0
    newest: datetime | None = None

    def of_part(part: int) -> tuple[pl.DataFrame, pl.DataFrame, datetime | None]:
        latest = pulls.latest_of(endpoint, known.part(part))
        records = reading.records.part(part)
        unknown = records.join(latest, on="sha256", how="anti", maintain_order="left")
        return latest, deal(unknown, times), _newest(records, times)

    for latest, dealt, moment in each_part(parts, of_part):
        fresh = dealt.filter(pl.col("day").is_not_null())
        ahead = dealt.filter("ahead")
        newest = _later(newest, moment)
        reading.rejected.add(_reject_ahead(endpoint, ahead))
        dealt_to.update(dict(fresh["day"].value_counts().iter_rows()))
        if endpoint is not LISTENS:
            stored.add(fresh)
        elif (again := latest.join(fresh, on=list(endpoint.key), how="semi")).is_empty():
            stored.add(settle(fresh))
        else:
            replaced = pl.concat([replaced, again])
            later.add(fresh)
        unknown += dealt.height
        waiting += dealt.height - fresh.height - ahead.height
    gone = None if endpoint is LISTENS else _gone(lake, reading, known, earlier, times)
    if later.rows:
        before = contents_on_disk(lake, endpoint, replaced, folder, parts)
        for contents in each_part(parts, lambda n: settle(later.part(n), before.part(n))):
            stored.add(contents)
    counts = EndpointCounts(
        pages=reading.pages,
        total=reading.total,
        received=reading.received,
        distinct=distinct,
        superseded=reading.superseded,
        stored=stored.rows,
        known=reading.records.rows - unknown,
        waiting=waiting,
        rejected=reading.rejected.rows,
        unknown_fields=reading.unknown,
        newest=newest,
        dealt=dict(sorted(dealt_to.items())),
        erased=erased,
    )
    return Brought(counts, stored, reading.records, reading.rejected, gone)


def _newest(records: pl.DataFrame, times: PullTimes) -> datetime | None:
    """When the newest record was created, without those dated further ahead than clocks err."""
    latest = times.began + CLOCK_ERROR
    found = records.filter(pl.col("created_at") <= latest)["created_at"].max()
    return found if isinstance(found, datetime) else None


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    return max(filter(None, (one, other)), default=None)


def _gone(
    lake: LakeStore, reading: Reading, known: Spool, earlier: Sequence[Pull], times: PullTimes
) -> pl.DataFrame:
    """The ids that are stored and that this pull does not hold, columns as `GONE_SCHEMA`."""
    before = pulls.gone_keys(lake, reading.endpoint, earlier[-1] if earlier else None)
    rejected = reading.rejected
    present = pl.concat([identified(rejected.part(part)) for part in range(rejected.parts)])
    missing = [
        still_gone(known.part(part), reading.records.part(part), present, before, times.began)
        for part in range(known.parts)
    ]
    return pl.concat(missing).sort("id")


def _by_day(folder: Path, endpoint: Endpoint, records: Spool, times: PullTimes) -> Spool:
    """A spool in which all records of a day are in one part, and few enough days for memory.

    How many will be dealt to a day is not known yet. It is at most as many as were changed on it;
    but for the last day that is over, which may get any, and has a part of its own.
    """
    changed = changed_day(times)
    days = records.scan().filter(changed < times.over).group_by(changed.alias("day")).len()
    part_of: dict[date, int] = {}
    part, rows = 0, 0
    for day, most in days.sort("day").collect().iter_rows():
        if rows and rows + most > PART_ROWS:
            part, rows = part + 1, 0
        part_of[day], rows = part, rows + most
    part_of[times.over] = part + 1
    numbers = pl.Series(list(part_of.values()), dtype=pl.UInt32)
    which = pl.col("day").replace_strict(
        pl.Series(list(part_of), dtype=pl.Date), numbers, return_dtype=pl.UInt32
    )
    return Spool(folder, dealt_schema(endpoint), which, part + 2)


def _reject_ahead(endpoint: Endpoint, ahead: pl.DataFrame) -> pl.DataFrame:
    """Records dated further ahead than clocks err, as rejected ones."""
    payloads = ahead.select(pl.struct(list(endpoint.schema)).struct.json_encode()).to_series()
    later = ahead["updated_at"] > ahead["created_at"]
    return rejected_frame(
        [
            Rejected(
                payload.encode(),
                "updated_at" if edited else "created_at",
                "Dated further ahead than clocks err",
            )
            for payload, edited in zip(payloads, later, strict=True)
        ]
    )
