"""The register of exports: where personal data has gone, and for how long it may stay there.

A folder is registered before the first file is written, so that none is ever missing here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import polars as pl
import psycopg

from moovitamix.errors import NothingToDo, SettingsError
from moovitamix.ingest.named import NAMED_SCHEMA, Named, named_by_id
from moovitamix.warehouse.export import export_tables
from moovitamix.warehouse.export_files import leave_out
from moovitamix.warehouse.export_folder import Manifest, opened, read_manifest

if TYPE_CHECKING:
    from moovitamix.resources import Warehouse

# Which column of which table says whose row it is.
_USER_COLUMNS = {
    "users": "id",
    "user_favorite_genres": "user_id",
    "listen_history": "user_id",
}

_PROMISE = """
INSERT INTO exports (folder, format) VALUES (%s, %s) ON CONFLICT (folder) DO NOTHING
"""
_MADE = "UPDATE exports SET format = %s, made_at = %s WHERE folder = %s"
_REGISTERED = "SELECT folder, format, made_at FROM exports ORDER BY made_at, folder"
_EXPIRED = "SELECT folder, format, made_at FROM exports WHERE made_at < now() - %s ORDER BY folder"


@dataclass(frozen=True)
class Registered:
    """A row of the register."""

    folder: Path
    format: str
    made_at: datetime

    @property
    def is_here(self) -> bool:
        """Whether this machine has the folder. It may be gone, or on another one."""
        return self.folder.is_dir()


@dataclass(frozen=True)
class Passed:
    """What became of registered folders: those that were dealt with, and those not found here."""

    folders: list[Path]
    not_here: list[Path]
    rows: int = 0


def export(
    warehouse: Warehouse,
    wanted: Mapping[str, Path],
    *,
    on_wait: Callable[[Path], None] = lambda _: None,
) -> dict[Path, Manifest]:
    """Export the six tables, and register where to. See `export_tables`.

    Args:
        warehouse: Its tables.
        wanted: The folder by format; it may be the same.
        on_wait: Called with a folder that another export is holding.
    """
    folders: dict[Path, list[str]] = {}
    for form, path in wanted.items():
        folders.setdefault(path.expanduser().resolve(), []).append(form)
    for path in folders:
        with opened(path, make=True):
            pass  # one that cannot be written to is not registered
    with warehouse.connect() as connection:
        for path, formats in folders.items():
            connection.execute(_PROMISE, (str(path), "+".join(formats)))
    with warehouse.hold_erasures(), warehouse.connect() as connection:
        connection.commit()
        manifests = export_tables(connection, folders, on_wait=on_wait)
    with warehouse.connect() as connection:
        for path, manifest in manifests.items():
            connection.execute(_MADE, (manifest.format, manifest.snapshot, str(path)))
    return manifests


def registered(connection: psycopg.Connection) -> list[Registered]:
    """All exports, the oldest first."""
    rows = connection.execute(_REGISTERED).fetchall()
    return [Registered(Path(folder), form, made) for folder, form, made in rows]


def remove_export(connection: psycopg.Connection, folder: Path) -> None:
    """Remove an export's files, its folder if nothing else is in it, and its registration.

    Raises:
        NothingToDo: When the folder is not registered.
    """
    where = (str(folder),)
    if connection.execute("SELECT FROM exports WHERE folder = %s", where).fetchone() is None:
        raise NothingToDo(f"No export to {folder} is known; `moovitamix exports list` shows all.")
    if folder.is_dir():
        with opened(folder) as held:
            held.remove()
    connection.execute("DELETE FROM exports WHERE folder = %s", where)


def remove_expired(connection: psycopg.Connection, keep: timedelta) -> Passed:
    """Remove the exports that are older than they may be.

    A folder that is not here stays registered: it may be on another machine.

    Args:
        connection: A transaction of the warehouse.
        keep: For how long they may stay.
    """
    rows = connection.execute(_EXPIRED, (keep,)).fetchall()
    expired = [Registered(Path(folder), form, made) for folder, form, made in rows]
    here = [one.folder for one in expired if one.is_here]
    for folder in here:
        remove_export(connection, folder)
    return Passed(here, [one.folder for one in expired if not one.is_here])


def forget_everywhere(connection: psycopg.Connection, ids: Collection[int]) -> Passed:
    """Remove users from all registered exports of this machine. See `forget_users`.

    Only after the tables have forgotten them for good: an export that begins now reads the tables.
    """
    found = registered(connection)
    here = [one.folder for one in found if one.is_here]
    rows = sum(forget_users(folder, ids) for folder in here)
    return Passed(here, [one.folder for one in found if not one.is_here], rows)


def forget_users(folder: Path, ids: Collection[int]) -> int:
    """Remove users from the files of an export, which is replaced as a whole; how many rows.

    May be repeated: files without a row of theirs stay as they are. Nothing is done, and 0 is the
    answer, where this machine has no such folder (`Registered.is_here`), or it holds no export.

    Args:
        folder: Of an export.
        ids: Of the users.

    Raises:
        SettingsError: When the folder's `manifest.json` is not of an export.
        StoreUnavailable: When the folder cannot be written to.
    """
    if not ids or not folder.is_dir():
        return 0
    with opened(folder) as held:
        manifest = held.manifest
        if manifest is None:
            return 0
        left_out = {file.name: 0 for file in manifest.files}
        files = []
        for file in manifest.files:
            if file.table in _USER_COLUMNS:
                into = held.unfinished(file.name)
                column = _USER_COLUMNS[file.table]
                left_out[file.name] = leave_out(folder / file.name, column, ids, into)
                if not left_out[file.name]:
                    into.unlink()
            if left_out[file.name]:
                rows = file.rows - left_out[file.name]
                files.append(held.finished(file.name, file.table, rows, file.columns))
            else:
                files.append(file)
        if any(left_out.values()):
            held.replace(msgspec.structs.replace(manifest, files=files))
    return sum(left_out.values())


def named_in_exports(connection: psycopg.Connection) -> Iterator[Named]:
    """Everybody whom the exports of this machine name, a file at a time."""
    for one in registered(connection):
        try:
            manifest = read_manifest(one.folder)
        except SettingsError:
            continue  # somebody else's by now
        for file in manifest.files if manifest else []:
            if file.table in _USER_COLUMNS and (one.folder / file.name).exists():
                yield _named_in_file(one.folder / file.name, file.table)


def _named_in_file(path: Path, table: str) -> Named:
    place, column = f"exports/{table}", _USER_COLUMNS[table]
    if path.suffix == ".csv":
        rows = pl.scan_csv(path, schema_overrides={column: pl.Int64}, infer_schema=False)
    else:
        rows = pl.scan_parquet(path)
    if table != "users":
        return named_by_id(place, rows.select(pl.col(column).unique()).collect().to_series())
    found = rows.select(pl.col(column).alias("id"), pl.col("created_at").alias("at")).collect()
    if found["at"].dtype == pl.String:
        found = found.with_columns(pl.col("at").str.to_datetime(time_unit="us"))
    return Named(place, "account", found.cast(NAMED_SCHEMA))
