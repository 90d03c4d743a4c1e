"""What is due by itself: days to load, a model to train, a report. Pure, from what there is now.

Who looks, and asks for a run, is told in `automation.py`; what serving needs, in
`serve/upkeep.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Literal

from moovitamix.warehouse.days import days_between, gaps

# After midnight: the schedule's own run has begun by then, or will not.
OVERDUE_AFTER = timedelta(hours=3)


Outcome = Literal["published", "blocked", "missing"]


@dataclass(frozen=True)
class Due:
    """A run that is due.

    Attributes:
        key: The same for the same need within an hour or a cool-down, so that it is asked for once,
            and once more when it still has not been seen to.
        why: A sentence.
        days: The first and the last, of a job with partitions.
    """

    key: str
    why: str
    days: tuple[date, date] | None = None


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """Which days are in the tables.

    Attributes:
        first: The first partition.
        published: Days that are.
        blocked: Days that a check holds back, with the pull that they were judged on.
        awaited: Those of them whose verdict was accepted.
        newest_pull: The newest that a day was judged on, published or not; None before the first.
    """

    first: date
    published: Set[date]
    blocked: Mapping[date, str] = field(default_factory=dict)
    awaited: Set[date] = frozenset()
    newest_pull: str | None = None


def load_due(loaded: Loaded, now: datetime, *, under_way: bool) -> Due | None:
    """The days that should be in the tables and are not: one contiguous stretch at a time.

    A blocked day is tried again once a newer pull is there, or when its verdict was accepted.

    Args:
        loaded: Which days are there.
        now: UTC.
        under_way: Whether a load is queued or running.
    """
    if under_way:
        return None
    last = (now - OVERDUE_AFTER).date() - timedelta(days=1)
    held_back = {
        day
        for day, pull in loaded.blocked.items()
        if day not in loaded.awaited and (loaded.newest_pull is None or loaded.newest_pull <= pull)
    }
    missing = set(days_between(loaded.first, last)) - loaded.published - held_back
    stretches = gaps(sorted(missing | {day for day in loaded.awaited if day <= last}))
    if not stretches:
        return None
    # The hours take turns: one that fails each time does not keep the others waiting for good.
    first, last = stretches[now.hour % len(stretches)]
    span = f"{first}" if first == last else f"{first} to {last}"
    return Due(f"load:{first}:{last}:{_hour(now)}", f"Not loaded yet: {span}.", (first, last))


def reading_due(
    newest: tuple[date, datetime] | None,
    read: tuple[date, datetime] | None,
    now: datetime,
    *,
    under_way: bool,
) -> Due | None:
    """Whether the newest day has to be read for drift: once, and again when it was loaded anew.

    After an outage the newest day is read, and no other: what matters is whether it drifts now.

    Args:
        newest: The newest day in the tables, and when it was loaded; None where nothing is.
        read: The newest day that was read, and when; None: none was.
        now: UTC.
        under_way: Whether days are being loaded, or a day is being read.
    """
    if newest is None or under_way:
        return None
    day, loaded_at = newest
    if read is not None and (read[0] > day or (read[0] == day and read[1] >= loaded_at)):
        return None
    return Due(f"read:{day}:{loaded_at.isoformat()}:{_hour(now)}", f"{day} is new.", (day, day))


@dataclass(frozen=True, kw_only=True)
class Reportable:
    """What the report of the last day that is over depends on.

    Attributes:
        outcome: What became of the day; None: nothing was ever published, and nobody waits.
        reported: What its report says became of it; None: there is none.
        read: The newest day that was read for drift.
        served: The last day in the lists that are served.
    """

    outcome: Outcome | None
    reported: Outcome | None
    read: date | None
    served: date | None


def report_due(
    found: Reportable, now: datetime, *, late_after: timedelta, under_way: bool
) -> Due | None:
    """Whether the report of the last day that is over has to be written.

    When the day is read and served, or a check blocks it; or when it counts as late, with what
    there is then. What is under way is waited for, but not for longer than that once more: a
    machine that was off is given the time to load the day. Once, and again when the day has come
    to something else meanwhile.

    Args:
        found: What there is of the day.
        now: UTC.
        late_after: How long after its end a day is expected.
        under_way: Whether anything runs that the report would tell of.
    """
    day = now.date() - timedelta(days=1)
    if found.outcome is None or found.outcome == found.reported:
        return None
    over_for = now - datetime.combine(now.date(), time(), now.tzinfo)
    done = [newest is not None and newest >= day for newest in (found.read, found.served)]
    ready = found.outcome == "blocked" or (found.outcome == "published" and all(done))
    if under_way and over_for < 2 * late_after:
        return None
    if not ready and over_for < late_after:
        return None
    why = f"{day} is {found.outcome}" + ("." if ready else ", and late.")
    return Due(f"report:{day}:{found.outcome}:{_hour(now)}", why, (day, day))


@dataclass(frozen=True, kw_only=True)
class Champion:
    """The champion, as far as it matters here.

    Attributes:
        version: Of the registry.
        as_of: The last day of its data.
        promoted_at: UTC.
        pinned: By a rollback: automation replaces it by nothing.
        on_trial: An experiment runs, which another champion would break off.
        drifted: The features that have drifted since it was trained, as of the newest day.
    """

    version: int
    as_of: date
    promoted_at: datetime
    pinned: bool = False
    on_trial: bool = False
    drifted: tuple[str, ...] = ()


def training_due(
    champion: Champion | None,
    now: datetime,
    *,
    newest_day: date | None,
    max_age: timedelta,
    cool_down: timedelta,
    last_training: datetime | None,
    under_way: bool,
) -> Due | None:
    """Whether a model has to be trained, and why.

    Once per champion, cause and cool-down: a training that fails, or whose model is refused, is
    not asked for again before the cool-down is over; with no champion at all, once in six hours.

    Args:
        champion: None when there is none.
        now: UTC.
        newest_day: The newest day in the tables; None where nothing is loaded.
        max_age: How far its data may be behind the newest day.
        cool_down: Between two trainings.
        last_training: When one was last asked for, by anybody; None: never.
        under_way: Whether a training is queued or running.
    """
    if under_way or newest_day is None:
        return None
    if champion is None:
        return Due(f"train:none:{now:%Y-%m-%d}:{now.hour // 6}", "There is no champion yet.")
    if champion.pinned or champion.on_trial or newest_day <= champion.as_of:
        return None
    if last_training is not None and now - last_training < cool_down:
        return None
    cause = _cause(champion, newest_day, max_age)
    if cause is None:
        return None
    name, why = cause
    window = (now - champion.promoted_at) // cool_down
    return Due(f"train:v{champion.version}:{name}:{window}", why)


def _cause(champion: Champion, newest_day: date, max_age: timedelta) -> tuple[str, str] | None:
    """A short name of why a champion is to be followed, and a sentence."""
    if champion.drifted:
        names = sorted(champion.drifted)
        why = f"Since v{champion.version} was trained, {', '.join(names)} drifted."
        return f"drift:{'+'.join(names)}", why
    behind = newest_day - champion.as_of
    if behind > max_age:
        why = f"The data of v{champion.version} is {behind.days} days behind the newest day."
        return "age", why
    return None


def _hour(now: datetime) -> str:
    return f"{now:%Y-%m-%dT%H}"
