"""What is searched: the ranges of a configuration's parameters, and where the search begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

from moovitamix.recommend.als import AlsParameters
from moovitamix.recommend.configuration import Configuration
from moovitamix.recommend.weighting import Weighting

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

# Raised when a range changes its meaning: trials of another space are not gone on with.
SPACE_VERSION = 1

WEIGHTINGS = get_args(Weighting)
FACTORS = (32, 512)
ALPHA = (1.0, 80.0)
REGULARIZATION = (1.0, 100.0)
# Days; what is above the last bound stands for plays that count for ever.
HALF_LIFE = (7.0, 3000.0)
_FOR_EVER = 750.0

# After so many iterations a fit is judged, and may be given up or be found to be done: so the
# number of iterations is searched inside each fit, and costs no fit of its own.
CHECKPOINTS = (4, 8, 15)

# What was best on other data: thin and small, middling, and two real sets (see docs/model.md).
_STARTS = (
    AlsParameters(factors=64, alpha=20.0, regularization=100.0),
    AlsParameters(factors=128, alpha=4.0, regularization=10.0),
    AlsParameters(factors=256, alpha=15.0, regularization=70.0),
    AlsParameters(factors=512, alpha=40.0, regularization=20.0),
)


def starts(incumbent: Configuration) -> list[Configuration]:
    """What is tried first: the configuration in force, the defaults, what was best elsewhere."""
    found = [incumbent]
    for other in (Configuration(), *(Configuration(als=als) for als in _STARTS)):
        if other not in found:
            found.append(other)
    return found


def distributions() -> dict[str, BaseDistribution]:
    """The ranges, as Optuna knows them."""
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    return {
        "weighting": CategoricalDistribution(WEIGHTINGS),
        "half_life_days": FloatDistribution(*HALF_LIFE, log=True),
        "factors": IntDistribution(*FACTORS, log=True),
        "alpha": FloatDistribution(*ALPHA, log=True),
        "regularization": FloatDistribution(*REGULARIZATION, log=True),
    }


def as_point(configuration: Configuration) -> dict[str, Any]:
    """Where a configuration is in the space; where it is outside, the point next to it."""
    half_life = configuration.matrix.half_life_days
    return {
        "weighting": configuration.matrix.weighting,
        "half_life_days": HALF_LIFE[1] if half_life is None else _within(half_life, HALF_LIFE),
        "factors": int(_within(configuration.als.factors, FACTORS)),
        "alpha": _within(configuration.als.alpha, ALPHA),
        "regularization": _within(configuration.als.regularization, REGULARIZATION),
    }


def as_configuration(point: Mapping[str, Any], incumbent: Configuration) -> Configuration:
    """The configuration of a point; what is not searched is as in the configuration in force."""
    half_life = point["half_life_days"]
    return Configuration(
        replace(
            incumbent.matrix,
            weighting=point["weighting"],
            half_life_days=None if half_life > _FOR_EVER else _rounded(half_life),
        ),
        replace(
            incumbent.als,
            factors=point["factors"],
            alpha=_rounded(point["alpha"]),
            regularization=_rounded(point["regularization"]),
        ),
    )


def suggest(trial: Trial) -> dict[str, Any]:
    """The point that the sampler wants to see next."""
    return {
        "weighting": trial.suggest_categorical("weighting", WEIGHTINGS),
        "half_life_days": trial.suggest_float("half_life_days", *HALF_LIFE, log=True),
        "factors": trial.suggest_int("factors", *FACTORS, log=True),
        "alpha": trial.suggest_float("alpha", *ALPHA, log=True),
        "regularization": trial.suggest_float("regularization", *REGULARIZATION, log=True),
    }


def _within(value: float, bounds: tuple[float, float]) -> float:
    return min(max(value, bounds[0]), bounds[1])


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")
