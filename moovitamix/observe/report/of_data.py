"""What a report says of data: volumes, quarantine, blocked days, drift, what is kept.

The conventions are those of `model.py`; who reads it is `read_data.py` and `read_storage.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

Unit = Literal["plays", "users", "tracks"]
DriftVerdict = Literal["steady", "warning", "drifted", "cannot tell"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Volume:
    """A count of the day beside those of the days before.

    Attributes:
        name: What is counted.
        unit: Of what.
        count: On the day; None: the day is not published.
        week_before: On the same weekday of last week.
        usual: The mean of the seven days before that are published.
        history: Of the last days, this one included, the oldest first; None of one not published.
    """

    name: str
    unit: Unit
    count: int | None
    week_before: int | None
    usual: float | None
    history: tuple[int | None, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class QuarantineGroup:
    """Records that could not be loaded for the same reason.

    Attributes:
        endpoint: Of which endpoint; `listens`: of unknown users or tracks.
        field: The offending field, where there is one.
        reason: Why.
        waiting: How many wait as of the writing.
        of_the_day: How many of them are records of this day.
    """

    endpoint: str
    field: str | None
    reason: str
    waiting: int
    of_the_day: int


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockedRule:
    """A rule that holds a day back, as of the writing; accepted ones wait to be published."""

    day: date
    rule: str
    why: str
    since: datetime
    accepted: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class DriftFigure:
    """One feature of the day; see docs/drift.md."""

    feature: str
    title: str
    unit: str
    value: float | None
    usual: float | None
    warning: float | None
    alarm: float | None
    verdict: DriftVerdict
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """The readings of the day."""

    model_version: int | None
    as_of: date | None
    verdict: DriftVerdict
    figures: tuple[DriftFigure, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Store:
    """What is kept somewhere, as of the writing.

    Attributes:
        name: A table with its indexes, a folder of the lake, or the cache.
        where: In what.
        size: Bytes.
        count: Rows, files or keys.
        grown: Bytes more than in the report before; None: that did not tell.
    """

    name: str
    where: Literal["Postgres", "lake", "cache"]
    size: int
    count: int
    grown: int | None
