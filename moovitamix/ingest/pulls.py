"""The raw part of the lake: kept pulls, and the lists of what each brought.

A pull is kept by writing its manifest, last of its files. What has no manifest is not there.

    raw/{endpoint}/day=D/pull=P.parquet    the contents that P dealt to D
    pulls/P/{endpoint}.index.parquet       key, sha256 and day of each of them
    pulls/P/{endpoint}.seen.parquet        key and created_at of all records that P saw
    pulls/P/{endpoint}.rejected.parquet    what broke the contract
    pulls/P/{endpoint}.gone.parquet        tracks and users that P did not see any more, since when
    pulls/P/manifest.json                  times, pages, totals, counts
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path

import msgspec
import polars as pl

from moovitamix.ingest.contract import Endpoint
from moovitamix.ingest.gone import GONE_SCHEMA
from moovitamix.ingest.lake import LakeStore
from moovitamix.ingest.rejected import REJECTED_SCHEMA
from moovitamix.ingest.spool import PART_ROWS, Spool

# After so long nobody is still writing the file of a matrix or a model.
_ABANDONED_AFTER = timedelta(days=1)


class EndpointCounts(msgspec.Struct, frozen=True):
    """What a pull did with the records of an endpoint.

    `distinct` = `stored` + `known` + `waiting` + `rejected` + `erased`. `unknown_fields` counts
    received records by the names of fields beyond the contract, `dealt` those stored by day.
    `newest` is the last `created_at` that is not ahead of all clocks; null where there is none,
    and in manifests of earlier versions, which lack `dealt` too.
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
    newest: datetime | None = None
    dealt: dict[date, int] = {}

    @property
    def accounted(self) -> int:
        """How many records it is known what became of: all distinct ones, or we have lost some."""
        return self.stored + self.known + self.waiting + self.rejected + self.erased


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
        return {name: n for name, n in counts.items() if isinstance(n, int)}


def pull_name(began: datetime) -> str:
    """The name of the pull that began then: sortable, and fit for a path."""
    return f"{began:%Y%m%dT%H%M%S%f}Z"


# Each step of a run asks for all manifests, and only an erasure replaces one. By lake and name:
# what told that it was not replaced, and what was read.
_READ: dict[tuple[str, str], tuple[tuple[object, ...], Pull]] = {}


def kept_pulls(lake: LakeStore) -> list[Pull]:
    """All kept pulls, oldest first. A process reads each manifest once, unless it is replaced."""
    return [_read(lake, name, version) for name, version in _manifests(lake)]


def newest_pull(lake: LakeStore) -> Pull | None:
    """The kept pull that began last, or None."""
    manifests = _manifests(lake)
    return _read(lake, *manifests[-1]) if manifests else None


def _manifests(lake: LakeStore) -> list[tuple[str, tuple[object, ...] | None]]:
    found = lake.versions("pulls").items()
    return [one for one in found if one[0].endswith("/manifest.json")]


def _read(lake: LakeStore, name: str, version: tuple[object, ...] | None) -> Pull:
    read = _READ.get((lake.url, name))
    if read is not None and read[0] == version:
        return read[1]
    # Replaced between listing and reading, it is read again at the next call.
    pull = msgspec.json.decode(lake.read_bytes(name), type=Pull)
    if version is not None:
        _READ[lake.url, name] = version, pull
    return pull


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


def known_contents(
    lake: LakeStore,
    endpoint: Endpoint,
    pulls: Sequence[Pull],
    of: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Key, sha256, day and pull of every content that these pulls brought, in their order.

    Args:
        lake: Which.
        endpoint: Whose.
        pulls: Oldest first.
        of: The keys of the only records that are asked about; None for all.
    """
    frames = []
    for pull in pulls:
        index = lake.read_parquet([pull_file(pull.name, endpoint.name, "index")])
        if of is not None:
            index = index.join(of, on=list(endpoint.key), how="semi", maintain_order="left")
        frames.append(index.with_columns(pull=pl.lit(pull.name)))
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
        for rows in rows_of_file(lake, name, folder):
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
    for rows in rows_of_file(lake, pull_file(pull.name, endpoint.name, "seen"), folder):
        seen.add(rows)
    return seen


def rows_of_file(lake: LakeStore, name: str, folder: Path) -> Iterator[pl.DataFrame]:
    """The rows of a file of the lake, few enough at a time to hold."""
    folder.mkdir(parents=True, exist_ok=True)
    local = folder / "fetched.parquet"
    lake.fetch(name, local)
    yield from pl.scan_parquet(local).collect_batches(chunk_size=PART_ROWS)
    local.unlink()


def rejected_on(lake: LakeStore, endpoint: Endpoint, days: Sequence[date]) -> pl.DataFrame:
    """What broke the contract in the pulls for which one of these days was the last one over.

    Columns as `rejected.REJECTED_SCHEMA`, and `day` and `pull`.
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


def manifest_file(pull: str) -> str:
    """The file with which a pull is kept."""
    return f"pulls/{pull}/manifest.json"


def raw_file(endpoint: str, day: date, pull: str) -> str:
    """The file of the contents that a pull dealt to a day."""
    return f"raw/{endpoint}/day={day}/pull={pull}.parquet"


def pull_file(pull: str, endpoint: str, kind: str) -> str:
    """The file of a pull of a kind: `index`, `seen`, `rejected` or `gone`."""
    return f"pulls/{pull}/{endpoint}.{kind}.parquet"
