"""Which windows are compared with which: the reference cut into windows of the present's length.

The rules of that, and of what follows, are here too; what is measured on the windows is told in
`drift_null.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from moovitamix.observe.drift_windows import History

# Of a base, where days without plays leave so few: one window alone is as odd as that week was.
_LEAST_BASE = 2


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
        end: The day after the champion's last: who and what was first heard from then on is cold.
        base: Of the windows that the present is compared with, the newest first.
        past: Of each window that tells what is usual: its own, then those of its base.
        gap: Windows between each and the end of what it is compared with.
    """

    end: int
    base: tuple[int, ...]
    past: tuple[tuple[int, tuple[int, ...]], ...]
    gap: int


def plan(history: History, as_of: int, rules: DriftRules, gap: int) -> Plan:
    """Choose the windows of the reference, which ends with the champion's last day.

    Each past window is compared with as many windows, as long before it, as the present is. A
    window with a day without plays is used for nothing: the whole one before it is taken in its
    place, and where there are not enough of them, fewer are, but two at least. Where the reference
    is too short for the gap, a smaller gap is taken.

    Raises:
        CannotTell: When the reference has fewer than three windows, or too few of them are whole.
    """
    days, end = rules.days, as_of + 1
    earliest = int(history.day[0]) if len(history.day) else end
    windows = min((end - earliest) // days, rules.reference_windows)
    if windows < 3:
        raise CannotTell(
            f"the champion's data has {max(windows, 0)} windows of {days} days, of 3 that it takes"
        )
    gap = min(gap, windows - 3)
    most = min(rules.base_windows, windows - gap - 2)
    start = end - windows * days
    base = _whole_before(history, range(end - days, start - 1, -days), most, days)
    for size in range(len(base), min(most, _LEAST_BASE) - 1, -1):
        last, first = end - days, start + (size + gap) * days
        stride = max(1, -(-(last - first) // (rules.past_windows - 1)))
        past = []
        for begin in range(last, first - 1, -stride):
            earlier = range(begin - (gap + 1) * days, start - 1, -days)
            before = _whole_before(history, earlier, size, days)
            if len(before) == size and history.is_whole(begin, days):
                past.append((begin, before))
        if past:
            return Plan(end, base[:size], tuple(past), gap)
    raise CannotTell("too many windows of the champion's data have days without plays")


def _whole_before(history: History, begun: range, most: int, days: int) -> tuple[int, ...]:
    """The first of some windows that have plays on each day."""
    return tuple(islice((day for day in begun if history.is_whole(day, days)), most))
