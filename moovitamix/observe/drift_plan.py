"""Which windows are compared with which: the reference cut into windows of the present's length.

The rules of that, and of what follows, are here too; what is measured on the windows is told in
`drift_null.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from moovitamix.observe.drift_windows import History


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftRules:
    """How drift is read.

    Attributes:
        days: Length of the windows that are compared. Whole weeks: days of the week differ.
        reference_windows: So many windows before the champion's last day are the reference.
        base_windows: So many of them, the newest, a window is compared with at most.
        past_windows: So many past windows tell what is usual, at most; they may overlap.
        resamples: Of the users of each of them.
        least_users: Fewer listeners in a window, or judged users in a day, cannot tell.
        least_days: Fewer days judged with hindsight do not tell how days differ.
        false_warnings: Share of undrifted readings in which chance alone, by this calibration,
            takes one feature or more over its threshold for a warning.
        false_alarms: The same of the threshold for an alarm.
        seed: Of the resampling.
    """

    days: int = 7
    reference_windows: int = 12
    base_windows: int = 4
    past_windows: int = 12
    resamples: int = 100
    least_users: int = 50
    least_days: int = 5
    false_warnings: float = 0.05
    false_alarms: float = 0.01
    seed: int = 20260901


class CannotTell(Exception):
    """There is too little to compare; the message says of what. Not for people to act on."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Which windows are compared with which, as first days.

    Attributes:
        base: Of the windows that the present is compared with.
        past: Of each window that tells what is usual: its own, then those of its base.
        gap: Windows between each and its base.
    """

    base: tuple[int, ...]
    past: tuple[tuple[int, tuple[int, ...]], ...]
    gap: int


def plan(history: History, as_of: int, rules: DriftRules, gap: int) -> Plan:
    """Choose the windows of the reference, which ends with the champion's last day.

    Each past window is compared with as many windows, as long before it, as the present is. A
    window with a day without plays is used for nothing. Where the reference is too short for the
    gap, a smaller gap is taken.

    Raises:
        CannotTell: When the reference has fewer than three windows, or none is whole.
    """
    days, end = rules.days, as_of + 1
    earliest = int(history.day[0]) if len(history.day) else end
    windows = min((end - earliest) // days, rules.reference_windows)
    if windows < 3:
        raise CannotTell(
            f"the champion's data has {max(windows, 0)} windows of {days} days, of 3 that it takes"
        )
    gap = min(gap, windows - 3)
    size = min(rules.base_windows, windows - gap - 2)
    start = end - windows * days
    last, first = end - days, start + (size + gap) * days
    stride = max(1, -(-(last - first) // (rules.past_windows - 1)))
    base = _before(end, size, days)
    past = []
    for begin in range(last, first - 1, -stride):
        before = _before(begin - gap * days, size, days)
        if all(history.is_whole(day, days) for day in (begin, *before)):
            past.append((begin, before))
    if not past or not all(history.is_whole(day, days) for day in base):
        raise CannotTell("there are days without plays in the champion's data")
    return Plan(base, tuple(past), gap)


def _before(end: int, windows: int, days: int) -> tuple[int, ...]:
    return tuple(end - (back + 1) * days for back in range(windows))
