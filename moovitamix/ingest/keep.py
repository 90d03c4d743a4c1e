"""A pull's files written to the lake, its manifest last: with it, the pull is kept.

Which files there are, and how they are found again, is told in `pulls.py`.
"""

from __future__ import annotations

import uuid
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec
import polars as pl

from moovitamix.errors import StoreUnavailable
from moovitamix.ingest.contract import ENDPOINTS, Endpoint
from moovitamix.ingest.lake import LakeStore
from moovitamix.ingest.pulls import EndpointCounts, Pull, manifest_file, pull_file, raw_file
from moovitamix.ingest.spool import Spool

# Files of the lake that are written at once.
_WRITERS = 8


@dataclass(frozen=True)
class Brought:
    """What a pull brought of an endpoint, on disk until it is kept.

    Args:
        counts: For the manifest.
        stored: The new contents with the `day` each was dealt to, all of a day in one part.
        seen: All records that the pull saw.
        rejected: What broke the contract, columns as `rejected.REJECTED_SCHEMA`.
        gone: Where records have ids: those not seen any more, columns as `gone.GONE_SCHEMA`.
    """

    counts: EndpointCounts
    stored: Spool
    seen: Spool
    rejected: Spool
    gone: pl.DataFrame | None = None


def keep_days(
    lake: LakeStore, pull: str, endpoint: Endpoint, brought: Brought, folder: Path
) -> None:
    """Write the new contents of an endpoint, a file a day.

    Nobody sees them before the pull is kept.

    Args:
        lake: Where to.
        pull: The pull's name.
        endpoint: Whose.
        brought: What the pull brought of it.
        folder: For files on their way; it is there.
    """
    stored = brought.stored
    for part in range(stored.parts):
        days = stored.scan(part).select(pl.col("day").unique()).collect()["day"].to_list()
        if len(days) == 1:
            # One day may be as large as the source: on the first pull, all that is older.
            of_day = stored.scan(part).drop("day")
            _stream(lake, raw_file(endpoint.name, days[0], pull), of_day, folder)
            continue
        by_day = stored.part(part).partition_by("day", as_dict=True, include_key=False)
        files = {raw_file(endpoint.name, day, pull): rows for (day,), rows in by_day.items()}
        # Most are small: opening and moving them takes longer than their bytes.
        with ThreadPoolExecutor(_WRITERS) as writers:
            deque(writers.map(lake.write_parquet, files, files.values()), maxlen=0)


def keep_lists(
    lake: LakeStore, pull: str, endpoint: Endpoint, brought: Brought, folder: Path
) -> None:
    """Write what the pull stored, saw, rejected and missed of an endpoint, a file each.

    Args: See `keep_days`.
    """
    seen = list(dict.fromkeys([*endpoint.key, "created_at"]))
    lists = {
        "index": brought.stored.scan().select(*endpoint.key, "sha256", "day"),
        "seen": brought.seen.scan().select(seen),
        "rejected": brought.rejected.scan(),
    }
    for kind, rows in lists.items():
        _stream(lake, pull_file(pull, endpoint.name, kind), rows, folder)
    if brought.gone is not None:
        lake.write_parquet(pull_file(pull, endpoint.name, "gone"), brought.gone)


def refuse_unless_whole(lake: LakeStore, pull: Pull) -> None:
    """Raise when a file is gone that a new pull has written: its manifest would promise it.

    Raises:
        StoreUnavailable: Then; the next pull removes what is left.
    """
    there = {*lake.names(f"pulls/{pull.name}"), *lake.names("raw")}
    names = [
        name
        for one in ENDPOINTS
        for name in (
            *(pull_file(pull.name, one.name, kind) for kind in ("index", "seen", "rejected")),
            *(raw_file(one.name, day, pull.name) for day in pull.counts[one.name].dealt),
        )
    ]
    missing = [name for name in names if name not in there]
    if missing:
        raise StoreUnavailable(
            f"{len(missing)} files that this pull has written are gone from the lake, among them "
            f"{missing[0]}: the pull is not kept. See who else pulls or removes files; run again."
        )


def keep(lake: LakeStore, pull: Pull) -> None:
    """Write a pull's manifest, when all its files are there: with it, the pull is kept."""
    lake.write_bytes(manifest_file(pull.name), msgspec.json.encode(pull))


def _stream(lake: LakeStore, name: str, rows: pl.LazyFrame, folder: Path) -> None:
    """Write a file of any size, by way of a local one."""
    unfinished = folder / f"{uuid.uuid4().hex}.parquet"
    rows.sink_parquet(unfinished, compression="zstd", compression_level=1, statistics=False)
    lake.write_file(name, unfinished)
    unfinished.unlink()


def recount(lake: LakeStore, kept: Sequence[Pull], *, erased: bool) -> None:
    """State in the manifests what their indexes hold, after records were taken out of both.

    May be repeated: whoever takes records out does this last, and begins anew when killed before.
    Manifests of earlier versions, which do not say what was dealt to which day, stay.

    Args:
        lake: Which.
        kept: The pulls that records were taken out of.
        erased: Whether they were records of erased people: then these are counted so, and not
            among what was stored or rejected.
    """
    for pull in kept:
        counts = {
            endpoint.name: _recounted(lake, pull, endpoint, erased=erased) for endpoint in ENDPOINTS
        }
        if counts != pull.counts:
            keep(lake, msgspec.structs.replace(pull, counts=counts))


def _recounted(lake: LakeStore, pull: Pull, endpoint: Endpoint, *, erased: bool) -> EndpointCounts:
    counts = pull.counts[endpoint.name]
    if counts.stored and not counts.dealt:
        return counts
    index = pull_file(pull.name, endpoint.name, "index")
    days = lake.read_parquet([index], columns=["day"])["day"]
    dealt = dict(sorted(Counter(days.to_list()).items()))
    if not erased:
        return msgspec.structs.replace(counts, dealt=dealt)
    rejected = pull_file(pull.name, endpoint.name, "rejected")
    left = lake.count_rows(rejected) if lake.exists(rejected) else counts.rejected
    stored_less = sum(counts.dealt.values()) - len(days)
    return msgspec.structs.replace(
        counts,
        dealt=dealt,
        stored=counts.stored - stored_less,
        rejected=left,
        erased=counts.erased + stored_less + counts.rejected - left,
    )
