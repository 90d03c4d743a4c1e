"""A table as a file, CSV or Parquet, in the same memory for any number of rows.

Which files, and in what order they become an export, is told by `export.py`.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

import polars as pl
import psycopg
from psycopg import sql
from sqlalchemy import Column, Interval, Table
from sqlalchemy.dialects import registry

# Ours, not the source's: how we keep content in order is nobody's business outside.
_INTERNAL = frozenset({"pull", "told"})

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

# Bytes of CSV in a file of a spool.
_PART = 1 << 24


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
    cursor = connection.cursor()
    statement = sql.SQL("COPY ({}) TO STDOUT (FORMAT csv, HEADER)").format(_rows(table, "csv"))
    with file.open("wb", buffering=_BLOCK) as written, cursor.copy(statement) as copy:
        for block in copy:
            written.write(block)
    return cursor.rowcount


def write_parquet(connection: psycopg.Connection, table: Table, file: Path, spool: Path) -> int:
    """Write a table as Parquet, in the order of its primary key; its rows.

    Args:
        connection: A transaction of the warehouse.
        table: Which one.
        file: Where to.
        spool: A folder for the rows on their way; made, and removed when they are there.
    """
    spool.mkdir()
    cursor = connection.cursor()
    statement = sql.SQL("COPY ({}) TO STDOUT (FORMAT csv)").format(_rows(table, "parquet"))
    with cursor.copy(statement) as copy:
        parts = _cut(copy, spool)
    schema = {name: _TYPES[kind] for name, kind in file_columns(table, "parquet").items()}
    rows = (
        # Texts of the six tables are never null, so what is missing is empty.
        pl.scan_csv(parts, has_header=False, schema=schema, empty_string_is_null=False)
        if parts
        else pl.LazyFrame(schema=schema)
    )
    _sink(rows, file)
    shutil.rmtree(spool)
    return cursor.rowcount


def _rows(table: Table, form: str) -> sql.Composed:
    chosen = [
        (_SECONDS if _in_seconds(column, form) else _AS_IT_IS).format(
            sql.Identifier(column.name), sql.Identifier(_name(column, form))
        )
        for column in _columns(table)
    ]
    return sql.SQL("SELECT {} FROM {} ORDER BY {}").format(
        sql.SQL(", ").join(chosen),
        sql.Identifier(table.name),
        sql.SQL(", ").join(sql.Identifier(column.name) for column in table.primary_key),
    )


def _cut(copy: psycopg.Copy, spool: Path) -> list[Path]:
    """Write rows to files of some size, each of which ends with a row.

    A scan maps a file as a whole: of one large file, all would be in memory at its end.
    """
    parts: list[Path] = []
    blocks = map(bytes, copy)
    for block in blocks:
        parts.append(spool / f"{len(parts):06}.csv")
        with parts[-1].open("wb", buffering=_BLOCK) as part:
            size = part.write(block)
            quotes = block.count(b'"')
            # Postgres sends a row at a time, but does not promise to.
            while size < _PART or quotes % 2 or not block.endswith(b"\n"):
                if not (block := next(blocks, b"")):
                    break
                size += part.write(block)
                quotes += block.count(b'"')
    return parts


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
