"""The six tables as CSV files, from one snapshot of the database."""

from __future__ import annotations

from pathlib import Path

import psycopg
from psycopg import sql

from moovitamix.warehouse.tables import PUBLISHED

# Ours, not the source's: how we keep content in order is nobody's business outside.
_INTERNAL = frozenset({"pull"})


def export_csv(connection: psycopg.Connection, folder: Path) -> dict[str, int]:
    """Write a CSV file with a header for each of the six tables.

    All files show the same moment, and each replaces its predecessor as a whole.

    Args:
        connection: A fresh transaction of the warehouse.
        folder: Where to; made when it is missing.

    Returns:
        Rows by table.
    """
    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    folder.mkdir(parents=True, exist_ok=True)
    rows = {}
    finished: list[tuple[Path, Path]] = []
    for table in PUBLISHED:
        columns = [column.name for column in table.columns if column.name not in _INTERNAL]
        statement = sql.SQL("COPY (SELECT {} FROM {} ORDER BY {}) TO STDOUT (FORMAT csv, HEADER)")
        composed = statement.format(
            sql.SQL(", ").join(map(sql.Identifier, columns)),
            sql.Identifier(table.name),
            sql.SQL(", ").join(sql.Identifier(c.name) for c in table.primary_key),
        )
        unfinished = folder / f".{table.name}.csv.unfinished"
        cursor = connection.cursor()
        with unfinished.open("wb") as file, cursor.copy(composed) as copy:
            for block in copy:
                file.write(block)
        rows[table.name] = cursor.rowcount
        finished.append((unfinished, folder / f"{table.name}.csv"))
    for unfinished, final in finished:
        unfinished.replace(final)
    return rows
