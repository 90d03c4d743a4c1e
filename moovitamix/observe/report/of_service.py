"""What a report says of the service: the champion, the lists, what became of what was shown.

The conventions are those of `model.py`; who reads it is `read_service.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """A quality of the champion's lists beside that of popularity's, as its evaluation found it.

    Attributes:
        name: Of the measure, and of how long a list, such as `NDCG@10`; see docs/model.md.
        unit: `bits`, or empty for a share or an index from 0 to 1.
        champion: Of the champion.
        popularity: Of popularity; None: not known.
    """

    name: str
    unit: str
    champion: Interval
    popularity: Interval | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What became of a version that was judged, or made the champion, lately.

    Attributes:
        version: Of the registry.
        became: `promoted`, `rolled back to`, or `kept out`.
        by_hand: Whether somebody, not the gate, decided.
        verdict: The gate's, in a word or two.
        reason: With its figures; None where it was decided by hand.
    """

    version: int
    became: Literal["promoted", "rolled back to", "kept out"]
    by_hand: bool
    verdict: str | None
    reason: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """The champion as of the writing, and what was decided in the last three days.

    Attributes:
        version: Of the registry.
        algorithm: `als` or `popularity`.
        provisional: Whether the data was too small to tell.
        as_of: The last day of its data.
        age_days: How many days that is before the report's.
        promoted_at: Since when it is the champion.
        pinned: Whether automation is kept from promoting another.
        challenger: The version that is tried against it, if any.
        measures: What its evaluation found.
    """

    version: int
    algorithm: str
    provisional: bool
    as_of: date
    age_days: int
    promoted_at: datetime | None
    pinned: bool
    challenger: int | None
    measures: tuple[Measure, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Serving:
    """What is served as of the writing.

    Attributes:
        generation: Its name.
        model_version: Whose lists.
        as_of: The last day that is in them.
        age_seconds: Since it was published.
        expires_seconds: Until it expires, where nobody renews it.
        lists: How many there are by kind: `u` for users, `r` with repeats, `g` favourite genres of
            users without listens, `t` similar tracks, `p` popular ones.
        users: Users who could be served.
        users_covered: Of these, those with a list or stated genres of their own.
        tracks: Tracks that could be asked about.
        tracks_covered: Of these, those with similar tracks.
    """

    generation: str
    model_version: int
    as_of: date
    age_seconds: float
    expires_seconds: float
    lists: dict[str, int]
    users: int
    users_covered: int
    tracks: int
    tracks_covered: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """So many of all impressions, with Wilson's 95 % interval."""

    count: int
    of: int
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class OnlineFigure:
    """What became of what was shown: see docs/serving.md."""

    what: str
    impressions: int
    clicks: Rate
    skips: Rate
    hides: Rate
    listens: Rate


@dataclass(frozen=True, kw_only=True, slots=True)
class Online:
    """What became of what was shown.

    Attributes:
        day: On the day; None: nothing was shown, or it is not told.
        week: In the seven days up to it.
        apart: The week by tier and by model version.
        click_through: By day of the last four weeks, the oldest first; None where nothing was
            shown.
    """

    day: OnlineFigure | None
    week: OnlineFigure | None
    apart: tuple[OnlineFigure, ...]
    click_through: tuple[Rate | None, ...]
