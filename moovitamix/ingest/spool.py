"""Rows on disk between the source and the lake, in parts that are small enough to hold.

A pull knows more records than memory should hold. What belongs together (all contents of a
record; all records of a few days) goes to one part, and each part is worked on by itself. What
the parts mean is told by those who fill them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import TypeVar

import polars as pl

# A part is to hold about so many rows: a few tens of megabytes with what is made of it.
PART_ROWS = 65_536

# So many rows wait in memory until they are written, in one file a part.
_SPILL_ROWS = 32_768
# … or so many bytes, where rows are long.
_SPILL_BYTES = 32 * 2**20

_PART = "__part"

# So many parts are worked on at a time: what fits into memory, and two cores.
_AT_WORK = 2

Worked = TypeVar("Worked")


class Spool:
    """Rows of one schema in a folder of their own, in numbered parts.

    Any number of threads may read; only one at a time may add or replace, while nobody reads.

    Args:
        folder: Made when needed; removing it is its maker's business.
        schema: The columns.
        part: Gives each row the number of its part, from 0.
        parts: How many parts there are.
    """

    def __init__(
        self,
        folder: Path,
        schema: Mapping[str, pl.DataType | type[pl.DataType]],
        part: pl.Expr,
        parts: int,
    ) -> None:
        self.rows = 0
        self.schema = pl.Schema(schema)
        self._folder = folder
        self._part = part.alias(_PART)
        self._waiting: list[pl.DataFrame] = []
        self._waiting_rows = 0
        self._waiting_bytes = 0.0
        self._files: list[list[Path]] = [[] for _ in range(parts)]
        self._written = 0
        self._spilling = Lock()

    @classmethod
    def by_key(
        cls,
        folder: Path,
        schema: Mapping[str, pl.DataType | type[pl.DataType]],
        key: Sequence[str],
        parts: int,
    ) -> Spool:
        """A spool in which rows of one key are in one part, the same in all spools alike."""
        return cls(folder, schema, pl.struct(*key).hash(seed=0) % parts, parts)

    @property
    def parts(self) -> int:
        """How many parts there are."""
        return len(self._files)

    def add(self, frame: pl.DataFrame) -> None:
        """Add rows, each to its part, behind those that are there."""
        if frame.is_empty():
            return
        self.rows += frame.height
        self._waiting.append(frame.select(self.schema.names()))
        self._waiting_rows += frame.height
        self._waiting_bytes += self._waiting[-1].estimated_size()
        if self._waiting_rows >= _SPILL_ROWS or self._waiting_bytes >= _SPILL_BYTES:
            self._spill()

    def _spill(self) -> None:
        with self._spilling:  # parts are read by several threads
            if not self._waiting:
                return
            frame = pl.concat(self._waiting).with_columns(self._part)
            self._waiting, self._waiting_rows, self._waiting_bytes = [], 0, 0.0
            pieces = frame.partition_by(_PART, as_dict=True, include_key=False, maintain_order=True)
            for (part,), piece in pieces.items():
                self._files[part].append(self._write(piece))

    def _write(self, frame: pl.DataFrame) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._folder / f"{self._written}.arrow"
        self._written += 1
        frame.write_ipc(path)
        return path

    def part(self, number: int) -> pl.DataFrame:
        """The rows of a part, in the order in which they were added."""
        self._spill()
        files = self._files[number]
        if not files:
            return pl.DataFrame(schema=self.schema)
        return pl.concat([pl.read_ipc(path) for path in files])

    def replace(self, number: int, frame: pl.DataFrame) -> None:
        """Put other rows of the same keys in place of a part."""
        self._spill()
        for path in self._files[number]:
            self.rows -= pl.scan_ipc(path).select(pl.len()).collect().item()
            path.unlink()
        self._files[number] = [self._write(frame)]
        self.rows += frame.height

    def scan(self, *parts: int) -> pl.LazyFrame:
        """The rows of some parts, of all when none is named, for a query that streams."""
        self._spill()
        wanted = [path for part in (parts or range(self.parts)) for path in self._files[part]]
        if not wanted:
            return pl.LazyFrame(schema=self.schema)
        return pl.scan_ipc(wanted)


def parts_for(rows: int) -> int:
    """Into how many parts so many rows go."""
    return max(1, -(-rows // PART_ROWS))


def each_part(parts: int, work: Callable[[int], Worked]) -> Iterator[Worked]:
    """What comes of the work on each part, in their order.

    The next part is worked on while the caller is busy with this one; no more than that are in
    memory.

    Args:
        parts: How many there are.
        work: Called with the number of each, in a thread: it may read spools, and change none.
    """
    with ThreadPoolExecutor(_AT_WORK) as workers:
        under_way: deque[Future[Worked]] = deque()
        for number in range(parts):
            under_way.append(workers.submit(work, number))
            if len(under_way) == _AT_WORK:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
