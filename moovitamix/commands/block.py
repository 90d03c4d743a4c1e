"""The commands `block track`, `block artist`, `block list` and `block remove`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date
from typing import Any

import click
from rich import box
from rich.markup import escape
from rich.table import Table

from moovitamix.commands.terms import DAY, ID, console
from moovitamix.errors import NothingToDo

_NEXT = "Lists are without it from the next generation on: [bold]moovitamix run[/]"


def _entry_options(command: Callable[..., Any]) -> Callable[..., Any]:
    command = click.option("--reason", help="For those who read the list.")(command)
    return click.option(
        "--until", type=DAY, metavar="DAY", help="The last day on which it counts [no end]."
    )(command)


@click.group()
def block() -> None:
    """Tracks and artists that no list may hold: not one's own, not similar, not popular ones."""


@block.command("track")
@click.argument("track", metavar="ID", type=ID)
@_entry_options
def block_track(track: int, reason: str | None, until: date | None) -> None:
    """Leave the track with this id out of every list, from the next generation on."""
    _block(f"Track {track}", track=track, reason=reason, until=until)


@block.command("artist")
@click.argument("artist", metavar="NAME")
@_entry_options
def block_artist(artist: str, reason: str | None, until: date | None) -> None:
    """Leave out all tracks of an artist; case and white space do not count."""
    if not artist.strip():
        raise click.UsageError("An artist without a name cannot be blocked: block the tracks.")
    _block(artist, artist=artist, reason=reason, until=until)


def _block(what: str, *, until: date | None, **entry: Any) -> None:
    from moovitamix.resources import Warehouse
    from moovitamix.warehouse import blocklist

    if until is not None and until < _today():
        raise NothingToDo(
            f"{until} is over: an entry until then would not count. Give a later day."
        )
    with Warehouse().connect() as connection:
        named = blocklist.block(connection, until=until, **entry)
    end = f"until {until} " if until else ""
    console.print(f"Blocked {end}— [bold]{escape(what)}[/]: {named:,} tracks of the warehouse.")
    if not named:
        console.print("[yellow]None yet: it counts for what comes. Is it spelt right?[/]")
    console.print(_NEXT)


@block.command("list")
def list_entries() -> None:
    """What is blocked, since when, until when, and why."""
    from moovitamix.resources import Warehouse
    from moovitamix.warehouse import blocklist

    with Warehouse().connect() as connection:
        found = blocklist.entries(connection)
    if not found:
        console.print("Nothing is blocked.")
        return
    table = Table("what", "tracks", "since (UTC)", "until", "reason", box=box.SIMPLE_HEAD)
    for one in found:
        until = str(one.until or "")
        if one.until is not None and one.until < _today():
            until += " (over)"
        table.add_row(
            f"track {one.track}" if one.artist is None else escape(f"artist {one.artist}"),
            f"{one.tracks:,}",
            f"{one.since.astimezone(UTC):%Y-%m-%d %H:%M}",
            until,
            escape(one.reason or ""),
        )
    console.print(table)


@block.group()
def remove() -> None:
    """Let a track or an artist be recommended again."""


@remove.command("track")
@click.argument("track", metavar="ID", type=ID)
def remove_track(track: int) -> None:
    """Remove the entry of a track: lists may hold it again."""
    _unblock(f"Track {track}", track=track)


@remove.command("artist")
@click.argument("artist", metavar="NAME")
def remove_artist(artist: str) -> None:
    """Remove the entry of an artist: lists may hold its tracks again."""
    _unblock(artist, artist=artist)


def _unblock(what: str, **entry: Any) -> None:
    from moovitamix.resources import Warehouse
    from moovitamix.warehouse import blocklist

    with Warehouse().connect() as connection:
        blocklist.unblock(connection, **entry)
    console.print(
        f"[bold]{escape(what)}[/] is not blocked any more. "
        "It is back from the next generation on: [bold]moovitamix run[/]"
    )


def _today() -> date:
    from moovitamix.settings import get_settings

    return get_settings().present().astimezone(UTC).date()
