"""Where the raw part of the lake names users: found, and erased. Which files there are: `pulls.py`.

Only files that hold somebody to be erased are written again, each as a whole. At the end the
manifests say that these records were erased, so that what the files hold adds up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import polars as pl

from moovitamix.ingest.contract import LISTENS, USERS, Endpoint
from moovitamix.ingest.keep import recount
from moovitamix.ingest.lake import LakeStore
from moovitamix.ingest.named import NAMED_SCHEMA, Kind, Named
from moovitamix.ingest.pulls import kept_pulls
from moovitamix.ingest.whose import legible_key

# What a row of a file of users tells, besides the id; those of listens all tell the moment.
_WITHOUT_MOMENT = ("index", "gone")


def erase_from_files(lake: LakeStore, ids: Sequence[int], folder: Path) -> int:
    """Take some users out of all files; how many files held one of them.

    Nobody may pull meanwhile, or read a day. May be repeated.

    Args:
        lake: Which.
        ids: Of the users.
        folder: On a local disk, for one file at a time.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    local, unfinished = folder / "fetched.parquet", folder / "unfinished.parquet"
    wanted = pl.LazyFrame({"__id": ids}, schema={"__id": pl.Int64})
    rewritten = 0
    try:
        for name, endpoint, kind in _files(lake):
            lake.fetch(name, local)
            rows = pl.scan_parquet(local)
            if kind == "rejected":
                theirs = _rejected_ids(endpoint, rows.collect())
                rows = rows.collect().with_columns(__of=theirs).lazy()
            else:
                rows = rows.with_columns(__of=pl.col(endpoint.key[0]))
            if not _count(rows.join(wanted, left_on="__of", right_on="__id", how="semi")):
                continue
            rest = rows.join(
                wanted, left_on="__of", right_on="__id", how="anti", maintain_order="left"
            ).drop("__of")
            rest.sink_parquet(unfinished, compression="zstd", compression_level=1, statistics=False)
            lake.write_file(name, unfinished)
            rewritten += 1
    finally:
        local.unlink(missing_ok=True)
        unfinished.unlink(missing_ok=True)
    recount(lake, kept_pulls(lake), erased=True)
    return rewritten


def accounts_in_files(lake: LakeStore, ids: Sequence[int]) -> set[tuple[int, datetime]]:
    """When the accounts that have these ids were created, as far as the files know."""
    wanted = pl.DataFrame({"id": ids}, schema={"id": pl.Int64})
    found: set[tuple[int, datetime]] = set()
    for named in named_in_files(lake, accounts_alone=True):
        rows = named.rows.join(wanted, on="id", how="semi").drop_nulls()
        found.update(rows.rows())
    return found


def named_in_files(lake: LakeStore, *, accounts_alone: bool = False) -> Iterator[Named]:
    """Everybody whom the files name, a file at a time; only columns that name are read.

    Args:
        lake: Which.
        accounts_alone: Only files that tell when an account was created.
    """
    for name, endpoint, kind in _files(lake):
        what, moment = _told(endpoint, kind)
        if accounts_alone and what != "account":
            continue
        place = f"raw/{endpoint.name}" if kind == "raw" else f"pulls/{endpoint.name}.{kind}"
        if kind == "rejected":
            payloads = lake.read_parquet([name], columns=["payload"])["payload"]
            yield Named(place, what, legible(endpoint, payloads))
            continue
        column = endpoint.key[0]
        wanted = [column, *([moment] if moment else [])]
        rows = lake.read_parquet([name], columns=wanted).select(
            pl.col(column).alias("id"), (pl.col(moment) if moment else pl.lit(None)).alias("at")
        )
        yield Named(place, what, rows.cast(NAMED_SCHEMA).unique())


def legible(endpoint: Endpoint, payloads: Iterable[bytes]) -> pl.DataFrame:
    """Whose rejected records these are, where that can be read; columns as `NAMED_SCHEMA`."""
    keys = [legible_key(endpoint, payload) for payload in payloads]
    rows = [(user_id, created) for user_id, created in keys if user_id is not None]
    return pl.DataFrame(rows, schema=NAMED_SCHEMA, orient="row").unique()


def _files(lake: LakeStore) -> Iterator[tuple[str, Endpoint, str]]:
    """Name, endpoint and kind of each file that may name users."""
    for endpoint in (USERS, LISTENS):
        for name in lake.names(f"raw/{endpoint.name}"):
            yield name, endpoint, "raw"
    endpoints = {endpoint.name: endpoint for endpoint in (USERS, LISTENS)}
    for name in lake.names("pulls"):
        stem, _, kind = name.rpartition("/")[2].removesuffix(".parquet").partition(".")
        if stem in endpoints:
            yield name, endpoints[stem], kind


def _told(endpoint: Endpoint, kind: str) -> tuple[Kind, str | None]:
    if endpoint is LISTENS:
        return "listen", "created_at"
    return ("id", None) if kind in _WITHOUT_MOMENT else ("account", "created_at")


def _rejected_ids(endpoint: Endpoint, rejected: pl.DataFrame) -> pl.Series:
    ids = [legible_key(endpoint, payload)[0] for payload in rejected["payload"]]
    return pl.Series(ids, dtype=pl.Int64)


def _count(rows: pl.LazyFrame) -> int:
    return int(rows.select(pl.len()).collect().item())
