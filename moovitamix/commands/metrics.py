"""The commands `metrics …`: which figures there are, and the exporter of those of runs."""

from __future__ import annotations

import signal

import click

from moovitamix.commands.terms import console
from moovitamix.errors import SettingsError

PORT = 9108

_ENDING = (signal.SIGINT, signal.SIGTERM)


@click.group("metrics")
def metrics() -> None:
    """Figures for Prometheus: what there is, and the exporter of what runs have left behind."""


@metrics.command("list")
def list_metrics() -> None:
    """All metrics with kind, labels and meaning, as the tables of docs/metrics.md."""
    from moovitamix.observe.metrics.api_families import API_FAMILIES
    from moovitamix.observe.metrics.registry import BATCH_FAMILIES, markdown

    click.echo(markdown(API_FAMILIES) + "\n\n" + markdown(BATCH_FAMILIES))


@metrics.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where it listens.")
@click.option("--port", type=click.IntRange(1, 65_535), default=PORT, show_default=True)
def serve(host: str, port: int) -> None:
    """Answer `GET /metrics` with the figures of runs, data, models and lists.

    Those of the HTTP API are on its own `/metrics`. It needs no key, and tells no personal value:
    listen where only Prometheus comes. It goes on with a store that is down, and says so. Ctrl-C
    stops it.
    """
    from moovitamix.observe.metrics.exporter import exporting
    from moovitamix.resources import Cache, Lake, Warehouse

    # Resolved once: a store that is stopped later is not to be started from here.
    warehouse, cache = Warehouse(url=Warehouse().address()), Cache(url=Cache().address())
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)  # before threads: they inherit it
    try:
        with exporting(warehouse, cache, Lake(), host, port) as listening:
            console.print(
                f"Figures are at [bold]http://{host}:{listening}/metrics[/]. Ctrl-C stops."
            )
            signal.sigwait(_ENDING)
    except OSError as error:
        raise SettingsError(
            f"It cannot listen on {host}:{port}: {error.strerror}. Give it another --port."
        ) from None
