"""The command `report`: where the report of a day is, and what it says in short."""

from __future__ import annotations

import logging
from datetime import date, timedelta
from typing import TYPE_CHECKING

import click
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from moovitamix.commands.terms import DAY, console
from moovitamix.errors import MoovitaMixError, NothingToDo

if TYPE_CHECKING:
    from moovitamix.ingest.lake import LakeStore
    from moovitamix.observe.report.model import Report

_COLOURS = {"critical": "red", "warning": "yellow", "info": "blue"}


@click.command()
@click.option("--date", "day", type=DAY, metavar="D", help="The day [the last that is over].")
@click.option("--json", "as_json", is_flag=True, help="For programs: all of it as JSON.")
@click.option("--again", is_flag=True, help="Write it anew, also where it was written.")
@click.option("--open", "opens", is_flag=True, help="Show the page in a browser.")
@click.option("--send", "sends", is_flag=True, help="Send it to MOOVITAMIX_REPORT_URLS now.")
def report(day: date | None, as_json: bool, again: bool, opens: bool, sends: bool) -> None:
    """The report of a day: what needs a person, what came in, ran, drifted, is served.

    Dagster's daemon writes it when the day is done; where it has not, this command does. Exits with
    0 whatever it says. docs/report.md describes the page and the JSON.

    \b
    Examples:
      moovitamix report
      moovitamix report --date 2026-11-22 --open
      moovitamix report --json | jq '.needs'
      MOOVITAMIX_REPORT_URLS=mailto://… moovitamix report --send
    """
    from moovitamix.observe.report import shelf
    from moovitamix.resources import Lake
    from moovitamix.settings import get_settings

    day = day or get_settings().present().date() - timedelta(days=1)
    lake = Lake().open()
    kept = None if again else shelf.get(lake, day)
    if kept is None:
        _write(day)
        kept = shelf.get(lake, day)
    if kept is None:
        raise MoovitaMixError(f"The report of {day} cannot be read. Write it again with --again.")
    where = shelf.address(lake, shelf.page_name(day))
    if as_json:
        click.echo(shelf.to_json(kept).decode())
    else:
        _print(kept, where, shelf.address(lake, shelf.json_name(day)))
    if opens:
        if "://" in where:
            raise NothingToDo(f"The page is not on this machine: fetch it from {where}.")
        click.launch(where)
    if sends:
        _send(lake, kept)


def _send(lake: LakeStore, kept: Report) -> None:
    """Send it to every channel, and tell on the terminal's other stream what came of each."""
    from moovitamix.observe.channels import read_channels
    from moovitamix.observe.report.sending import send_one
    from moovitamix.settings import get_settings

    settings = get_settings()
    urls = settings.report_urls
    channels = read_channels(urls.get_secret_value()) if urls is not None else []
    if not channels:
        raise NothingToDo("No channel is configured to send it to: set MOOVITAMIX_REPORT_URLS.")
    told = Console(stderr=True, highlight=False)
    failed = 0
    for channel in channels:
        fault = send_one(lake, channel, kept, settings.runbook_url).fault
        failed += fault is not None
        mark, said = ("[green]✓[/]", "taken") if fault is None else ("[red]✗[/]", fault)
        told.print(f"  {mark} {channel.name}: {escape(said)}")
    if failed:
        raise MoovitaMixError(
            f"{failed} of {len(channels)} channels took nothing: correct their URLs in "
            "MOOVITAMIX_REPORT_URLS, or mend what they name."
        )


def _write(day: date) -> None:
    """Run the job `report_day`; what it logs goes to the terminal's other stream."""
    from moovitamix.embedded import dagster_home
    from moovitamix.jobs import Jobs
    from moovitamix.resources import Warehouse
    from moovitamix.settings import get_settings
    from moovitamix.terminal import Terminal
    from moovitamix.warehouse.days import published_days

    settings = get_settings()
    over = settings.present().date() - timedelta(days=1)
    if day > over:
        raise NothingToDo(f"{day} is not over yet; the last day that is over is {over}.")
    if day < settings.first_day:
        raise NothingToDo(
            f"{day} is before the first partition, {settings.first_day}. Set MOOVITAMIX_FIRST_DAY "
            "to change it."
        )
    with Warehouse().connect() as connection:
        if not published_days(connection):
            raise NothingToDo("No day has been published yet: load one with `moovitamix run`.")
    dagster_home.prepare()
    terminal = Terminal(Console(stderr=True, highlight=False), logging.WARNING)
    execution = Jobs(terminal).execute("report_day", days=(day, day))
    if not execution.succeeded:
        raise MoovitaMixError(f"The report of {day} was not written. {' '.join(execution.faults)}")


def _print(kept: Report, page: str, json: str) -> None:
    from moovitamix.observe.report import sentences, words
    from moovitamix.settings import get_settings

    runbook = get_settings().runbook_url
    console.print(f"[bold]{escape(sentences.title(kept))}[/]")
    console.print(f"[dim]written {words.moment(kept.written_at)}[/]\n")
    for one in kept.needs:
        console.print(f"[{_COLOURS[one.severity]}]{one.severity}[/] [bold]{escape(one.title)}[/]")
        console.print(f"  {escape(one.text)}")
        console.print(f"  [dim]{escape(f'{runbook}#{one.runbook}')}[/]")
    table = Table(box=box.SIMPLE, show_header=False)
    table.add_column(style="bold")
    for name, sentence in sentences.PARTS:
        table.add_row(name, escape(sentence(kept)))
    console.print(table)
    for kind, where in (("Page", page), ("JSON", json)):
        console.print(f"{kind}: {escape(where)}", soft_wrap=True)
