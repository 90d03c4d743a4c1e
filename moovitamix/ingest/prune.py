"""What no day and no check needs any more goes from the raw part of the lake, once it is old.

That is, of a pull which is not the newest and ended long enough ago:

- the contents of earlier pulls that it replaced, in `raw/` and in their indexes. The latest content
  of a record always stays: from it every day is made again, and the next pull compared;
- its `seen` and `gone`, of which only the newest pull's are ever read;
- its `rejected`, once they have come to the table `quarantine` with their day.

`seen` goes last: where it is, the pull has still to be looked at.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import polars as pl

from moovitamix.ingest.contract import ENDPOINTS, Endpoint
from moovitamix.ingest.keep import recount
from moovitamix.ingest.lake import LakeStore
from moovitamix.ingest.pulls import Pull, kept_pulls, pull_file, raw_file


@dataclass
class Pruned:
    """What was removed: replaced contents of records, and whole files of old pulls."""

    contents: int = 0
    files: int = 0


def is_prunable(lake: LakeStore, before: datetime, published: Collection[date]) -> bool:
    """Whether there is anything to be removed, told by names of files alone."""
    there = set(lake.names("pulls"))
    return any(_droppable(there, pull, published) for pull in _old(kept_pulls(lake), before))


def prune_files(
    lake: LakeStore, before: datetime, published: Collection[date], folder: Path
) -> Pruned:
    """Remove what has been of no use since then. Nobody may pull meanwhile, or read a day.

    May be repeated, wherever it was stopped.

    Args:
        lake: Which.
        before: Pulls that ended before this moment, naive UTC, are old.
        published: Days whose rejected records are in `quarantine`.
        folder: On a local disk, for one file at a time.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    done = Pruned()
    pulls, there = kept_pulls(lake), set(lake.names("pulls"))
    for place, pull in enumerate(_old(pulls, before)):
        droppable = _droppable(there, pull, published)
        if any(name.endswith(".seen.parquet") for name in droppable):
            for endpoint in ENDPOINTS:
                for earlier in pulls[:place]:
                    done.contents += _drop_replaced(lake, endpoint, earlier, pull, folder)
            recount(lake, pulls[:place], erased=False)
        for name in droppable:
            lake.remove(name)
        done.files += len(droppable)
    return done


def _old(pulls: list[Pull], before: datetime) -> list[Pull]:
    """The first so many pulls that are old; the newest never is."""
    return [pull for pull in pulls[:-1] if pull.ended < before]


def _droppable(there: set[str], pull: Pull, published: Collection[date]) -> list[str]:
    """Of the files that are there those of an old pull that are of no use, `seen` last."""
    kinds = ["gone", *(["rejected"] if pull.over in published else []), "seen"]
    names = [pull_file(pull.name, one.name, kind) for kind in kinds for one in ENDPOINTS]
    return [name for name in names if name in there]


def _drop_replaced(
    lake: LakeStore, endpoint: Endpoint, earlier: Pull, later: Pull, folder: Path
) -> int:
    """Remove the contents of one pull that another one replaced; the index goes last."""
    local, successors = folder / "fetched.parquet", folder / "later.parquet"
    unfinished = folder / "unfinished.parquet"
    key = list(endpoint.key)
    lake.fetch(pull_file(later.name, endpoint.name, "index"), successors)
    index = pull_file(earlier.name, endpoint.name, "index")
    lake.fetch(index, local)
    replacing = pl.scan_parquet(successors).select(key)
    replaced = (
        pl.scan_parquet(local).join(replacing, on=key, how="semi").select("day", "sha256").collect()
    )
    if replaced.is_empty():
        return 0

    def rewrite(name: str, rest: pl.LazyFrame) -> None:
        rest.sink_parquet(unfinished, compression="zstd", compression_level=1, statistics=False)
        lake.write_file(name, unfinished)

    rest = pl.scan_parquet(local).join(replacing, on=key, how="anti", maintain_order="left")
    rest_of_index = folder / "index.parquet"
    rest.sink_parquet(rest_of_index, compression="zstd", compression_level=1, statistics=False)
    for (day,), theirs in replaced.partition_by("day", as_dict=True).items():
        name = raw_file(endpoint.name, day, earlier.name)
        lake.fetch(name, local)
        rows = pl.scan_parquet(local)
        rewrite(name, rows.join(theirs.lazy(), on="sha256", how="anti", maintain_order="left"))
    lake.write_file(index, rest_of_index)
    return replaced.height
