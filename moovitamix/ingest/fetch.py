"""Everything the source holds now, read as one: all of one world, or not at all.

The source is alive: it grows while it is read, and may start anew in the middle. What is kept
of a reading, and for which day, is told by `pull.py` and `deal.py`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import polars as pl

from moovitamix.errors import SourceUnavailable
from moovitamix.ingest.client import CONCURRENT_REQUESTS, SourceClient
from moovitamix.ingest.contract import ENDPOINTS, LISTENS, PAGE_SIZE, Endpoint, Page, Rejected

READINGS = 3

# The share of the first page's records that must still be there, unchanged, at the end.
_SAME_WORLD = 0.5

_PAGES_A_FRAME = 64

REJECTED_SCHEMA = {
    "payload": pl.Binary,
    "sha256": pl.Binary,
    "field": pl.String,
    "reason": pl.String,
}

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Reading:
    """What an endpoint held.

    Args:
        endpoint: Which of the three.
        records: One row per record, columns as the contract's and `sha256`.
        rejected: One row per record that breaks the contract, columns as `REJECTED_SCHEMA`.
        pages: How many pages were read.
        total: What the source last stated as its number of records.
        received: Records received, good or not, repeats included.
        superseded: Records left out because the same record came again with later content.
    """

    endpoint: Endpoint
    records: pl.DataFrame
    rejected: pl.DataFrame
    pages: int
    total: int
    received: int
    superseded: int

    @property
    def distinct(self) -> int:
        """How many different records there were, good or not."""
        return self.records.height + self.rejected.height

    def digest(self) -> bytes:
        """The same for two readings that found the same contents."""
        found = pl.concat([self.records["sha256"], self.rejected["sha256"]]).sort()
        return hashlib.sha256(b"".join(found.to_list())).digest()


async def read_source(
    client: SourceClient,
    *,
    on_progress: Progress = lambda *_: None,
    on_trouble: Callable[[str], None] = lambda _: None,
) -> dict[str, Reading]:
    """Read all three endpoints as they are now, by name.

    A reading that is torn is thrown away and done again, up to `READINGS` times: one in which
    the world changed on the way, or whose distinct records do not cover the stated totals.

    Args:
        client: Of the source.
        on_progress: Told the endpoint, the pages read and the pages expected.
        on_trouble: Told, in a sentence, why a reading was thrown away.

    Raises:
        SourceUnavailable: When no reading was whole.
        SourceContractError: When the source does not speak its contract.
    """
    trouble: str | None = None
    digests: dict[str, bytes] = {}
    for _ in range(READINGS):
        readings, first_pages = await _read_once(client, on_progress)
        trouble = _shortfall(readings, digests) or await _world_change(client, first_pages)
        if trouble is None:
            return readings
        digests = {name: reading.digest() for name, reading in readings.items()}
        on_trouble(trouble)
    raise SourceUnavailable(
        f"No whole reading of {client.url} in {READINGS} tries; the last one: {trouble}. "
        "Nothing was stored, the last good pull stands. Run again when the source is at rest."
    )


async def _read_once(
    client: SourceClient, on_progress: Progress
) -> tuple[dict[str, Reading], dict[str, Page]]:
    firsts = await asyncio.gather(*(client.page(endpoint, 1) for endpoint in ENDPOINTS))
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(_read_endpoint(client, endpoint, first, on_progress))
                for endpoint, first in zip(ENDPOINTS, firsts, strict=True)
            ]
    except ExceptionGroup as failures:
        # One is enough to tell, and callers look for it by its type.
        first_failure = failures.exceptions[0]
        raise first_failure from first_failure.__cause__
    readings = {task.result().endpoint.name: task.result() for task in tasks}
    return readings, {
        endpoint.name: first for endpoint, first in zip(ENDPOINTS, firsts, strict=True)
    }


async def _read_endpoint(
    client: SourceClient, endpoint: Endpoint, first: Page, on_progress: Progress
) -> Reading:
    collected = _Collected(endpoint)
    collected.add(first)
    expected = max(1, -(-(first.total or 0) // PAGE_SIZE))
    for start in range(2, expected + 1, CONCURRENT_REQUESTS):
        numbers = range(start, min(start + CONCURRENT_REQUESTS, expected + 1))
        for page in await asyncio.gather(*(client.page(endpoint, n) for n in numbers)):
            collected.add(page)
        on_progress(endpoint.name, numbers[-1], expected)
    # What came in meanwhile stands at the end: read on from the last page until one is not full.
    last, number = first, expected
    while number == expected or last.length == PAGE_SIZE:
        last = await client.page(endpoint, number)
        collected.add(last)
        number += 1
    on_progress(endpoint.name, number - 1, number - 1)
    return collected.reading(total=last.total or first.total or 0)


class _Collected:
    """The pages of an endpoint on their way to one frame."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._records: list[msgspec.Struct] = []
        self._frames: list[pl.DataFrame] = [endpoint.frame([])]
        self._rejected: list[Rejected] = []
        self._pages = 0
        self._received = 0

    def add(self, page: Page) -> None:
        self._pages += 1
        self._received += page.length
        self._records.extend(page.records)
        self._rejected.extend(page.rejected)
        # Frames are several times smaller than records; the loop breathes between them.
        if self._pages % _PAGES_A_FRAME == 0:
            self._to_frame()

    def _to_frame(self) -> None:
        self._frames.append(self._endpoint.frame(self._records))
        self._records = []

    def reading(self, total: int) -> Reading:
        self._to_frame()
        contents = pl.concat(self._frames).unique("sha256", keep="first", maintain_order=True)
        records = contents.sort("updated_at", "sha256").unique(
            list(self._endpoint.key), keep="last", maintain_order=True
        )
        return Reading(
            self._endpoint,
            records,
            rejected_frame(self._rejected),
            self._pages,
            total,
            self._received,
            contents.height - records.height,
        )


def rejected_frame(rejected: Sequence[Rejected]) -> pl.DataFrame:
    """Rejected records as a frame, one row per payload, columns as `REJECTED_SCHEMA`."""
    rows = [(r.payload, hashlib.sha256(r.payload).digest(), r.field, r.reason) for r in rejected]
    frame = pl.DataFrame(rows, schema=REJECTED_SCHEMA, orient="row")
    return frame.unique("sha256", keep="first", maintain_order=True)


def _shortfall(readings: dict[str, Reading], before: dict[str, bytes]) -> str | None:
    """Why the distinct records do not cover the totals, or None when they do."""
    for name, reading in readings.items():
        if reading.distinct >= reading.total:
            continue
        # Listens have no id: a source that really holds the same record twice says so by
        # giving the very same contents again.
        repeated = reading.endpoint is LISTENS and reading.received >= reading.total
        if repeated and before.get(name) == reading.digest():
            continue
        return f"{name} states {reading.total} records and gave {reading.distinct} different ones"
    return None


async def _world_change(client: SourceClient, firsts: dict[str, Page]) -> str | None:
    """How the first pages have become somebody else's since they were read, or None."""
    now = await asyncio.gather(*(client.page(endpoint, 1) for endpoint in ENDPOINTS))
    for endpoint, page in zip(ENDPOINTS, now, strict=True):
        before = endpoint.frame(firsts[endpoint.name].records)
        if before.is_empty():
            continue
        staying = before.join(endpoint.frame(page.records), on="sha256", how="semi").height
        if staying < _SAME_WORLD * before.height:
            return (
                f"the first page of {endpoint.name} held {before.height} records, of which only "
                f"{staying} were still there at the end"
            )
    return None
