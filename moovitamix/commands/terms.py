"""What commands have in common: the console they print to, days and ids as arguments, who types."""

from __future__ import annotations

import getpass
import sys
from datetime import date
from typing import Any

import click
from rich.console import Console

# Where nobody looks at a screen, lines are for files: wider, and of one width everywhere.
_WIDTH = None if sys.stdout.isatty() else 110
console = Console(highlight=False, width=_WIDTH)


class _Day(click.ParamType[date]):
    """A day as YYYY-MM-DD."""

    name = "day"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        try:
            return value if isinstance(value, date) else date.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no day: write it as 2026-11-22.", param, ctx)


DAY = _Day()

# An id of the source, as the tables hold it: what is longer is nobody's.
ID = click.IntRange(-(2**63), 2**63 - 1)


def system_user() -> str:
    """The name of who runs the command, to be recorded.

    Raises:
        UsageError: When the system has none.
    """
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise click.UsageError("This system's user has no name: say who with --by.") from None
