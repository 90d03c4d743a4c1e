"""The command `drift`: what was read of a day."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, date

import click
from rich import box
from rich.markup import escape
from rich.table import Table

from moovitamix.commands.terms import DAY, console

_STYLES = {"steady": "green", "warning": "yellow", "drifted": "red", "cannot tell": "dim"}


@click.command()
@click.option("--date", "day", type=DAY, metavar="D", help="The day [the newest that was read].")
@click.option("--json", "as_json", is_flag=True, help="For programs: one JSON object.")
def drift(day: date | None, as_json: bool) -> None:
    """Whether the last days look like what the champion was trained on, feature by feature.

    Shows what the job `observe_day` has read; docs/drift.md tells what each figure means.
    """
    from moovitamix.errors import NothingToDo
    from moovitamix.observe.drift import worst
    from moovitamix.observe.drift_store import read_readings
    from moovitamix.resources import Warehouse

    with Warehouse().connect() as connection:
        found = read_readings(connection, day)
    if found is None:
        raise NothingToDo(
            f"{day or 'No day'} has {'not ' if day else ''}been read for drift yet: launch the job "
            "`observe_day` for it in `moovitamix dev`."
        )
    if as_json:
        told = {**asdict(found), "verdict": worst(found.readings)}
        click.echo(json.dumps(told, default=str))
        return
    table = Table("feature", box=box.SIMPLE_HEAD)
    for name in ("value", "usual", "warning from", "alarm from"):
        table.add_column(name, justify="right")
    table.add_column("verdict")
    for one in found.readings:
        bound = one.bound
        limits = (None,) * 3 if bound is None else (bound.usual, bound.warning, bound.alarm)
        numbers = ["" if number is None else f"{number:.4f}" for number in (one.value, *limits)]
        verdict = f"[{_STYLES[one.verdict]}]{one.verdict}[/]"
        table.add_row(one.feature, *numbers, verdict)
    against = (
        f"against version {found.model_version}, trained on data up to {found.as_of}"
        if found.model_version is not None
        else "without a champion"
    )
    console.print(
        f"{found.day}, {against}; read {found.read_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    )
    console.print(table)
    reasons: dict[str, list[str]] = {}
    for one in found.readings:
        if one.reason:
            reasons.setdefault(one.reason, []).append(one.feature)
    for reason, features in reasons.items():
        console.print(f"Cannot tell {', '.join(features)}: {escape(reason)}.")
