"""The slice of a day, and contents by their hash: what the files of the lake hold of the records.

Which files there are, and which contents were replaced, is told by the lists in `pulls.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

import polars as pl

from moovitamix.ingest.contract import LISTENS, Endpoint
from moovitamix.ingest.lake import LakeStore
from moovitamix.ingest.pulls import kept_pulls, pull_file, raw_file, rows_of_file
from moovitamix.ingest.spool import Spool


def read_contents(lake: LakeStore, endpoint: Endpoint, wanted: pl.DataFrame) -> pl.DataFrame:
    """The records of some contents.

    Args:
        lake: Where from.
        endpoint: Whose.
        wanted: Rows of `known_contents` or `latest_contents`.

    Returns:
        The contract's columns, `sha256`, `day`, `pull`; for listens also `listened_at`.
    """
    frames = [
        lake.read_parquet([raw_file(endpoint.name, day, pull)]).with_columns(
            day=pl.lit(day), pull=pl.lit(pull)
        )
        for day, pull in wanted.select("day", "pull").unique().sort("day", "pull").iter_rows()
    ]
    if not frames:
        return empty_contents(endpoint)
    return pl.concat(frames).join(wanted, on=["sha256", "day", "pull"], how="semi")


def contents_on_disk(
    lake: LakeStore, endpoint: Endpoint, wanted: pl.DataFrame, folder: Path, parts: int
) -> Spool:
    """The same as `read_contents`, on disk in parts by key, without `day` and `pull`."""
    schema = {name: kind for name, kind in dealt_schema(endpoint).items() if name != "day"}
    contents = Spool.by_key(folder / "contents", schema, endpoint.key, parts)
    for (day, pull), of_file in wanted.partition_by("day", "pull", as_dict=True).items():
        for rows in rows_of_file(lake, raw_file(endpoint.name, day, pull), folder):
            contents.add(rows.join(of_file, on="sha256", how="semi"))
    return contents


def dealt_schema(endpoint: Endpoint) -> dict[str, pl.DataType | type[pl.DataType]]:
    """The columns of contents that were dealt to a day."""
    listened = {"listened_at": pl.List(pl.Datetime("us"))} if endpoint is LISTENS else {}
    return {**endpoint.schema, "sha256": pl.Binary, "day": pl.Date, **listened}


def empty_contents(endpoint: Endpoint) -> pl.DataFrame:
    """What `read_contents` gives for nothing wanted."""
    listened = {"listened_at": pl.List(pl.Datetime("us"))} if endpoint is LISTENS else {}
    return pl.DataFrame(
        schema={
            **endpoint.schema,
            "sha256": pl.Binary,
            **listened,
            "day": pl.Date,
            "pull": pl.String,
        }
    )


def read_days(lake: LakeStore, endpoint: Endpoint, days: Sequence[date]) -> pl.DataFrame:
    """The slice of some days: what was dealt to them and has not been replaced since."""
    frames = [empty_contents(endpoint), *iterate_days(lake, endpoint, days)]
    return pl.concat(frames)


def iterate_days(
    lake: LakeStore, endpoint: Endpoint, days: Sequence[date]
) -> Iterator[pl.DataFrame]:
    """The slice of some days as `read_days` gives it, one file of the lake at a time.

    A content is replaced when a later pull brought another one of its record. So only the indexes
    of pulls later than a file's own are looked at: none, where one pull brought all.
    """
    for day, pull, replaced in _files_of(lake, endpoint, days):
        frame = lake.read_parquet([raw_file(endpoint.name, day, pull)])
        if replaced is not None:
            frame = frame.join(replaced, on=list(endpoint.key), how="anti", maintain_order="left")
        if frame.height:
            yield frame.with_columns(day=pl.lit(day), pull=pl.lit(pull))


def count_dealt(lake: LakeStore, endpoint: Endpoint, days: Sequence[date]) -> dict[date, int]:
    """How many records the slice of each of some days holds; a day that holds none is left out."""
    counted: Counter[date] = Counter()
    for frame in iterate_days(lake, endpoint, days):
        counted[frame["day"][0]] += frame.height
    return counted


def _files_of(
    lake: LakeStore, endpoint: Endpoint, days: Sequence[date]
) -> Iterator[tuple[date, str, pl.DataFrame | None]]:
    """Day and pull of each file of some days, the newest pull's first, and what replaced of it."""
    kept = [pull.name for pull in kept_pulls(lake)]
    of_pull: dict[str, list[date]] = {}
    for day in days:
        for name in lake.names(f"raw/{endpoint.name}/day={day}"):
            pull = name.rpartition("/")[2].removeprefix("pull=").removesuffix(".parquet")
            of_pull.setdefault(pull, []).append(day)
    replaced: pl.DataFrame | None = None
    seen = len(kept)
    for place in sorted((kept.index(pull) for pull in of_pull if pull in kept), reverse=True):
        later = kept[place + 1 : seen]
        seen = place + 1
        if later:
            files = [pull_file(pull, endpoint.name, "index") for pull in later]
            brought = lake.read_parquet(files, columns=list(endpoint.key))
            replaced = brought if replaced is None else pl.concat([replaced, brought])
        for day in of_pull[kept[place]]:
            yield day, kept[place], replaced
