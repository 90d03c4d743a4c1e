"""The command line. Each command says what it does; the work is done elsewhere."""

from __future__ import annotations

import logging
import sys
from datetime import date, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from moovitamix import __version__
from moovitamix.commands.accept_reset import accept_reset
from moovitamix.commands.alerts import alerts
from moovitamix.commands.block import block
from moovitamix.commands.days import days
from moovitamix.commands.drift import drift
from moovitamix.commands.experiment import experiment
from moovitamix.commands.exports import exports
from moovitamix.commands.generations import generations
from moovitamix.commands.keys import keys
from moovitamix.commands.metrics import metrics
from moovitamix.commands.models import models
from moovitamix.commands.quarantine import quarantine
from moovitamix.commands.report import report
from moovitamix.commands.serve import serve
from moovitamix.commands.terms import DAY, ID, console
from moovitamix.commands.users import users as users_group
from moovitamix.errors import MoovitaMixError, SettingsError

errors = Console(stderr=True, highlight=False, soft_wrap=True)

_LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, package_name="moovitamix")
def cli() -> None:
    """A listening API turned into daily recommendations.

    \b
    Start here:
      moovitamix run               everything once, from pull to cache, with a summary
      moovitamix recommend USER    what a user hears next
      moovitamix dev               the Dagster UI with lineage, partitions and checks; the API
      moovitamix serve             the HTTP API alone

    Nothing needs to be configured: without settings, a real Postgres, a real Valkey and a
    demonstration source run on this machine. `moovitamix config` lists the settings.
    """


@cli.command()
@click.option("--date", "day", type=DAY, metavar="D", help="Only this day, loaded already or not.")
@click.option("--from", "first", type=DAY, metavar="D", help="From this day on.")
@click.option("--to", "last", type=DAY, metavar="D", help="Up to this day.")
@click.option(
    "--into-csv",
    is_flag=False,
    flag_value="exports",
    default=None,
    metavar="[DIR]",
    type=click.Path(file_okay=False, path_type=Path),
    help="Load, then export the six tables as CSV into DIR (exports/); train and serve nothing.",
)
@click.option(
    "--into-parquet",
    is_flag=False,
    flag_value="exports",
    default=None,
    metavar="[DIR]",
    type=click.Path(file_okay=False, path_type=Path),
    help="The same as Parquet; both may be given, and show the same moment.",
)
@click.option("--refresh", is_flag=True, help="Pull again although the last pull covers the days.")
@click.option("--ephemeral", is_flag=True, help="Stop the servers that this command has started.")
@click.option(
    "--log-level",
    type=click.Choice(_LEVELS, case_sensitive=False),
    default="INFO",
    show_default=True,
    help="DEBUG shows every sentence, and where the time went.",
)
def run(
    day: date | None,
    first: date | None,
    last: date | None,
    into_csv: Path | None,
    into_parquet: Path | None,
    refresh: bool,
    ephemeral: bool,
    log_level: str,
) -> None:
    """The main job: everything, from pull to cache.

    Pulls the source, loads every day up to yesterday that is missing, trains a model when there
    is no champion, publishes the lists to Redis, and ends with a summary. Run again, it takes
    only what is new. Stopped at any moment, the next run completes what is missing.

    \b
    Examples:
      moovitamix run
      moovitamix run --from 2026-11-01 --to 2026-11-07
      moovitamix run --into-csv=tables --into-parquet=tables
      MOOVITAMIX_SOURCE_URL=https://api.example.com moovitamix run
    """
    from moovitamix.embedded import services
    from moovitamix.main_job import Request
    from moovitamix.run import run_main_job

    if day and (first or last):
        raise click.UsageError("Give either --date or --from and --to.")
    if first and last and first > last:
        raise click.UsageError(f"There is no day from {first} to {last}: --from comes first.")
    formats = {"csv": into_csv, "parquet": into_parquet}
    wanted = {form: folder for form, folder in formats.items() if folder is not None}
    request = Request(day or first, day or last, refresh, recommend=not wanted)
    before = services.running() if ephemeral else {}
    try:
        succeeded = run_main_job(console, request, wanted, logging.getLevelName(log_level.upper()))
    finally:
        if ephemeral:
            services.stop(name for name, ran in before.items() if not ran)
    if not succeeded:
        sys.exit(1)


@cli.command()
@click.option(
    "--tune",
    metavar="TIME",
    help="Search so long for a better configuration: 10m, 90s, 2h; 0 refreshes the champion's. "
    "[MOOVITAMIX_TUNE, unless --trials is given]",
)
@click.option("--trials", type=click.IntRange(0), help="Look at so many configurations at most.")
@click.option(
    "--log-level",
    type=click.Choice(_LEVELS, case_sensitive=False),
    default="INFO",
    show_default=True,
    help="DEBUG shows every sentence, each trial's too.",
)
def train(tune: str | None, trials: int | None, log_level: str) -> None:
    """The job `retrain` now: tune, fit, evaluate, judge; publish what is promoted.

    What is found on the days before is judged on the last days, which the search has not seen.
    A search that is stopped goes on with its finished trials when the command is run again on the
    same data. With --trials alone the result is the same each time; with a time it depends on how
    fast the machine is.

    \b
    Examples:
      moovitamix train --tune 10m
      moovitamix train --trials 40
      moovitamix train --tune 0
    """
    from moovitamix.durations import parse_duration
    from moovitamix.run import run_training

    if tune is not None:
        parse_duration(tune)  # before anything is started
    if not run_training(console, tune, trials, logging.getLevelName(log_level.upper())):
        sys.exit(1)


