"""The raw part of the lake: kept pulls, what each brought, and the slice of a day.

A pull is kept by writing its manifest, last of its files. What has no manifest is not there.

    raw/{endpoint}/day=D/pull=P.parquet    the contents that P dealt to D
    pulls/P/{endpoint}.index.parquet       key, sha256 and day of each of them
    pulls/P/{endpoint}.seen.parquet        key and created_at of all records that P saw
    pulls/P/{endpoint}.rejected.parquet    what broke the contract
    pulls/P/{endpoint}.gone.parquet        tracks and users that P did not see any more, since when
    pulls/P/manifest.json                  times, pages, totals, counts
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import msgspec
import polars as pl

from moovitamix.ingest.contract import ENDPOINTS, LISTENS, Endpoint
from moovitamix.ingest.fetch import REJECTED_SCHEMA
from moovitamix.ingest.gone import GONE_SCHEMA
from moovitamix.ingest.lake import LakeStore
from moovitamix.ingest.spool import PART_ROWS, Spool

# Files of the lake that are written at once.
_WRITERS = 8

# After so long nobody is still writing the file of a matrix or a model.
_ABANDONED_AFTER = timedelta(days=1)


class EndpointCounts(msgspec.Struct, frozen=True):
    """What a pull did with the records of an endpoint.

    `distinct` = `stored` + `known` + `waiting` + `rejected` + `erased`. `unknown_fields` counts
    received records by the names of fields beyond the contract.
    """

    pages: int
    total: int
    received: int
    distinct: int
    superseded: int
    stored: int
    known: int
    waiting: int
    rejected: int
    unknown_fields: dict[str, int] = {}
    erased: int = 0


class Pull(msgspec.Struct, frozen=True):
    """A kept pull: its name sorts by time. Times are naive UTC, `over` is the last day over."""

    name: str
    began: datetime
    ended: datetime
    over: date
    counts: dict[str, EndpointCounts]

    def counted(self, endpoint: Endpoint) -> dict[str, int]:
        """An endpoint's counts by name."""
        counts = msgspec.structs.asdict(self.counts[endpoint.name])
        return {name: n for name, n in counts.items() if name != "unknown_fields"}


@dataclass(frozen=True)
class Brought:
    """What a pull brought of an endpoint, on disk until it is kept.

    Args:
        counts: For the manifest.
        stored: The new contents with the `day` each was dealt to, all of a day in one part.
        dealt_to: How many of them were dealt to each day.
        seen: All records that the pull saw.
        rejected: What broke the contract, columns as `fetch.REJECTED_SCHEMA`.
        gone: Where records have ids: those not seen any more, columns as `gone.GONE_SCHEMA`.
    """

    counts: EndpointCounts
    stored: Spool
    dealt_to: Mapping[date, int]
    seen: Spool
    rejected: Spool
    gone: pl.DataFrame | None = None


def pull_name(began: datetime) -> str:
    """The name of the pull that began then: sortable, and fit for a path."""
    return f"{began:%Y%m%dT%H%M%S%f}Z"


def kept_pulls(lake: LakeStore) -> list[Pull]:
    """All kept pulls, oldest first."""
    manifests = [name for name in lake.names("pulls") if name.endswith("/manifest.json")]
    return [msgspec.json.decode(lake.read_bytes(name), type=Pull) for name in manifests]


def newest_pull(lake: LakeStore) -> Pull | None:
    """The kept pull that began last, or None."""
    manifests = [name for name in lake.names("pulls") if name.endswith("/manifest.json")]
    return msgspec.json.decode(lake.read_bytes(manifests[-1]), type=Pull) if manifests else None


