"""Which day a record belongs to: the dealing rule, pure, from frame to frame.

Every content of every record is dealt once, by the first pull that holds it, to one day; or it
waits for a later pull; or it is dated so far ahead that no clock error explains it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

import polars as pl

# Clocks err by minutes; a whole day also forgives a source that sends local time.
CLOCK_ERROR = timedelta(days=1)


@dataclass(frozen=True)
class PullTimes:
    """What the dealing rule needs to know of a pull.

    Args:
        began: When it began, naive UTC.
        over: The last day that was over then.
        over_before: The same of the pull before, or None for the first pull.
        first_day: The first partition.
    """

    began: datetime
    over: date
    over_before: date | None
    first_day: date


def changed_day(times: PullTimes) -> pl.Expr:
    """The day of a record's last change, or the first partition when that is earlier."""
    changed = pl.max_horizontal("created_at", "updated_at")
    return pl.max_horizontal(changed.dt.date(), pl.lit(times.first_day))


def deal(records: pl.DataFrame, times: PullTimes) -> pl.DataFrame:
    """The records with the day that each is dealt to.

    - To the day of its last change, `max(created_at, updated_at)`, or the first partition when
      that is earlier: if that day is over, and was not yet over when the pull before began.
    - Otherwise (a late arrival, an edit without a new date, a change made since midnight to an
      older record) to the last day that was over when the pull began.
    - Created after that day: it waits, and the next pull brings it.

    Args:
        records: With columns `created_at` and `updated_at`, naive UTC.
        times: Of the pull that brought them.

    Returns:
        The same rows, in order, with `day` (Date; null for what waits) and `ahead` (Boolean;
        true for what is dated further ahead than clocks err, whose `day` is null too).
    """
    changed = pl.max_horizontal("created_at", "updated_at")
    day_of_change = changed_day(times)
    news = day_of_change <= times.over
    if times.over_before is not None:
        news &= day_of_change > times.over_before
    ahead = changed > times.began + CLOCK_ERROR
    waits = pl.col("created_at").dt.date() > times.over
    day = (
        pl.when(ahead | waits)
        .then(None)
        .when(news)
        .then(day_of_change)
        .otherwise(pl.lit(times.over))
        .cast(pl.Date)
    )
    return records.with_columns(day=day, ahead=ahead)
