"""Rows of 64-bit columns come out of Postgres as they are, in blocks, and nothing else does."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest

from moovitamix.errors import StoreUnavailable
from moovitamix.resources import Warehouse
from moovitamix.warehouse.integer_rows import POSTGRES_EPOCH, stream_integers

ROWS = "SELECT n, -n * 4000000000 FROM generate_series(1, %(last)s::bigint) AS n ORDER BY n"


@pytest.mark.parametrize(("last", "block_rows"), [(10, 3), (9, 3), (1, 1), (5, 100), (0, 3)])
def test_all_rows_come_in_order_in_blocks_of_the_size_asked_for(
    warehouse: Warehouse, last: int, block_rows: int
) -> None:
    with warehouse.connect() as connection:
        blocks = list(
            stream_integers(
                connection, ROWS, {"last": last}, columns=["n", "far"], block_rows=block_rows
            )
        )
    assert [len(block["n"]) for block in blocks[:-1]] == [block_rows] * (len(blocks) - 1)
    numbers = [n for block in blocks for n in block["n"].tolist()]
    assert numbers == list(range(1, last + 1))
    assert [n for block in blocks for n in block["far"].tolist()] == [
        -n * 4_000_000_000 for n in numbers
    ]


def test_a_timestamp_is_microseconds_since_2000(warehouse: Warehouse) -> None:
    moment = datetime(1999, 12, 31, 23, 59, 59, 999_999)  # noqa: DTZ001 - as the tables have it
    query = "SELECT %(moment)s::timestamp"
    with warehouse.connect() as connection:
        (block,) = stream_integers(
            connection, query, {"moment": moment}, columns=["at"], block_rows=9
        )
    assert block["at"].tolist() == [-1]
    since = timedelta(microseconds=int(block["at"][0]) + POSTGRES_EPOCH)
    assert datetime(1970, 1, 1) + since == moment  # noqa: DTZ001 - as above


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1::bigint, 2::integer",
        "SELECT 1::bigint, NULL::bigint",
        "SELECT 1::bigint, 2::bigint, 3::bigint",
        "SELECT 1::bigint, 'abcdefg'",
    ],
)
def test_rows_of_other_columns_are_an_error_and_never_numbers(
    warehouse: Warehouse, query: str
) -> None:
    with warehouse.connect() as connection, pytest.raises(StoreUnavailable, match="64 bits"):
        list(stream_integers(connection, query, columns=["one", "two"], block_rows=9))


def test_a_reader_that_stops_half_way_leaves_the_connection_in_order(warehouse: Warehouse) -> None:
    with warehouse.connect() as connection:
        blocks = stream_integers(
            connection, ROWS, {"last": 100_000}, columns=["n", "far"], block_rows=10
        )
        np.testing.assert_array_equal(next(blocks)["n"], np.arange(1, 11))
        blocks.close()  # type: ignore[attr-defined]
        connection.rollback()
        assert connection.execute("SELECT 1").fetchone() == (1,)
