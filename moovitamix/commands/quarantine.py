"""The commands `quarantine list` and `quarantine retry`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from typing import TYPE_CHECKING

import click
from rich import box
from rich.markup import escape
from rich.table import Table

from moovitamix.commands.terms import console

if TYPE_CHECKING:
    from moovitamix.warehouse.quarantine import Group

_ENDPOINTS = ("tracks", "users", "listen_history", "listens")


@click.group()
def quarantine() -> None:
    """What could not be loaded, and why; it waits until it can be."""


@quarantine.command("list")
@click.option(
    "--endpoint",
    type=click.Choice(_ENDPOINTS),
    help="Only of this one; `listens` are those of unknown users or tracks.",
)
@click.option("--limit", type=click.IntRange(0), default=10, show_default=True, help="Newest rows.")
@click.option("--payload", is_flag=True, help="Show the records too: they may hold personal data.")
def list_waiting(endpoint: str | None, limit: int, payload: bool) -> None:
    """Count what waits by endpoint, field and reason, then show the newest rows."""
    from moovitamix.resources import Warehouse
    from moovitamix.warehouse.quarantine import newest_waiting, waiting_groups

    with Warehouse().connect() as connection:
        groups = waiting_groups(connection, endpoint)
        newest = newest_waiting(connection, endpoint, limit=limit)
    if not groups:
        console.print("Nothing waits in quarantine.")
        return
    _print_groups(groups)
    if not newest:
        return
    table = Table("endpoint", "day", "first seen (UTC)", "field", "reason", box=box.SIMPLE_HEAD)
    if payload:
        table.add_column("record", overflow="fold")
    for row in newest:
        table.add_row(
            row.endpoint,
            str(row.day),
            f"{row.first_seen.astimezone(UTC):%Y-%m-%d %H:%M}",
            row.field or "",
            escape(row.reason),
            *([escape(bytes(row.payload).decode(errors="replace"))] if payload else []),
        )
    console.print(table)


@quarantine.command()
def retry() -> None:
    """Load now what can be, and say what still waits.

    Listens whose user or track has arrived are loaded; records that broke the contract are read
    again by today's. Each later load does the first by itself. Safe while loads are under way.
    """
    from moovitamix.resources import Lake, Warehouse
    from moovitamix.settings import get_settings
    from moovitamix.warehouse import quarantine as waiting

    settings = get_settings()
    with Warehouse().connect() as connection:
        retried = waiting.retry(
            connection,
            Lake().open(),
            present=settings.present().astimezone(UTC).replace(tzinfo=None),
            first_day=settings.first_day,
        )
    resolved = ", ".join(f"{count:,} {name}" for name, count in retried.resolved.items())
    console.print(f"Resolved: {resolved or 'nothing'}.")
    new = ", ".join(f"{count:,} {name}" for name, count in retried.inserted.items() if count)
    if new:
        console.print(f"New rows: {new}. The next generation of lists knows them.")
    if retried.waiting:
        console.print("Still waiting:")
        _print_groups(retried.waiting)
        console.print("docs/runbook.md tells what to do when it grows.")


def _print_groups(groups: Sequence[Group]) -> None:
    table = Table("endpoint", "field", "reason", box=box.SIMPLE_HEAD)
    table.add_column("waiting", justify="right")
    for group in groups:
        table.add_row(group.endpoint, group.field or "", escape(group.reason), f"{group.count:,}")
    console.print(table)
