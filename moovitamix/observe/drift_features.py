"""The features that drift is read by, as data: what each is, and from which size on it matters.

How they are measured is in `drift_shape.py` and `drift_model.py`, how far chance moves them in
`drift_null.py`. Why these: `docs/drift.md`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# A floor is a value that a threshold never goes below; or a step from what is usual; or a share
# of it. The latter two go the way that is bad.
Floor = Literal["value", "step", "share"]


@dataclass(frozen=True, slots=True)
class Feature:
    """One figure of a day.

    Attributes:
        name: In rows, metadata and files.
        title: What it is, for people.
        unit: Of its value.
        worse: Which way is bad.
        floor: How the least effects below are meant.
        least_warning: Smaller effects are never a warning, however sure.
        least_alarm: Smaller effects are never an alarm.
        end: The worst that it can be; None: it has no end.
        needs_model: It is read by the champion's factors, on the newest day alone.
    """

    name: str
    title: str
    unit: str
    worse: Literal["up", "down"]
    floor: Floor
    least_warning: float
    least_alarm: float
    end: float | None = None
    needs_model: bool = False


# Effect sizes, not p-values: with enough plays every difference is beyond chance. A tenth of a
# standard deviation, or a Jensen-Shannon distance of 0.1, is what one begins to see in a plot.
FEATURES = (
    Feature(
        "popularity_shape",
        "plays per track, Wasserstein",
        "standard deviations of log(1 + plays)",
        worse="up",
        floor="value",
        least_warning=0.05,
        least_alarm=0.10,
    ),
    Feature(
        "popular_tracks",
        "the reference's 200 most played tracks and all others, Jensen-Shannon",
        "distance from 0 to 1",
        worse="up",
        floor="value",
        least_warning=0.05,
        least_alarm=0.10,
        end=1.0,
    ),
    Feature(
        "user_activity",
        "plays per listening user, Wasserstein",
        "standard deviations of log(1 + plays)",
        worse="up",
        floor="value",
        least_warning=0.05,
        least_alarm=0.10,
    ),
    Feature(
        "genre_mix",
        "plays by genre, Jensen-Shannon",
        "distance from 0 to 1",
        worse="up",
        floor="value",
        least_warning=0.05,
        least_alarm=0.10,
        end=1.0,
    ),
    Feature(
        "cold_users",
        "listening users of whom the champion had seen no play",
        "share of users",
        worse="up",
        floor="step",
        least_warning=0.03,
        least_alarm=0.05,
        end=1.0,
    ),
    Feature(
        "cold_tracks",
        "plays of tracks of which the champion had seen none",
        "share of plays",
        worse="up",
        floor="step",
        least_warning=0.03,
        least_alarm=0.05,
        end=1.0,
    ),
    Feature(
        "score_ranks",
        "where the champion's scores put what was played, Wasserstein",
        "standard deviations of log(rank / tracks)",
        worse="up",
        floor="value",
        least_warning=0.05,
        least_alarm=0.10,
        needs_model=True,
    ),
    # The margin by which a refresh may be worse (`recommend/criteria.py`), and twice that.
    Feature(
        "quality",
        "NDCG@10 of the champion for discovery",
        "NDCG",
        worse="down",
        floor="share",
        least_warning=0.05,
        least_alarm=0.10,
        end=0.0,
        needs_model=True,
    ),
)

BY_NAME = {feature.name: feature for feature in FEATURES}
OF_SHAPE = tuple(feature.name for feature in FEATURES if not feature.needs_model)
OF_MODEL = tuple(feature.name for feature in FEATURES if feature.needs_model)


def bounded(feature: Feature, usual: float, calibrated: float, least: float) -> float:
    """A threshold that is beyond chance, and beyond the least effect that matters.

    Args:
        feature: Says which way is bad, and how `least` is meant.
        usual: Its value while nothing happens.
        calibrated: What chance alone goes beyond as seldom as is asked for.
        least: `feature.least_warning` or `feature.least_alarm`.
    """
    if feature.floor == "value":
        return max(calibrated, least)
    step = least if feature.floor == "step" else least * usual
    if feature.worse == "up":
        return max(calibrated, usual + step)
    return min(calibrated, usual - step)


def can_be_crossed(feature: Feature, threshold: float) -> bool:
    """Whether a value can be beyond a threshold at all."""
    if feature.end is None:
        return True
    return threshold < feature.end if feature.worse == "up" else threshold > feature.end
