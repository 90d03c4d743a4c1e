"""The six tables as files, from one snapshot of the database."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC
from pathlib import Path

import psycopg

from moovitamix.warehouse import export_files
from moovitamix.warehouse.export_folder import (
    FORMATS,
    ExportedFile,
    ExportFolder,
    Manifest,
    opened,
)
from moovitamix.warehouse.tables import PUBLISHED

# The first query of the transaction: from here on it sees one moment.
_SNAPSHOT = "SELECT statement_timestamp(), max(day), max(pull) FROM published_days"


def export_tables(
    connection: psycopg.Connection,
    folders: Mapping[Path, Sequence[str]],
    *,
    on_wait: Callable[[Path], None] = lambda _: None,
) -> dict[Path, Manifest]:
    """Write a file for each of the six tables, in each format asked for.

    All files of all folders show the same moment. Each folder is replaced as a whole: see
    `export_folder.py`.

    Args:
        connection: A fresh transaction of the warehouse.
        folders: The formats by folder; folders that are missing are made.
        on_wait: Called with a folder that another export is holding.

    Returns:
        What each folder holds now.

    Raises:
        SettingsError: When a folder holds somebody else's `manifest.json`.
        StoreUnavailable: When a folder cannot be written to.
    """
    with ExitStack() as stack:
        # In one order, so that two exports into the same folders do not wait for each other.
        held = {
            path: stack.enter_context(
                opened(path, make=True, on_wait=lambda path=path: on_wait(path))  # type: ignore[misc]
            )
            for path in sorted(folders)
        }
        for folder in held.values():
            _ = folder.manifest  # somebody else's is found before there is work done
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        (snapshot, day, pull), *_ = connection.execute(_SNAPSHOT).fetchall()
        manifests = {}
        for path, folder in held.items():
            formats = [form for form in FORMATS if form in folders[path]]
            files = [file for form in formats for file in _written(connection, folder, form)]
            moment = snapshot.astimezone(UTC)
            manifests[path] = Manifest("+".join(formats), moment, day, pull, files)
        for path, folder in held.items():
            folder.replace(manifests[path])
    return manifests


def _written(
    connection: psycopg.Connection, folder: ExportFolder, form: str
) -> Iterator[ExportedFile]:
    for table in PUBLISHED:
        name = f"{table.name}.{form}"
        file = folder.unfinished(name)
        if form == "csv":
            rows = export_files.write_csv(connection, table, file)
        else:
            rows = export_files.write_parquet(connection, table, file, folder.spool(name))
        columns = export_files.file_columns(table, form)
        yield folder.finished(name, str(table.name), rows, columns)
