"""What a report says of runs: what ran, how long it took, what the checks found.

The conventions are those of `model.py`; who reads it from Dagster is `read_runs.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class StepTime:
    """How long a step took, all its runs together."""

    step: str
    runs: int
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A run of Dagster or of the command line.

    Attributes:
        job: Its job.
        days: The day it was for, or the first and the last; empty where it was for none.
        began: When it began; None: not yet.
        seconds: How long it took; None while it goes on.
        status: `success`, `failure`, `canceled`, or what else Dagster calls it.
    """

    job: str
    days: tuple[str, ...]
    began: datetime | None
    seconds: float | None
    status: str


@dataclass(frozen=True, kw_only=True, slots=True)
class NotGood:
    """A check whose last result in these runs was not good."""

    check: str
    result: Literal["warning", "failed"]
    blocking: bool
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Checks:
    """The last result of each check in these runs, by what it was."""

    passed: int
    warning: int
    failed: int
    not_good: tuple[NotGood, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What ran between the report before and this one.

    Attributes:
        since: The beginning of that stretch.
        until: Its end.
        runs: In their order; the newest `left_out` less.
        left_out: How many more there were.
        steps: Steps by the time they took, the longest first.
        checks: What the checks in these runs found.
    """

    since: datetime
    until: datetime
    runs: tuple[Run, ...]
    left_out: int
    steps: tuple[StepTime, ...]
    checks: Checks
