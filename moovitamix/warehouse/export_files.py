"""A table as a file, CSV or Parquet, in the same memory for any number of rows.

Which files, and in what order they become an export, is told by `export.py`.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import polars as pl
import psycopg
from psycopg import sql
from sqlalchemy import Column, Interval, Table
from sqlalchemy.dialects import registry

# Ours, not the source's: how we keep content in order is nobody's business outside.
_INTERNAL = frozenset({"pull"})

# The reader's types by SQL type. A zone-less moment is one in Parquet too.
_TYPES: dict[str, pl.DataType | type[pl.DataType]] = {
    "bigint": pl.Int64,
    "integer": pl.Int32,
    "smallint": pl.Int16,
    "text": pl.String,
    "timestamp without time zone": pl.Datetime("us"),
}

_POSTGRES = registry.load("postgresql")()
_SECONDS = sql.SQL("extract(epoch FROM {})::integer AS {}")
_AS_IT_IS = sql.SQL("{} AS {}")

# A reader that wants some rows of a file reads so many at least.
_ROW_GROUP = 100_000

# Bytes of CSV that are read, sorted out or written at a time.
_BLOCK = 1 << 20


def file_columns(table: Table, form: str) -> dict[str, str]:
    """The SQL type of each column of a table's file, in its order.

    Parquet has no interval that all readers know: there, playing times are whole seconds.
    """
    return {
        _name(column, form): "integer" if _in_seconds(column, form) else _sql_type(column)
        for column in _columns(table)
    }


def write_csv(connection: psycopg.Connection, table: Table, file: Path) -> int:
    """Write a table as CSV with a header, in the order of its primary key; its rows.

    A null is nothing, an empty text is `""`.
    """
    return _copy(connection, table, "csv", file)


def write_parquet(connection: psycopg.Connection, table: Table, file: Path, spool: Path) -> int:
    """Write a table as Parquet, in the order of its primary key; its rows.

    Args:
        connection: A transaction of the warehouse.
        table: Which one.
        file: Where to.
        spool: For the rows on their way, as CSV; removed when they are there.
    """
    rows = _copy(connection, table, "parquet", spool)
    schema = {name: _TYPES[kind] for name, kind in file_columns(table, "parquet").items()}
    # Texts of the six tables are never null, so what is missing is empty.
    scanned = pl.scan_csv(spool, schema=schema, empty_string_is_null=False)
    _sink(scanned, file)
    spool.unlink()
    return rows


def _copy(connection: psycopg.Connection, table: Table, form: str, file: Path) -> int:
    chosen = [
        (_SECONDS if _in_seconds(column, form) else _AS_IT_IS).format(
            sql.Identifier(column.name), sql.Identifier(_name(column, form))
        )
        for column in _columns(table)
    ]
    statement = sql.SQL("COPY (SELECT {} FROM {} ORDER BY {}) TO STDOUT (FORMAT csv, HEADER)")
    composed = statement.format(
        sql.SQL(", ").join(chosen),
        sql.Identifier(table.name),
        sql.SQL(", ").join(sql.Identifier(column.name) for column in table.primary_key),
    )
    cursor = connection.cursor()
    with file.open("wb", buffering=_BLOCK) as written, cursor.copy(composed) as copy:
        for block in copy:
            written.write(block)
    return cursor.rowcount


def _sink(rows: pl.LazyFrame, file: Path) -> None:
    rows.sink_parquet(file, compression="zstd", row_group_size=_ROW_GROUP)


def _columns(table: Table) -> list[Column[object]]:
    return [column for column in table.columns if column.name not in _INTERNAL]


def _in_seconds(column: Column[object], form: str) -> bool:
    return form == "parquet" and isinstance(column.type, Interval)


def _name(column: Column[object], form: str) -> str:
    return f"{column.name}_seconds" if _in_seconds(column, form) else str(column.name)


def _sql_type(column: Column[object]) -> str:
    return column.type.compile(_POSTGRES).lower()


def leave_out(file: Path, column: str, ids: Collection[int], into: Path) -> int:
    """Copy a file without the rows that belong to some users; how many those are.

    Args:
        file: CSV or Parquet, by its name.
        column: Holds the user's id.
        ids: Of whom no row is copied.
        into: Where to.
    """
    if file.suffix == ".csv":
        return _leave_out_of_csv(file, column, ids, into)
    scanned = pl.scan_parquet(file)
    _sink(scanned.filter(~pl.col(column).is_in(list(ids))), into)
    before, after = (
        frame.select(pl.len()).collect().item() for frame in (scanned, pl.scan_parquet(into))
    )
    return int(before - after)


def _leave_out_of_csv(file: Path, column: str, ids: Collection[int], into: Path) -> int:
    """The rows that stay, byte for byte: parsing them would not tell a null from an empty text."""
    wanted = {str(number).encode() for number in ids}
    left_out = 0
    with file.open("rb", buffering=_BLOCK) as source, into.open("wb", buffering=_BLOCK) as target:
        header = source.readline()
        target.write(header)
        # What comes before a user's id are ids: no quote, no comma within.
        place = header.decode().rstrip("\n").split(",").index(column)
        row = b""
        for line in source:
            row += line
            if row.count(b'"') % 2:
                continue  # the line ended within a text
            if row.split(b",", place + 1)[place].rstrip(b"\n") in wanted:
                left_out += 1
            else:
                target.write(row)
            row = b""
    return left_out
