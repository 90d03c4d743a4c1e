"""The commands `alerts …`: what people are told of, and whether it reaches them."""

from __future__ import annotations

from datetime import UTC, datetime

import click
from rich import box
from rich.markup import escape
from rich.table import Table

from moovitamix.commands.terms import console
from moovitamix.errors import MoovitaMixError, NothingToDo

_NEWEST = """
SELECT a.severity, a.title, a.text, a.runbook, a.first_seen, a.resolved_at,
       count(n.id) FILTER (WHERE n.sent_at IS NULL)
FROM alerts a LEFT JOIN alert_notices n ON n.alert_id = a.id
GROUP BY a.id
ORDER BY (a.resolved_at IS NULL) DESC, coalesce(a.resolved_at, a.first_seen) DESC
LIMIT %s
"""

_COLOURS = {"critical": "red", "warning": "yellow", "info": "blue"}


@click.group("alerts")
def alerts() -> None:
    """What needs people: open alerts, and whether the channels work that they are sent to."""


@alerts.command("list")
@click.option("--limit", type=click.IntRange(1), default=30, show_default=True)
def list_alerts(limit: int) -> None:
    """Open alerts, then those that were over last: since when, until when, what to do."""
    from moovitamix.resources import Warehouse
    from moovitamix.settings import get_settings

    runbook = get_settings().runbook_url
    with Warehouse().connect() as connection:
        rows = connection.execute(_NEWEST, (limit,)).fetchall()
    if not rows:
        console.print("There has been no alert.")
        return
    table = Table("severity", "alert", "since (UTC)", "until", "not sent yet", box=box.SIMPLE_HEAD)
    for severity, title, text, entry, since, until, waiting in rows:
        what = f"[bold]{escape(title)}[/]"
        if until is None:
            what += f"\n{escape(text)}\n[dim]{escape(f'{runbook}#{entry}')}[/]"
        table.add_row(
            f"[{_COLOURS[severity]}]{severity}[/]" if until is None else severity,
            what,
            _moment(since),
            _moment(until) if until else "open",
            str(waiting or ""),
        )
    console.print(table)


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}"


@alerts.command("send-test")
def send_test() -> None:
    """Send a test message to every channel of MOOVITAMIX_ALERT_URLS; tell what came of each."""
    from moovitamix.observe.channels import send
    from moovitamix.observe.watch import post_of
    from moovitamix.settings import get_settings

    settings = get_settings()
    channels = post_of(settings).channels
    if not channels:
        raise NothingToDo(
            "No channel is configured, alerts are only logged: set MOOVITAMIX_ALERT_URLS."
        )
    failed = 0
    for channel in channels:
        sent = send(
            channel,
            f"MoovitaMix [{settings.namespace}]: a test",
            "Alerts reach you here. Nothing is wrong, and nothing is to be done.",
            None,
        )
        if sent.fault is None:
            console.print(f"  [green]✓[/] {channel.name}: taken")
        else:
            failed += 1
            console.print(f"  [red]✗[/] {channel.name}: {escape(sent.fault)}")
    if failed:
        raise MoovitaMixError(
            f"{failed} of {len(channels)} channels took nothing: correct their URLs in "
            "MOOVITAMIX_ALERT_URLS, or mend what they name."
        )
