"""The commands `users erase` and `users log-name`."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import click
from rich.markup import escape

from moovitamix.commands.terms import DAY, ID, console

if TYPE_CHECKING:
    from moovitamix.erasure import Erasure


@click.group()
def users() -> None:
    """People who use the app, and their right to be forgotten."""


@users.command()
@click.argument("ids", type=ID, nargs=-1, required=True, metavar="ID...")
@click.option("--yes", is_flag=True, help="Do not ask.")
def erase(ids: tuple[int, ...], yes: bool) -> None:
    """Erase users: from tables, raw files, features, matrices, models, cache and exports.

    Everything stored under these ids goes, and no pull brings these persons back; somebody else
    who is given the id later is let in. Have the source erase them too. A run that is under way is
    waited for. Stopped at any moment, it can be repeated; once more, it does nothing.
    """
    from moovitamix.erasure import erase_users, holdings
    from moovitamix.resources import Cache, Lake, Warehouse
    from moovitamix.settings import get_settings

    warehouse, lake = Warehouse(), Lake().open()
    found = holdings(warehouse, lake, ids)
    console.print(f"There is: {_listed(found)}." if found else "There is nothing of them.")
    if found and not yes:
        console.print("This cannot be undone.")
        click.confirm(f"Erase {len(set(ids))} users?", abort=True)
    erased = erase_users(
        warehouse,
        lake,
        Cache(),
        ids,
        spool=get_settings().spool,
        on_wait=lambda: console.print("Users' data is being worked on: waiting until it is done."),
        tell=lambda done: console.print(f"  [green]✓[/] {done}"),
    )
    _print_what_is_left(erased)


@users.command("log-name")
@click.argument("user", type=ID, metavar="ID")
@click.option("--date", "day", type=DAY, metavar="D", help="The UTC day of the lines [today].")
def log_name(user: int, day: date | None) -> None:
    """What a user is called in the API's log on a day, to find their requests.

    It is made with the key of this home, or MOOVITAMIX_LOG_KEY: those of the API that wrote it.
    """
    from moovitamix.observe.logs.pseudonyms import Pseudonyms, log_key
    from moovitamix.settings import get_settings

    of_day = day or datetime.now(UTC).date()
    click.echo(Pseudonyms(log_key(get_settings())).of(user, of_day))


def _print_what_is_left(erased: Erasure) -> None:
    if not erased:
        console.print(
            "Nothing was left to erase. If the source has accounts of these ids by now, no pull "
            "brings them in."
        )
        return
    console.print(
        "Erased. The source still has them: have it erase them too. Track factors of trained "
        "models were shaped by their listens too, until the next training: docs/erasure.md."
    )

    for folder in erased.elsewhere:
        console.print(
            f"[yellow]The export in {escape(str(folder))} is not on this machine: it may hold "
            "them.[/] `moovitamix exports remove` there removes it."
        )


def _listed(found: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {place}" for place, count in found.items())