def keep(lake: LakeStore, pull: Pull, brought: Mapping[str, Brought], folder: Path) -> None:
    """Write a pull's files, its manifest last: with it, the pull is kept.

    Args:
        lake: Where to.
        pull: The manifest.
        brought: By endpoint.
        folder: For files on their way.
    """
    folder.mkdir(parents=True, exist_ok=True)  # nothing was spooled of an empty source
    unfinished = folder / "unfinished.parquet"

    def stream(name: str, rows: pl.LazyFrame) -> None:
        rows.sink_parquet(unfinished, compression="zstd", compression_level=1, statistics=False)
        lake.write_file(name, unfinished)

    for endpoint in ENDPOINTS:
        name, one = endpoint.name, brought[endpoint.name]
        for part in range(one.stored.parts):
            days = one.stored.scan(part).select(pl.col("day").unique()).collect()["day"].to_list()
            if len(days) == 1:
                # One day may be as large as the source: on the first pull, all that is older.
                of_day = one.stored.scan(part).drop("day")
                stream(raw_file(name, days[0], pull.name), of_day)
                continue
            by_day = one.stored.part(part).partition_by("day", as_dict=True, include_key=False)
            files = {raw_file(name, day, pull.name): rows for (day,), rows in by_day.items()}
            # Most are small: opening and moving them takes longer than their bytes.
            with ThreadPoolExecutor(_WRITERS) as writers:
                deque(writers.map(lake.write_parquet, files, files.values()), maxlen=0)
        index = one.stored.scan().select(*endpoint.key, "sha256", "day")
        stream(pull_file(pull.name, name, "index"), index)
        seen = one.seen.scan().select(list(dict.fromkeys([*endpoint.key, "created_at"])))
        stream(pull_file(pull.name, name, "seen"), seen)
        stream(pull_file(pull.name, name, "rejected"), one.rejected.scan())
        if one.gone is not None:
            lake.write_parquet(pull_file(pull.name, name, "gone"), one.gone)
    lake.write_bytes(f"pulls/{pull.name}/manifest.json", msgspec.json.encode(pull))


def sweep(lake: LakeStore, kept: Sequence[Pull]) -> None:
    """Remove what a killed pull left behind. Only the one who may pull may sweep."""
    names = {pull.name for pull in kept}
    for name in lake.names("pulls"):
        if name.split("/")[1] not in names:
            lake.remove(name)
    for name in lake.names("raw"):
        if name.rpartition("/")[2].removeprefix("pull=").removesuffix(".parquet") not in names:
            lake.remove(name)
    for folder in ("pulls", "raw"):
        lake.sweep(folder, older_than=timedelta(0))
    lake.sweep("", older_than=_ABANDONED_AFTER)


def known_contents(lake: LakeStore, endpoint: Endpoint, pulls: Sequence[Pull]) -> pl.DataFrame:
    """Key, sha256, day and pull of every content that these pulls brought, in their order."""
    frames = [
        lake.read_parquet([pull_file(pull.name, endpoint.name, "index")]).with_columns(
            pull=pl.lit(pull.name)
        )
        for pull in pulls
    ]
    if frames:
        return pl.concat(frames)
    key = {name: endpoint.schema[name] for name in endpoint.key}
    return pl.DataFrame(schema={**key, "sha256": pl.Binary, "day": pl.Date, "pull": pl.String})


def known_contents_on_disk(
    lake: LakeStore, endpoint: Endpoint, pulls: Sequence[Pull], folder: Path, parts: int
) -> Spool:
    """The same as `known_contents`, on disk in parts by key."""
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        **{name: endpoint.schema[name] for name in endpoint.key},
        "sha256": pl.Binary,
        "day": pl.Date,
        "pull": pl.String,
    }
    known = Spool.by_key(folder, schema, endpoint.key, parts)
    for pull in pulls:
        name = pull_file(pull.name, endpoint.name, "index")
        for rows in _slices(lake, name, folder):
            known.add(rows.with_columns(pull=pl.lit(pull.name)))
    return known


def latest_of(endpoint: Endpoint, known: pl.DataFrame) -> pl.DataFrame:
    """Of each record the content that was brought last."""
    return known.unique(list(endpoint.key), keep="last", maintain_order=True)


def latest_contents(lake: LakeStore, endpoint: Endpoint, pulls: Sequence[Pull]) -> pl.DataFrame:
    """Of each record the content that the newest of these pulls brought: key, day, pull."""
    return latest_of(endpoint, known_contents(lake, endpoint, pulls))


