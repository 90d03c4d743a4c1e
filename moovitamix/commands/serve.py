"""The command `serve`: the HTTP API in the foreground."""

from __future__ import annotations

import click

from moovitamix.commands.terms import console


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where it listens.")
@click.option("--port", type=click.IntRange(1, 65_535), default=8000, show_default=True)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Processes; each holds names and factors of its own, and limits rates by itself.",
)
@click.option(
    "--locked",
    is_flag=True,
    help="Without keys, let nobody in until the first is made, instead of refusing to start.",
)
@click.option("--access-log/--no-access-log", default=True, help="A line a request.")
def serve(host: str, port: int, workers: int, locked: bool, access_log: bool) -> None:
    """The HTTP API: recommendations, similar and popular tracks, in milliseconds.

    Without keys it is open, and listens on loopback only: `moovitamix keys create NAME` makes the
    first. It answers, as well as it can, with any of its stores down. Ctrl-C stops it.

    \b
    Examples:
      moovitamix serve
      moovitamix serve --host 0.0.0.0 --workers 4
      moovitamix serve --host 0.0.0.0 --locked
      MOOVITAMIX_API_KEYS=./keys moovitamix serve --port 8080
    """
    from moovitamix.serve.http import server

    server.serve(console, host, port, workers, locked=locked, access_log=access_log)
