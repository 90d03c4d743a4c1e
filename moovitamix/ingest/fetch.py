"""Everything the source holds now, read as one: all of one world, or not at all.

The source is alive: it grows while it is read, and may start anew in the middle. Whether a reading
is whole is told by `whole.py`; what is kept of it, and for which day, by `pull.py` and `deal.py`.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import polars as pl

from moovitamix.errors import SourceUnavailable
from moovitamix.ingest.client import CONCURRENT_REQUESTS, SourceClient
from moovitamix.ingest.contract import ENDPOINTS, LISTENS, PAGE_SIZE, Endpoint
from moovitamix.ingest.decode import Page, Rejected
from moovitamix.ingest.rejected import REJECTED_SCHEMA, rejected_frame
from moovitamix.ingest.settle import unite
from moovitamix.ingest.spool import Spool, each_part, parts_for
from moovitamix.ingest.whole import Before, pages_expected, shortfall, world_change

READINGS = 3

# A frame is made of so many records at a time, between two pages: it takes a millisecond, and they
# are still in the processor's cache. In a thread it took twice as long, for both wanted the GIL.
_RECORDS_A_FRAME = 512

# Frames of so many records go to disk at a time: a few megabytes of them.
_RECORDS_A_SPILL = 16_384

# Rejected records may be of any length: so many bytes of them go to disk at a time.
_REJECTED_BYTES_A_SPILL = 8 * 2**20

# Names of fields beyond the contract are told; not all of a source that makes them up.
UNKNOWN_NAMES = 20
UNKNOWN_NAME_LENGTH = 60

Progress = Callable[[str, int, int], None]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Reading:
    """What an endpoint held, on disk.

    Args:
        endpoint: Which of the three.
        records: One row per record, columns as the contract's and `sha256`, in parts by key.
        rejected: One row per record that breaks the contract, columns as `REJECTED_SCHEMA`.
        pages: How many pages were read.
        total: What the source last stated as its number of records.
        received: Records received, good or not, repeats included.
        superseded: Contents left out because the same record came again with a later one; of
            listens, whose plays are all in the one that stands.
        repeated: Rejected records left out because they are another one byte for byte.
        unknown: How many of those received had a field beyond the contract, by its name.
        shrank_from: The total that a page stated, when one that was asked for later stated less.
    """

    endpoint: Endpoint
    records: Spool
    rejected: Spool
    pages: int
    total: int
    received: int
    superseded: int
    repeated: int
    unknown: dict[str, int]
    shrank_from: int | None = None

    @property
    def distinct(self) -> int:
        """How many different records there were, good or not."""
        return self.records.rows + self.rejected.rows

    def digest(self) -> tuple[int, int]:
        """The same for two readings that found the same contents."""
        hashes = pl.concat(
            [spool.scan().select("sha256") for spool in (self.records, self.rejected)]
        )
        # A sum does not depend on the order, nor on the parts; SHA-256 is spread evenly.
        words = pl.col("sha256").bin.slice(0, 8).bin.reinterpret(dtype=pl.UInt64)
        found = hashes.select(pl.len(), words.cast(pl.Int128).sum()).collect().row(0)
        return found[0], found[1]


async def read_source(
    client: SourceClient,
    folder: Path,
    *,
    on_progress: Progress = lambda *_: None,
    on_trouble: Callable[[str], None] = lambda _: None,
) -> dict[str, Reading]:
    """Read all three endpoints as they are now, by name.

    A reading that is torn is thrown away and done again, up to `READINGS` times: one in which
    the world changed on the way, or that may lack records (`whole.py`).

    Args:
        client: Of the source.
        folder: Where the readings are kept; what was thrown away leaves nothing in it.
        on_progress: Told the endpoint, the pages read and the pages expected.
        on_trouble: Told, in a sentence, why a reading was thrown away.

    Raises:
        SourceUnavailable: When no reading was whole.
        SourceContractError: When the source does not speak its contract.
    """
    trouble: str | None = None
    before: dict[str, Before] = {}
    for number in range(READINGS):
        place = folder / f"reading-{number}"
        readings, first_pages = await _read_once(client, place, on_progress)
        trouble = shortfall(readings, before) or await world_change(client, first_pages)
        if trouble is None:
            return readings
        before = {name: Before(r.digest(), r.repeated) for name, r in readings.items()}
        shutil.rmtree(place, ignore_errors=True)
        on_trouble(trouble)
    raise SourceUnavailable(
        f"No whole reading of {client.url} in {READINGS} tries; the last one: {trouble}. "
        "Nothing was stored, the last good pull stands. Run again when the source is at rest."
    )


async def _read_once(
    client: SourceClient, folder: Path, on_progress: Progress
) -> tuple[dict[str, Reading], dict[str, Page]]:
    firsts = await asyncio.gather(*(client.page(endpoint, 1) for endpoint in ENDPOINTS))
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(_read_endpoint(client, endpoint, first, folder, on_progress))
                for endpoint, first in zip(ENDPOINTS, firsts, strict=True)
            ]
    except ExceptionGroup as failures:
        # One is enough to tell, and callers look for it by its type.
        first_failure: BaseException = failures
        while isinstance(first_failure, BaseExceptionGroup):
            first_failure = first_failure.exceptions[0]
        raise first_failure from first_failure.__cause__
    readings = {task.result().endpoint.name: task.result() for task in tasks}
    return readings, {
        endpoint.name: first for endpoint, first in zip(ENDPOINTS, firsts, strict=True)
    }


async def _read_endpoint(
    client: SourceClient, endpoint: Endpoint, first: Page, folder: Path, on_progress: Progress
) -> Reading:
    expected = pages_expected(endpoint, first)
    collected = _Collected(endpoint, folder / endpoint.name, parts_for(first.total or 0))
    await collected.add(first, 1)

    async def read(number: int) -> Page:
        stated = collected.most  # before it is asked: answers come in any order
        page = await client.page(endpoint, number)
        await collected.add(page, number, stated)
        return page

    # The last one is read when all others are: until then it may grow, and to read it twice would
    # bring repeats that must be folded.
    numbers = iter(range(2, expected) if first.length else ())

    async def read_on() -> None:
        for number in numbers:
            if not (await read(number)).length:
                return  # nothing stands behind the end, whatever the total says
            on_progress(endpoint.name, collected.pages, expected)

    async with asyncio.TaskGroup() as group:
        for _ in range(CONCURRENT_REQUESTS):
            group.create_task(read_on())
    # What came in meanwhile stands at the end: read on from the last page until one is not full.
    last, number = first, expected
    while number == expected or last.length == PAGE_SIZE:
        last = await read(number)
        number += 1
    on_progress(endpoint.name, number - 1, number - 1)
    return await _in_thread(lambda: collected.reading(last.total or first.total or 0))


async def _in_thread(work: Callable[[], Result]) -> Result:
    """The outcome of some work in a thread; also when cancelled, none is left at work.

    A thread cannot be stopped, and would go on to write to a folder that was thrown away.
    """
    working = asyncio.create_task(asyncio.to_thread(work))
    try:
        return await asyncio.shield(working)
    finally:
        await asyncio.wait([working])


class _Collected:
    """The pages of an endpoint on their way to disk.

    Attributes:
        pages: How many came.
        most: The highest total that any of them stated.
    """

    def __init__(self, endpoint: Endpoint, folder: Path, parts: int) -> None:
        self.pages = 0
        self.most = 0
        self._shrank_from: int | None = None
        self._endpoint = endpoint
        self._records: list[msgspec.Struct] = []
        self._frames: list[pl.DataFrame] = []
        self._rejects: list[Rejected] = []
        self._rejected_bytes = 0
        self._received = 0
        self._refused: dict[int, int] = {}  # by page, for one that is read twice has them twice
        self._unknown: Counter[str] = Counter()
        self._spilling = asyncio.Lock()
        self._contents = Spool.by_key(
            folder / "records", {**endpoint.schema, "sha256": pl.Binary}, endpoint.key, parts
        )
        self._rejected = Spool.by_key(folder / "rejected", REJECTED_SCHEMA, ["sha256"], parts)

    async def add(self, page: Page, number: int, stated: int = 0) -> None:
        """Take in a page; `stated` is the total that was known when it was asked for."""
        self.pages += 1
        if page.total is not None:
            if page.total < stated:
                self._shrank_from = stated
            self.most = max(self.most, page.total)
        self._received += page.length
        if page.rejected:
            self._refused[number] = len(page.rejected)
            self._rejected_bytes += sum(len(one.payload) for one in page.rejected)
        self._records.extend(page.records)
        self._rejects.extend(page.rejected)
        for name, count in page.unknown.items():
            short = name[:UNKNOWN_NAME_LENGTH]
            if short in self._unknown or len(self._unknown) < UNKNOWN_NAMES:
                self._unknown[short] += count
        if len(self._records) >= _RECORDS_A_FRAME:
            self._frames.append(self._endpoint.frame_without_lists(self._records))
            self._records = []
        waiting = len(self._frames) * _RECORDS_A_FRAME + len(self._rejects)
        if waiting >= _RECORDS_A_SPILL or self._rejected_bytes >= _REJECTED_BYTES_A_SPILL:
            # In a thread, so that the next pages are asked for meanwhile; one at a time, so that a
            # slow disk slows the reading and fills no memory.
            frames, self._frames = self._frames, []
            rejects, self._rejects, self._rejected_bytes = self._rejects, [], 0
            async with self._spilling:
                await _in_thread(lambda: self._spill(frames, rejects))

    def _spill(self, frames: list[pl.DataFrame], rejects: list[Rejected]) -> None:
        if frames:
            self._contents.add(self._endpoint.with_lists(pl.concat(frames)))
        self._rejected.add(rejected_frame(rejects))

    def reading(self, total: int) -> Reading:
        """All that was added, folded: each record once, with its latest content; listens united."""
        last = self._endpoint.frame_without_lists(self._records)
        self._spill([*self._frames, last], self._rejects)
        superseded = 0
        # Nearly always nothing is there to fold, which is told much faster.
        for part in _repeating(self._contents, self._endpoint.key):
            contents = self._contents.part(part).unique("sha256", keep="first", maintain_order=True)
            in_time = contents.sort("updated_at", "sha256")
            records = (
                unite(in_time)
                if self._endpoint is LISTENS
                else in_time.unique(list(self._endpoint.key), keep="last", maintain_order=True)
            )
            superseded += contents.height - records.height
            self._contents.replace(part, records)
        for part in _repeating(self._rejected, ["sha256"]):
            received = self._rejected.part(part)
            once = received.unique("sha256", keep="first", maintain_order=True)
            self._rejected.replace(part, once)
        return Reading(
            self._endpoint,
            self._contents,
            self._rejected,
            self.pages,
            total,
            self._received,
            superseded,
            max(0, sum(self._refused.values()) - self._rejected.rows),
            dict(self._unknown),
            self._shrank_from,
        )


def _repeating(rows: Spool, key: Sequence[str]) -> list[int]:
    """The parts in which a key occurs more than once."""
    repeats = each_part(rows.parts, lambda n: rows.part(n).select(key).is_duplicated().any())
    return [part for part, found in enumerate(repeats) if found]
