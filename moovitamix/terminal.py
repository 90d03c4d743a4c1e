"""How a run looks on a terminal: a line a step, the step under way with what it last said.

What is told is the business of `progress.py`; what a run does, of `main_job.py`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

_WIDTH = 30


@dataclass(frozen=True)
class Phase:
    """A stretch of a command's time."""

    part: str
    name: str
    seconds: float


class Terminal:
    """A sink of progress that prints to a console.

    Args:
        console: Where to. Where it is no terminal, steps are printed and nothing moves.
        level: Of `logging`: at DEBUG every sentence stays, at INFO each step's last one, from
            WARNING on only what is wrong.
    """

    def __init__(self, console: Console, level: int) -> None:
        self.console = console
        self.level = level
        self.phases: list[Phase] = []
        self._part = ""
        self._last: dict[str, str] = {}
        self._status: Status | None = None

    @contextmanager
    def part(self, title: str, note: str = "") -> Iterator[None]:
        """A heading for the steps that follow, timed as a whole."""
        self._part = title
        if self.level <= logging.INFO:
            self.console.print(f"[bold]{escape(title)}[/]  [dim]{escape(note)}[/]")
        self._status = self.console.status("", spinner="dots")
        if self.level <= logging.INFO and self.console.is_terminal:
            self._status.start()
        try:
            yield
        finally:
            self._status.stop()
            self._status = None
            self._part = ""

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time something that is no step of a run."""
        started = time.perf_counter()
        self._show(name, "")
        try:
            yield
        finally:
            self.phases.append(Phase(self._part, name, time.perf_counter() - started))

    def step_started(self, step: str) -> None:
        """See `ProgressSink`."""
        self._last.pop(step, None)
        self._show(step, "")

    def step_ended(self, step: str, *, succeeded: bool, milliseconds: float) -> None:
        """See `ProgressSink`."""
        seconds = milliseconds / 1000
        self.phases.append(Phase(self._part, step, seconds))
        if succeeded and self.level > logging.INFO:
            return
        mark = "[green]✓[/]" if succeeded else "[red]✗[/]"
        took = f"{seconds:6.1f} s" if succeeded else "  failed"
        said = escape(self._last.get(step, ""))
        self.console.print(
            f"  {mark} {step:<{_WIDTH}} {took}  [dim]{said}[/]",
            highlight=False,
            no_wrap=True,
            overflow="ellipsis",
        )

    def said(self, step: str | None, level: int, message: str) -> None:
        """See `ProgressSink`."""
        if message.startswith("Dependencies for step"):
            return  # Dagster tells it of every step behind a failed one
        if step is not None:
            self._last[step] = message
        self._show(step or "", message)
        if level >= max(self.level, logging.WARNING) or self.level <= logging.DEBUG <= level:
            style = "yellow" if level >= logging.WARNING else "dim"
            self.console.print(f"    [{style}]{escape(message)}[/]", highlight=False)

    def _show(self, step: str, message: str) -> None:
        if self._status is not None:
            self._status.update(f"{escape(step):<{_WIDTH}} [dim]{escape(message)}[/]")

    def print_phases(self) -> None:
        """A table of where the time went, the longest first."""
        table = Table("phase", "part", title="Where the time went", title_justify="left")
        table.add_column("seconds", justify="right")
        for phase in sorted(self.phases, key=lambda phase: -phase.seconds):
            table.add_row(phase.name, phase.part, f"{phase.seconds:.2f}")
        table.add_row("all", "", f"{sum(phase.seconds for phase in self.phases):.2f}")
        self.console.print(table)
