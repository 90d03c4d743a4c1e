"""What an experiment shows: figures of both arms, how far chance may have moved them, the verdict.

Pure. What is counted, and where, is told in `experiment_counts.py`; who is in which arm, in
`arms.py`.

The user is the unit, for a user's plays hang together: an interval over plays or impressions would
be far too narrow. A figure is the ratio of two sums over users, its variance by the delta
method (Deng, Knoblich & Lu, "Applying the Delta Method in Metric Analytics", KDD 2018, equation
4), which gives what a bootstrap over users gives, without drawing. Intervals hold for one look:
who stops as soon as one of many looks is favourable is wrong more often than one time in twenty.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import erfc, isfinite, sqrt
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from moovitamix.recommend.arms import ARMS, Arm
from moovitamix.recommend.experiments import ExperimentVerdict
from moovitamix.recommend.metrics import Figure

COUNTS = pl.Schema(
    {
        "user_id": pl.Int64(),
        "arm": pl.String(),
        "plays": pl.Int64(),
        "impressions": pl.Int64(),
        "clicks": pl.Int64(),
        "skips": pl.Int64(),
        "followed": pl.Int64(),
    }
)

# With fewer users in an arm the normal approximation, and so the interval, is not to be trusted.
LEAST_USERS = 100

# Nor where the difference itself is more skewed than that: of a small arm, and few users who do far
# more than others. With arms of one size it is not, for then their skewness cancels out.
_MOST_SKEWED = 0.3

# A division this unlikely did not come about by chance: something keeps users out of an arm.
_UNLIKELY = 0.001

_TWO_SIDED = 1.959964  # of 95 %
_POWER = 0.841621  # of 80 %

Name = Literal["plays per user", "click-through", "skip rate", "listens after recommendation"]

_RATIOS: dict[Name, tuple[str, str | None]] = {
    "click-through": ("clicks", "impressions"),
    "skip rate": ("skips", "impressions"),
    "listens after recommendation": ("followed", "impressions"),
    "plays per user": ("plays", None),
}


@dataclass(frozen=True, slots=True)
class Compared:
    """A figure of both arms.

    Attributes:
        name: What it is.
        users: By arm: over how many it is.
        arms: By arm: the figure with its 95 % interval.
        difference: Challenger less champion, with its 95 % interval.
        detectable: The difference that would be found four times in five, by users like these.
        skewness: Of the difference, as chance would have it; 0 is a normal distribution's.
    """

    name: Name
    users: dict[Arm, int]
    arms: dict[Arm, Figure]
    difference: Figure
    detectable: float
    skewness: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an experiment shows.

    Attributes:
        users: By arm.
        mismatch: How likely chance is to divide users at least as unevenly; near 0: a fault.
        figures: Those that can be told, the one that the verdict rests on first.
    """

    users: dict[Arm, int]
    mismatch: float
    figures: tuple[Compared, ...]

    def to_json(self) -> dict[str, Any]:
        """What the record of experiments keeps."""
        return asdict(self)


def compare_arms(counts: pl.DataFrame, share: float) -> Outcome:
    """Compare the arms.

    Click-through comes first, and decides, where both arms have `LEAST_USERS` users with
    impressions; else plays per user does.

    Args:
        counts: A row for each user, as `COUNTS`: plays since the start, impressions, clicks, skips,
            and `followed`: listens to a track after it was recommended.
        share: Of users that the challenger's arm was to get.
    """
    arms = {arm: counts.filter(pl.col("arm") == arm) for arm in ARMS}
    told = [found for name in _RATIOS if (found := _compared(name, arms)) is not None]
    shown = {arm: one.filter(pl.col("impressions") > 0).height for arm, one in arms.items()}
    if min(shown.values()) < LEAST_USERS:
        told.sort(key=lambda one: one.name != "plays per user")
        divided = {arm: one.height for arm, one in arms.items()}
    else:
        divided = shown
    return Outcome(
        users={arm: one.height for arm, one in arms.items()},
        mismatch=_mismatch(divided, share),
        figures=tuple(told),
    )


