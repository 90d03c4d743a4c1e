"""The readings of a day: each feature with its thresholds and a verdict. Pure.

How they are measured: `drift_shape.py`, `drift_model.py`; against what: `drift_null.py`; where they
come from and go to: `drift_reading.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np

from moovitamix.observe import drift_measures as measures
from moovitamix.observe.drift_features import BY_NAME, FEATURES, OF_MODEL, OF_SHAPE, Feature
from moovitamix.observe.drift_model import JudgedDay
from moovitamix.observe.drift_null import Bound, Null, base_before, is_listened_to
from moovitamix.observe.drift_plan import CannotTell, DriftRules, Plan
from moovitamix.observe.drift_shape import Base, shape_values
from moovitamix.observe.drift_windows import History, Window, day_number

Verdict = Literal["steady", "warning", "drifted", "cannot tell"]


@dataclass(frozen=True, slots=True)
class Reading:
    """One feature on one day.

    Attributes:
        feature: Its name.
        value: What was found; None where it cannot be told.
        bound: What is usual, and the thresholds; None where they cannot be told.
        verdict: What follows.
        reason: Why it cannot be told; else empty.
    """

    feature: str
    value: float | None
    bound: Bound | None
    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True, eq=False, slots=True)
class Seen:
    """What the readings were taken from, for a plot.

    Attributes:
        window: The present.
        base: The reference.
    """

    window: Window
    base: Base


def gap_of(as_of: date, day: date, days: int) -> int:
    """Whole windows between a champion's last day and a day that is read, itself left out.

    Raises:
        CannotTell: When the champion was trained on that day.
    """
    age = (day - as_of).days
    if age < 1:
        raise CannotTell(f"the champion was trained on this day: its data goes up to {as_of}")
    return (age - 1) // days


def judge(feature: Feature, value: float, bound: Bound) -> Verdict:
    """What a value means. At a threshold is beyond it."""
    far = value if feature.worse == "up" else -value
    warning, alarm = (
        limit if feature.worse == "up" else -limit for limit in (bound.warning, bound.alarm)
    )
    if far >= alarm:
        return "drifted"
    return "warning" if far >= warning else "steady"


def read_shape(
    history: History, planned: Plan, null: Null, day: date, rules: DriftRules
) -> tuple[list[Reading], Seen | None]:
    """The features of the last days' plays, and what they were taken from."""
    start = day_number(day) + 1 - rules.days
    if not history.is_whole(start, rules.days):
        return cannot_tell(OF_SHAPE, f"there are days without plays in these {rules.days}"), None
    window = history.window(start, rules.days)
    try:
        is_listened_to(window, rules)
        base = base_before(history, planned.end, planned.base, rules)
    except CannotTell as error:
        return cannot_tell(OF_SHAPE, str(error)), None
    values = shape_values(window, base)[0]
    readings = [
        _reading(name, float(value), null) for name, value in zip(OF_SHAPE, values, strict=True)
    ]
    return readings, Seen(window, base)


def read_model(
    judged: JudgedDay | None, null: Null, rules: DriftRules, why_not: str = ""
) -> list[Reading]:
    """The features of the champion's factors on the newest day.

    Args:
        judged: The day; None where there is no model to judge.
        null: The calibration.
        rules: How.
        why_not: Why there is none.
    """
    if judged is None:
        return cannot_tell(OF_MODEL, why_not)
    fewest = min(judged.listeners, len(judged.ndcg))
    if fewest < rules.least_users:
        few = f"the day has {fewest} users to judge by, of {rules.least_users} that it takes"
        return cannot_tell(OF_MODEL, few)
    if not null.rank_shares:
        return [_reading(name, None, null) for name in OF_MODEL]
    reference = np.array(null.rank_shares)
    ranks = measures.wasserstein(judged.rank_shares(), reference, measures.LOG_RANKS)
    values = (float(ranks[0]), float(judged.ndcg.mean()))
    return [_reading(name, value, null) for name, value in zip(OF_MODEL, values, strict=True)]


def _reading(name: str, value: float | None, null: Null) -> Reading:
    bound = null.bounds.get(name)
    if value is None or bound is None:
        return Reading(name, value, bound, "cannot tell", null.reasons.get(name, ""))
    return Reading(name, value, bound, judge(BY_NAME[name], value, bound))


def cannot_tell(names: Sequence[str], reason: str) -> list[Reading]:
    """Readings of a day on which these features cannot be told."""
    return [Reading(name, None, None, "cannot tell", reason) for name in names]


def nothing_told(reason: str) -> list[Reading]:
    """Readings of a day on which no feature can be told."""
    return cannot_tell([feature.name for feature in FEATURES], reason)


def worst(readings: Sequence[Reading]) -> Verdict:
    """The verdict on a day: that of its worst feature; what cannot be told counts only alone."""
    told = {reading.verdict for reading in readings}
    for verdict in ("drifted", "warning", "steady"):
        if verdict in told:
            return verdict
    return "cannot tell"