def seen_keys(lake: LakeStore, endpoint: Endpoint, pull: Pull) -> pl.DataFrame:
    """The keys of all records that a pull saw, and when each was created."""
    return lake.read_parquet([pull_file(pull.name, endpoint.name, "seen")])


def gone_keys(lake: LakeStore, endpoint: Endpoint, pull: Pull | None) -> pl.DataFrame:
    """The ids that a pull did not see any more; none where it did not look (earlier versions).

    Columns as `gone.GONE_SCHEMA`.
    """
    name = pull_file(pull.name, endpoint.name, "gone") if pull else ""
    if not name or not lake.exists(name):
        return pl.DataFrame(schema=GONE_SCHEMA)
    return lake.read_parquet([name])


def seen_on_disk(
    lake: LakeStore, endpoint: Endpoint, pull: Pull, folder: Path, parts: int
) -> Spool:
    """The same as `seen_keys`, on disk in parts by key."""
    schema = {name: endpoint.schema[name] for name in (*endpoint.key, "created_at")}
    seen = Spool.by_key(folder / f"seen-{endpoint.name}", schema, endpoint.key, parts)
    for rows in _slices(lake, pull_file(pull.name, endpoint.name, "seen"), folder):
        seen.add(rows)
    return seen


def _slices(lake: LakeStore, name: str, folder: Path) -> Iterator[pl.DataFrame]:
    """The rows of a file of the lake, few enough at a time to hold."""
    folder.mkdir(parents=True, exist_ok=True)
    local = folder / "fetched.parquet"
    lake.fetch(name, local)
    yield from pl.scan_parquet(local).collect_batches(chunk_size=PART_ROWS)
    local.unlink()


def rejected_on(lake: LakeStore, endpoint: Endpoint, days: Sequence[date]) -> pl.DataFrame:
    """What broke the contract in the pulls for which one of these days was the last one over.

    Columns as `fetch.REJECTED_SCHEMA`, and `day` and `pull`.
    """
    wanted = set(days)
    frames = [
        lake.read_parquet([name]).with_columns(day=pl.lit(pull.over), pull=pl.lit(pull.name))
        for pull in kept_pulls(lake)
        # What was loaded long ago is kept no longer: see `prune.py`.
        if pull.over in wanted
        and lake.exists(name := pull_file(pull.name, endpoint.name, "rejected"))
    ]
    schema = {**REJECTED_SCHEMA, "day": pl.Date, "pull": pl.String}
    return pl.concat(frames) if frames else pl.DataFrame(schema=schema)


def brought_after(lake: LakeStore, endpoint: Endpoint, records: pl.DataFrame) -> pl.DataFrame:
    """Those of some records of which a later pull has brought a good content.

    Args:
        lake: Which.
        endpoint: Whose.
        records: With the endpoint's key and `pull`, and whatever else.
    """
    found = records.clear()
    oldest = records["pull"].min()
    for pull in kept_pulls(lake):
        if found.height == records.height or oldest is None or pull.name <= str(oldest):
            continue
        index = lake.read_parquet(
            [pull_file(pull.name, endpoint.name, "index")], columns=list(endpoint.key)
        )
        waiting = records.filter(pl.col("pull") < pull.name)
        found = pl.concat([found, waiting.join(index, on=list(endpoint.key), how="semi")]).unique()
    return found


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
        for rows in _slices(lake, raw_file(endpoint.name, day, pull), folder):
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


def count_dealt(lake: LakeStore, endpoint: Endpoint, days: Sequence[date]) -> int:
    """How many records the slice of some days holds."""
    return sum(frame.height for frame in iterate_days(lake, endpoint, days))


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


def raw_file(endpoint: str, day: date, pull: str) -> str:
    """The file of the contents that a pull dealt to a day."""
    return f"raw/{endpoint}/day={day}/pull={pull}.parquet"


def pull_file(pull: str, endpoint: str, kind: str) -> str:
    """The file of a pull of a kind: `index`, `seen`, `rejected` or `gone`."""
    return f"pulls/{pull}/{endpoint}.{kind}.parquet"
