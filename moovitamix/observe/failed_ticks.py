"""Sensors and schedules that fail when they look, as conditions: nothing they ask for is asked for.

Pure: who reads Dagster's history is `tick_history.py`. Errors are quoted as those of runs are (see
`failed_runs.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from moovitamix.observe.conditions import Condition
from moovitamix.observe.failed_runs import quoted

Instigator = Literal["sensor", "schedule"]

# A code location that is started anew fails whoever looks just then, and is there at the next look.
IN_A_ROW = 2
_UNREACHABLE = "DagsterUserCodeUnreachableError"

# Twice and more the time between two looks. Who has not looked again since is gone, or renamed.
LOOKS_AGAIN_WITHIN: dict[Instigator, timedelta] = {
    "sensor": timedelta(hours=1),
    "schedule": timedelta(days=2),
}


@dataclass(frozen=True, kw_only=True)
class FailedTick:
    """The last look of a sensor or schedule, where it failed.

    Attributes:
        name: Whose.
        instigator: What that is.
        at: When; UTC.
        in_a_row: How many looks have failed since the last that did not.
        error: The type of the error; None where there is none.
        message: The error's words, where they were written by us.
    """

    name: str
    instigator: Instigator
    at: datetime
    in_a_row: int
    error: str | None
    message: str | None = None


def conditions_of(
    ticks: Sequence[FailedTick], ui_url: str | None, now: datetime
) -> list[Condition]:
    """A condition for each that goes on failing.

    Args:
        ticks: The last of each sensor and schedule whose last one failed.
        ui_url: Dagster's UI; None: no link.
        now: UTC.
    """
    return [
        Condition(
            key=f"tick_failed:{one.name}",
            kind="tick_failed",
            title=f"The {one.instigator} {one.name} fails",
            text=f"{_cause(one)} What it asks for by itself is not asked for.",
            since=one.at,
            link=f"{ui_url.rstrip('/')}/automation" if ui_url else None,
        )
        for one in ticks
        if _goes_on(one) and now - one.at < LOOKS_AGAIN_WITHIN[one.instigator]
    ]


def instigator_of(key: str) -> str:
    """The sensor or schedule that a condition is about."""
    return key.split(":")[1]


def _goes_on(tick: FailedTick) -> bool:
    # The next look of a schedule is a day later, unless it is tried again for being unreachable.
    once = tick.instigator == "schedule" and tick.error != _UNREACHABLE
    return once or tick.in_a_row >= IN_A_ROW


def _cause(tick: FailedTick) -> str:
    times = "look" if tick.in_a_row <= 1 else f"{tick.in_a_row} looks"
    if tick.message:
        return f"Its last {times} failed: {quoted(tick.message)}"
    return (
        f"Its last {times} failed with {tick.error or 'no error of its own'}; its ticks tell more."
    )
