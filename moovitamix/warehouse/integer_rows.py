"""Rows of 64-bit columns out of Postgres in blocks of numbers: no text to write and to parse.

For frames of other columns, and for few rows, there is `Warehouse.read`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from moovitamix.errors import StoreUnavailable
from moovitamix.resources import copy_to_here

if TYPE_CHECKING:
    import psycopg

# Of binary COPY (PostgreSQL's manual, COPY, "Binary Format"): a signature of 11 bytes, flags, and
# the length of an extension that no server sends; at the end a row of -1 columns.
_HEADER = 19
_TRAILER = b"\xff\xff"

_CELL = (("length of", ">i4"), ("value of", ">i8"))

# A timestamp's microseconds count from 2000: add this to have them from 1970.
POSTGRES_EPOCH = 946_684_800_000_000


def stream_integers(
    connection: psycopg.Connection,
    query: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    columns: Sequence[str],
    block_rows: int,
) -> Iterator[dict[str, NDArray[np.int64]]]:
    """The rows of a query in its order, in blocks of about so many; little else is in memory.

    Args:
        connection: The transaction.
        query: A SELECT with `%(name)s` placeholders, without a closing semicolon, of columns of
            the types bigint and timestamp (microseconds since 2000), none of them null.
        parameters: The values of the placeholders.
        columns: Their names in the blocks.
        block_rows: Rows a block; the last one has what is left.

    Yields:
        By column, int64. None is empty.

    Raises:
        StoreUnavailable: When a row is not of such columns.
    """
    row = np.dtype(
        [
            ("columns", ">i2"),
            *((f"{kind} {name}", form) for name in columns for kind, form in _CELL),
        ]
    )
    held = bytearray()
    offset = _HEADER
    with copy_to_here(connection, query, parameters, form="binary") as copy:
        for data in copy:  # each is a row, or some
            held += data
            whole = (len(held) - offset) // row.itemsize
            if whole >= block_rows:
                yield _parsed(np.frombuffer(held, row, whole, offset), columns)
                held, offset = held[offset + whole * row.itemsize :], 0
    whole, rest = divmod(len(held) - offset, row.itemsize)
    if rest != len(_TRAILER) or held[-rest:] != _TRAILER:
        raise _unlike(columns)
    if whole:
        yield _parsed(np.frombuffer(held, row, whole, offset), columns)


def _parsed(rows: NDArray[Any], columns: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    lengths = (rows[f"length of {name}"] for name in columns)
    if (rows["columns"] != len(columns)).any() or any((found != 8).any() for found in lengths):
        raise _unlike(columns)
    return {name: rows[f"value of {name}"].astype(np.int64) for name in columns}


def _unlike(columns: Sequence[str]) -> StoreUnavailable:
    return StoreUnavailable(
        f"Postgres did not send rows of {', '.join(columns)} in 64 bits each: "
        "migrate the tables with `moovitamix run`, which makes these columns so."
    )