@cli.command()
@click.argument("user", type=ID)
@click.option("--limit", type=click.IntRange(1, 100), default=10, show_default=True)
@click.option("--repeats", is_flag=True, help="Tracks that the user has heard may be in the list.")
def recommend(user: int, limit: int, repeats: bool) -> None:
    """What the user with this id hears next, best first.

    Unknown users, and those without listens, are answered too: with what is popular in their
    favourite genres, or over all. The last line says which it was.
    """
    from moovitamix import lists

    lists.print_recommendations(console, user, limit, repeats=repeats)


@cli.command()
@click.argument("track", type=ID)
@click.option("--limit", type=click.IntRange(1, 100), default=10, show_default=True)
def similar(track: int, limit: int) -> None:
    """The tracks most like the one with this id, by who listens to them."""
    from moovitamix import lists

    lists.print_similar(console, track, limit)


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where the UI listens.")
@click.option("--port", type=int, default=3000, show_default=True)
@click.option("--api-port", type=int, default=8000, show_default=True, help="Of the HTTP API.")
def dev(host: str, port: int, api_port: int) -> None:
    """The Dagster UI, its daemon and the HTTP API, on the same servers and history as `run`.

    Browse the lineage, launch a day or a backfill, read checks and metadata; the daily schedule
    is on. Ctrl-C stops all; the embedded servers go on until `moovitamix down`.
    """
    from moovitamix import development

    sys.exit(development.serve_ui(console, host, port, api_port))


@cli.group()
def source() -> None:
    """The source: a made-up one to try things on, and going on when yours has started anew."""


@source.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8700, show_default=True, help="0 picks a free one.")
@click.option("--seed", default=20, show_default=True, help="Another seed is another world.")
@click.option("--first-day", type=DAY, metavar="D", help="When listening began [60 days ago].")
@click.option(
    "--days", default=60, show_default=True, help="The days that --listens are spread over."
)
@click.option("--users", default=3_000, show_default=True, help="Users after these days.")
@click.option("--tracks", default=4_000, show_default=True, help="Tracks after these days.")
@click.option("--listens", default=100_000, show_default=True, help="Tracks heard in these days.")
@click.option("--now", metavar="T", help="Begin at this moment (ISO 8601, UTC) instead of now.")
@click.option("--speed", default=1.0, show_default=True, help="Simulated seconds per second.")
@click.option(
    "--port-file", type=click.Path(path_type=Path), help="Write the port here when ready."
)
def serve_source(
    host: str,
    port: int,
    seed: int,
    first_day: date | None,
    days: int,
    users: int,
    tracks: int,
    listens: int,
    now: str | None,
    speed: float,
    port_file: Path | None,
) -> None:
    """Serve the demonstration source alone, in the foreground.

    The same seed and first day give the same world, anywhere; a day later it holds a day more.
    With --speed 86400 a day passes every second.

    \b
    Examples:
      moovitamix source serve
      moovitamix source serve --listens 5000000 --users 100000 --tracks 50000
      MOOVITAMIX_SOURCE_URL=http://127.0.0.1:8700 moovitamix run
    """
    from datetime import timedelta

    from moovitamix.embedded.demo_source.clock import SimulatedClock
    from moovitamix.embedded.demo_source.server import serve
    from moovitamix.embedded.demo_source.world import DemoParameters

    try:
        start = datetime.fromisoformat(now) if now else None
    except ValueError:
        raise click.BadParameter(f"{now!r} is no moment: write it as 2026-11-22T08:00.") from None
    clock = SimulatedClock(start, speed)
    founded = first_day or clock().date() - timedelta(days=days)
    parameters = DemoParameters(
        seed=seed, first_day=founded, days=days, users=users, tracks=tracks, listens=listens
    )

    def tell(bound: int) -> None:
        if port_file:
            unfinished = port_file.with_suffix(".unfinished")
            unfinished.write_text(str(bound))
            unfinished.replace(port_file)
        console.print(
            f"The demonstration source listens on [bold]http://{host}:{bound}[/] (docs at /docs).\n"
            f"World: seed {seed}, first day {founded}; there it is {clock():%Y-%m-%d %H:%M} UTC.\n"
            "Ctrl-C stops it."
        )

    serve(parameters, host=host, port=port, clock=clock, on_ready=tell)


@cli.command()
def up() -> None:
    """Start the embedded servers; those that are configured elsewhere are left out.

    Other commands start them when they need them, and leave them running.
    """
    from moovitamix.embedded import services

    for name, address in services.start_all().items():
        console.print(f"  [green]✓[/] {name:<12} [dim]{address}[/]")


@cli.command()
def down() -> None:
    """Stop the embedded servers. Their data stays; the next command starts them again."""
    from moovitamix.embedded import services

    stopped = services.stop()
    console.print(f"Stopped {', '.join(stopped)}." if stopped else "Nothing was running.")


@cli.command()
def config() -> None:
    """The settings in force: variable, value, and what it is for. Secrets are masked."""
    from moovitamix import doctor

    doctor.print_settings(console)


@cli.command()
def doctor() -> None:
    """Test everything a run needs: settings, home, Postgres, Redis, lake, source.

    Starts nothing and changes nothing. Exits with 1 when something is wrong, and says what to do.
    """
    from moovitamix import doctor as examination

    sys.exit(0 if examination.examine(console) else 1)


source.add_command(accept_reset)
for group in (
    models,
    generations,
    alerts,
    experiment,
    quarantine,
    days,
    block,
    exports,
    users_group,
    serve,
    keys,
    drift,
    report,
    metrics,
):
    cli.add_command(group)


def main() -> None:
    """The entry point: errors of ours as one line, without a trace."""
    try:
        cli()
    except SettingsError as error:
        errors.print(f"[red]Settings:[/] {escape(str(error))}")
        sys.exit(2)
    except MoovitaMixError as error:
        errors.print(f"[red]Error:[/] {escape(str(error))}")
        sys.exit(1)
