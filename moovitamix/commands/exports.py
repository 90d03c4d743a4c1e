"""The commands `exports list`, `exports verify` and `exports remove`."""

from __future__ import annotations

import sys
from datetime import UTC
from pathlib import Path

import click
from rich import box
from rich.markup import escape
from rich.table import Column, Table

from moovitamix.commands.terms import console

_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.group()
def exports() -> None:
    """The folders that tables were exported to: they hold personal data."""


@exports.command("list")
def list_exports() -> None:
    """All exports that are registered, the oldest first, and whether they are still there."""
    from moovitamix.resources import Warehouse
    from moovitamix.warehouse.export_folder import read_manifest
    from moovitamix.warehouse.exports import registered

    with Warehouse().connect() as connection:
        found = registered(connection)
    if not found:
        console.print("There is no export: `moovitamix run --into-csv` makes one.")
        return
    folders = Column("folder", overflow="fold")
    table = Table("made (UTC)", "format", folders, "", box=box.SIMPLE_HEAD)
    for one in found:
        if not one.is_here:
            state = "[yellow]not on this machine[/]"
        elif read_manifest(one.folder) is None:
            state = "[yellow]unfinished[/]"
        else:
            state = ""
        made = f"{one.made_at.astimezone(UTC):%Y-%m-%d %H:%M}"
        table.add_row(made, one.format, escape(str(one.folder)), state)
    console.print(table)


@exports.command()
@click.argument("folder", type=_FOLDER, metavar="DIR")
def verify(folder: Path) -> None:
    """Read all files of the export in DIR, and compare them with its manifest.

    Needs no database, and changes nothing. Exits with 1 when the export is not whole.
    """
    from moovitamix.warehouse.export_folder import read_manifest, verify_export

    faults = verify_export(folder)
    for fault in faults:
        console.print(f"[red]✗[/] {escape(fault)}")
    if faults:
        sys.exit(1)
    manifest = read_manifest(folder)
    if manifest is not None:
        console.print(
            f"[green]✓[/] {len(manifest.files)} files, {sum(manifest.rows.values()):,} rows, "
            f"of {manifest.snapshot:%Y-%m-%d %H:%M} UTC; newest day {manifest.newest_day}."
        )


@exports.command()
@click.argument("folder", type=_FOLDER, metavar="DIR")
def remove(folder: Path) -> None:
    """Remove the export in DIR and its registration; other files in DIR stay."""
    from moovitamix.resources import Warehouse
    from moovitamix.warehouse.exports import remove_export

    path = folder.expanduser().resolve()
    with Warehouse().connect() as connection:
        remove_export(connection, path)
    console.print(f"Removed the export in [bold]{escape(str(path))}[/].")
