"""The commands `run` and `train` from first line to last: locks, jobs, summary, what next."""

from __future__ import annotations

import logging
import os
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from moovitamix import __version__
from moovitamix.settings import get_settings
from moovitamix.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from moovitamix.main_job import Report, Request


def run_main_job(console: Console, request: Request, into: Mapping[str, Path], level: int) -> bool:
    """Run the main job and tell how it went; whether all of it succeeded.

    Two of them never work at once on one warehouse: the second waits for the first.

    Args:
        console: Where to tell it.
        request: What to do.
        into: The folders to export the tables into after loading, by format.
        level: Of `logging`.
    """
    from moovitamix.main_job import MainJob

    terminal = Terminal(console, level)
    with _at_work(console, terminal):
        job = MainJob(terminal)
        job.ingest(request)
        if request.recommend:
            job.recommend()
        if into:
            _export(console, into)
    _summarize(console, terminal, job.report, request, level)
    return not job.report.faults


def run_training(console: Console, tune: str | None, trials: int | None, level: int) -> bool:
    """Train now, and tell how it went; whether all of it succeeded.

    It waits for a run or another training on the same warehouse, as these wait for it.

    Args:
        console: Where to tell it.
        tune: As in `MainJob.train`.
        trials: As in `MainJob.train`.
        level: Of `logging`.
    """
    from moovitamix import summary
    from moovitamix.main_job import MainJob

    terminal = Terminal(console, level)
    with _at_work(console, terminal):
        job = MainJob(terminal)
        job.train(tune, trials)
    summary.print_training(console)
    _tell_faults(console, terminal, job.report, level)
    return not job.report.faults


@contextmanager
def _at_work(console: Console, terminal: Terminal) -> Iterator[None]:
    """Everything ready, and this the only command that works on the warehouse."""
    from moovitamix.embedded import dagster_home
    from moovitamix.resources import Warehouse

    console.print(f"[bold]MoovitaMix {__version__}[/]  [dim]{escape(_where())}[/]")
    dagster_home.prepare()
    _quieten()
    with terminal.phase("starting Postgres"):
        Warehouse().address()
    waiting = "[yellow]Another run is at work on this warehouse: waiting until it is done.[/]"
    with Warehouse().lock("run", on_wait=lambda: console.print(waiting)), _stoppable(console):
        yield


def _export(console: Console, into: Mapping[str, Path]) -> None:
    from moovitamix.resources import Warehouse
    from moovitamix.warehouse.exports import export

    def wait(folder: Path) -> None:
        told = escape(str(folder))
        console.print(f"[yellow]Somebody else is at work in {told}: waiting until it is done.[/]")

    manifests = export(Warehouse(), into, on_wait=wait)
    console.print()
    for folder in dict.fromkeys(into.values()):
        manifest = manifests[folder.expanduser().resolve()]
        told = f"[bold]{escape(str(folder))}/[/] as {manifest.format}"
        console.print(f"Exported {sum(manifest.rows.values()):,} rows into {told}")


def _summarize(
    console: Console, terminal: Terminal, report: Report, request: Request, level: int
) -> None:
    from moovitamix import summary
    from moovitamix.embedded import services

    if not report.runs:
        console.print("Everything is up to date: no day is missing, the last generation is served.")
    console.print()
    summary.print_warehouse(console)
    if request.recommend:
        summary.print_model(console)
        with terminal.phase("samples"):
            summary.print_samples(console)
    _tell_faults(console, terminal, report, level)
    embedded = any(services.running().values())
    if request.recommend and not report.faults:
        console.print(
            "Next: [bold]moovitamix recommend USER[/] · [bold]moovitamix similar TRACK[/] · "
            "[bold]moovitamix dev[/] (the Dagster UI)"
            + (" · [bold]moovitamix down[/] (stop the servers)" if embedded else "")
        )


def _tell_faults(console: Console, terminal: Terminal, report: Report, level: int) -> None:
    if level <= logging.DEBUG:
        terminal.print_phases()
    for fault in report.faults:
        console.print(f"[red]✗[/] {escape(fault)}")
    if report.faults:
        console.print("What was published before stands. Run the command again to try again.")


def _where() -> str:
    settings = get_settings()
    source = settings.source_url or "demonstration source"
    database = "your Postgres" if settings.database_url else "embedded Postgres"
    cache = "your Redis" if settings.redis_url else "embedded Valkey"
    return f"{source} · {database} · {cache} · home {settings.home}"


def _quieten() -> None:
    """Keep what libraries say to developers off the user's terminal."""
    warnings.filterwarnings("ignore")
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)  # speaks of a Ctrl-C as a fault
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@contextmanager
def _stoppable(console: Console) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        console.print(
            "\n[yellow]Stopped.[/] What was published stays, the rest is as it was. "
            "Run the command again to complete it."
        )
        raise SystemExit(130) from None
