"""The commands `days blocked` and `days accept`."""

from __future__ import annotations

from datetime import UTC, date

import click
from rich import box
from rich.markup import escape
from rich.table import Table

from moovitamix.commands.terms import DAY, console, system_user


@click.group()
def days() -> None:
    """The days that a check holds back."""


@days.command()
def blocked() -> None:
    """Which days are blocked, by which rule, what it means, and what to do."""
    from moovitamix.resources import Warehouse
    from moovitamix.warehouse.acceptance import broken_rules

    with Warehouse().connect() as connection:
        found = broken_rules(connection)
    if not found:
        console.print("No day is blocked.")
        return
    table = Table("day", "table", "rule", "since (UTC)", "what it means", box=box.SIMPLE_HEAD)
    for one in found:
        why = escape(one.why)
        if one.accepted_by is not None:
            why += f" [green]Accepted by {escape(one.accepted_by)}.[/]"
        since = f"{one.since.astimezone(UTC):%Y-%m-%d %H:%M}"
        table.add_row(str(one.day), one.table, one.rule, since, why)
    console.print(table)
    if any(one.accepted_by is None for one in found):
        console.print(
            "Have it mended at the source: `moovitamix run` pulls again and judges anew. "
            "Or take a day as it is: `moovitamix days accept DAY`."
        )
    if any(one.accepted_by is not None for one in found):
        console.print("A day of which all is accepted is published by `moovitamix run`.")


@days.command()
@click.argument("day", type=DAY)
@click.option("--by", metavar="NAME", help="Who answers for it [the system's user].")
def accept(day: date, by: str | None) -> None:
    """Take a blocked day as it is: the next run publishes it although it breaks a rule.

    Accepted are the rules that DAY breaks now, on the rows that were judged. When a newer pull
    brings other rows, or they break another rule, the day is blocked again.
    """
    from moovitamix.resources import Warehouse
    from moovitamix.warehouse import acceptance

    name = by or system_user()
    with Warehouse().connect() as connection:
        accepted = acceptance.accept(connection, day, name)
    for table, rule in accepted:
        console.print(f"Accepted for {day}: [bold]{table}.{rule}[/], by {escape(name)}.")
    console.print(f"Publish it now: [bold]moovitamix run --date {day}[/]")
