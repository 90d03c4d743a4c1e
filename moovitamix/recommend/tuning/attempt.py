"""One trial: a fit that is judged at its checkpoints, and ended when it is not worth its time.

Which configuration is tried, and what becomes of the result, is settled in `search.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moovitamix.recommend.configuration import Configuration
from moovitamix.recommend.tuning.outcome import Budget
from moovitamix.recommend.tuning.trials import FinishedTrial
from moovitamix.recommend.tuning.validation import Validation, judge

# Of a budget of time, the most that one trial but the first may take.
_LARGEST_SHARE = 0.25


class GivenUp(Exception):
    """A trial that is not worth its time."""


class TimeIsUp(Exception):
    """The whole search's time is over."""


class _TooSlow(Exception):
    """A trial that has had its share of the time."""


class Clock:
    """How much of a budget of time is left, from now on."""

    def __init__(self, budget: Budget) -> None:
        self._began = time.monotonic()
        self._whole = float("inf") if budget.time is None else budget.time.total_seconds()

    def left(self) -> float:
        """Seconds; infinite without a budget of time, negative when it is overdrawn."""
        return self._whole - (time.monotonic() - self._began)

    def check(self) -> None:
        """Raise `TimeIsUp` when nothing is left."""
        if self.left() <= 0:
            raise TimeIsUp

    def has_had_its_share(self, began: float) -> bool:
        """Whether what began then (by `time.monotonic`) has taken more than a trial may."""
        return time.monotonic() - began > _LARGEST_SHARE * self._whole


@dataclass(frozen=True, eq=False, slots=True)
class Attempt:
    """What came of a trial.

    Attributes:
        trial: As it is kept.
        by_user: NDCG by judged user after the best number of iterations; None where it was given
            up before the first checkpoint.
    """

    trial: FinishedTrial
    by_user: NDArray[np.float64] | None


def attempt(
    validation: Validation,
    configuration: Configuration,
    checkpoints: tuple[int, ...],
    point: dict[str, Any],
    clock: Clock,
    consider: Callable[[int, float], None],
    reference: NDArray[np.float64] | None,
) -> Attempt:
    """Fit a configuration and judge it on the way.

    Args:
        validation: What to judge by.
        configuration: Its number of iterations becomes that of the best checkpoint.
        checkpoints: Numbers of iterations, ascending; the last one ends the fit.
        point: The configuration's, in the space.
        clock: Of the search.
        consider: Takes the number of iterations and the mean NDCG at each checkpoint; raises
            `GivenUp` to end the trial.
        reference: NDCG by user of the first trial, to compare with; None: this is the first, which
            is compared with itself, and takes as long as it takes.

    Raises:
        TimeIsUp: When the search's time ends before the fit.
    """
    began = time.monotonic()
    values: dict[int, float] = {}
    by_user: dict[int, NDArray[np.float64]] = {}

    def on_checkpoint(iteration: int, ndcg: NDArray[np.float64]) -> None:
        values[iteration] = float(ndcg.mean())
        by_user[iteration] = ndcg
        consider(iteration, values[iteration])

    def on_iteration() -> None:
        clock.check()
        is_unfinished = len(values) < len(checkpoints)
        if reference is not None and is_unfinished and clock.has_had_its_share(began):
            raise _TooSlow

    complete = True
    try:
        judge(validation, configuration, checkpoints, on_checkpoint, on_iteration)
    except GivenUp:
        complete = False
    except _TooSlow:
        complete = bool(values)  # what was judged by then stands, with fewer iterations
    best: NDArray[np.float64] | None = None
    gain = error = None
    if values:
        iterations = max(values, key=lambda step: (values[step], -step))
        configuration = replace(
            configuration, als=replace(configuration.als, iterations=iterations)
        )
        best = by_user[iterations]
        if complete:
            gain, error = _compare(best, best if reference is None else reference)
    trial = FinishedTrial(
        point=point,
        configuration=configuration,
        values=values,
        complete=complete,
        gain=gain,
        error=error,
        seconds=round(time.monotonic() - began, 2),
    )
    return Attempt(trial, best)


def _compare(by_user: NDArray[np.float64], reference: NDArray[np.float64]) -> tuple[float, float]:
    """The mean gain over the reference, and its standard error."""
    difference = by_user - reference
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    return float(difference.mean()), float(error)