def verdict_of(outcome: Outcome) -> tuple[ExperimentVerdict, str]:
    """What the figures say about the challenger, in one look; and why, in a sentence or two."""
    if not outcome.figures:
        return "cannot tell", "Nobody has listened, or an arm has hardly any users."
    primary = outcome.figures[0]
    told = (
        f"{primary.name[:1].upper()}{primary.name[1:]}: challenger less champion "
        f"{primary.difference}, {primary.users['challenger']:,} users against "
        f"{primary.users['champion']:,}."
    )
    doubt = _doubt(outcome, primary)
    if doubt is not None:
        return "cannot tell", f"{told} {doubt}"
    if primary.difference.high < 0:
        return "champion better", told
    if primary.difference.low > 0:
        return "challenger better", told
    return "cannot tell", (
        f"{told} The interval holds 0; a difference of {primary.detectable:.4f} would have been "
        "found four times in five."
    )


def _doubt(outcome: Outcome, primary: Compared) -> str | None:
    """Why a difference would not be believed, or not be enough."""
    if outcome.mismatch < _UNLIKELY:
        return "But users are not divided as they were to be: find out why."
    if min(primary.users.values()) < LEAST_USERS:
        return f"Fewer than {LEAST_USERS} users in an arm tell nothing."
    if abs(primary.skewness) > _MOST_SKEWED:
        return "But a few users, who do far more than others, move it alone: an arm is too small."
    skips = next((one for one in outcome.figures if one.name == "skip rate"), None)
    if skips is not None and primary.difference.low > 0 and skips.difference.low > 0:
        return f"But more is skipped: {skips.difference}."
    return None


def _compared(name: Name, arms: dict[Arm, pl.DataFrame]) -> Compared | None:
    """A figure of both arms; None where an arm has no two users, or nothing happened."""
    above, below = _RATIOS[name]
    ratios: dict[Arm, tuple[float, float]] = {}
    parts: dict[Arm, NDArray[np.float64]] = {}
    for arm, counts in arms.items():
        counted = counts if below is None else counts.filter(pl.col(below) > 0)
        if counted.height < 2:  # a variance takes two
            return None
        weights = pl.Series(np.ones(counted.height)) if below is None else counted[below]
        ratio, parts[arm] = _ratio(counted[above], weights)
        ratios[arm] = ratio, float(parts[arm].std(ddof=1) / np.sqrt(counted.height))
    if not any(counts[above].sum() for counts in arms.values()):
        return None
    of, against = ratios["challenger"], ratios["champion"]
    error = sqrt(of[1] ** 2 + against[1] ** 2)
    return Compared(
        name=name,
        users={arm: len(of_users) for arm, of_users in parts.items()},
        arms={arm: _interval(found[0], found[1]) for arm, found in ratios.items()},
        difference=_interval(of[0] - against[0], error),
        detectable=(_TWO_SIDED + _POWER) * error,
        skewness=_skewness(parts["challenger"], parts["champion"]),
    )


def _skewness(of: NDArray[np.float64], against: NDArray[np.float64]) -> float:
    """The skewness of a difference of means, were all users alike: that of both arms together.

    A small arm that happens to hold none of the few who do far more does not know of them.
    """
    every = np.concatenate([of, against])
    spread = every.std()
    if not spread:
        return 0.0
    alone = float((every**3).mean() / spread**3)
    ours, theirs = 1 / len(of), 1 / len(against)
    return float(alone * (ours**2 - theirs**2) / (ours + theirs) ** 1.5)


def _ratio(above: pl.Series, below: pl.Series) -> tuple[float, NDArray[np.float64]]:
    """Σ above / Σ below over users, and each user's part in its error by the delta method."""
    x, y = above.to_numpy().astype(np.float64), below.to_numpy().astype(np.float64)
    ratio = x.sum() / y.sum()
    return float(ratio), (x - ratio * y) / y.mean()  # the ratio linearized; their mean is 0


def _interval(value: float, error: float) -> Figure:
    return Figure(value, value - _TWO_SIDED * error, value + _TWO_SIDED * error)


def _mismatch(users: dict[Arm, int], share: float) -> float:
    """How likely it is that so many users, or ones more uneven, fall into the arms: two-sided."""
    total = sum(users.values())
    if not total:
        return 1.0
    spread = sqrt(total * share * (1 - share))
    deviation = abs(users["challenger"] - total * share) / spread
    likely = erfc(deviation / sqrt(2))
    return likely if isfinite(likely) else 1.0
