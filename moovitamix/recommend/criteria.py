"""What is asked of a candidate: each criterion with its bound, from the figures of an evaluation.

Pure. What follows from the criteria is decided in `gate.py`; why the bounds are where they are is
told in `docs/model.md`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from moovitamix.recommend.metrics import Figure

CANDIDATE = "candidate"
CHAMPION = "champion"
PRODUCTION = "production"
POPULARITY = "popularity"

DISCOVERY = "discovery"
REPLAY = "replay"

# Of the other ranker's coverage. Settings of nearly equal NDCG differ by less, a collapse by more.
LEAST_COVERAGE = 0.5
# Of production's NDCG: so much worse a refresh may be, by the best estimate.
MARGIN = 0.05
# Fewer tell how these days were: days of the week differ.
LEAST_FRESH_DAYS = 3


class Rules(Protocol):
    """What the gate reads of the rules of an evaluation."""

    @property
    def k(self) -> int:
        """Length of the lists that were judged."""

    @property
    def minimum_users(self) -> int:
        """Fewer users in the test cannot tell anything."""


class Judged(Protocol):
    """What the gate reads of an evaluation: rankers judged on the same users, tracks and future.

    The rankers are "candidate" (its configuration, fitted to the past), "popularity", where there
    is a champion of another configuration "champion" (that configuration, fitted to the same
    past), and where the champion's data ended before the future "production" (its factors as they
    stand).
    """

    @property
    def users(self) -> int:
        """How many users were judged by."""

    @property
    def rules(self) -> Rules:
        """What was asked for."""

    @property
    def split(self) -> str:
        """How past and future were divided."""

    @property
    def fresh_days(self) -> int:
        """Days of the future that neither production nor the judged fit was trained on."""

    @property
    def figures(self) -> Mapping[str, Mapping[str, Mapping[str, Figure]]]:
        """By task ("discovery", "replay"), ranker and measure ("ndcg", "coverage")."""

    @property
    def differences(self) -> Mapping[str, Mapping[str, Figure]]:
        """By task and ranker: NDCG of the candidate less that ranker's, paired by user."""


@dataclass(frozen=True, slots=True)
class Criterion:
    """One thing that was asked of a candidate.

    Attributes:
        name: What has to hold.
        value: What was found, with its interval where there is one.
        bound: What is asked for.
        passed: Whether it holds; None where that cannot be told.
        figure: The value as a number with its interval, low and high, where there is one.
        limit: The bound as a number, where there is one.
    """

    name: str
    value: str
    bound: str
    passed: bool | None
    figure: tuple[float, float, float] | None = None
    limit: float | None = None


def from_json(found: Iterable[Mapping[str, Any]]) -> list[Criterion]:
    """The criteria that the registry holds as JSON."""
    return [
        Criterion(**{**one, "figure": tuple(one["figure"]) if one["figure"] else None})
        for one in found
    ]


def enough_users(evaluation: Judged) -> Criterion:
    """There are enough users to tell anything."""
    least = evaluation.rules.minimum_users
    enough = evaluation.users >= least
    return Criterion("users to judge by", f"{evaluation.users}", f"at least {least}", enough)


def enough_fresh_days(evaluation: Judged) -> Criterion:
    """There are enough days of which production and the candidate's fit knew nothing."""
    days = evaluation.fresh_days
    enough = days >= LEAST_FRESH_DAYS
    return Criterion("days neither has seen", f"{days}", f"at least {LEAST_FRESH_DAYS}", enough)


def beats(evaluation: Judged, ranker: str) -> Criterion:
    """The candidate is shown to be better: one in forty equals is taken for better."""
    found = gain(evaluation, ranker)
    passed = None if found is None else found.low > 0
    return _criterion(_less(evaluation, ranker), found, "an interval above 0", passed, 0.0)


def not_shown_worse(evaluation: Judged, ranker: str, task: str = DISCOVERY) -> Criterion:
    """The candidate is not shown to be worse."""
    found = gain(evaluation, ranker, task)
    passed = None if found is None else found.high >= 0
    name = _less(evaluation, ranker, task)
    return _criterion(name, found, "an interval not below 0", passed, 0.0)


def within_margin(evaluation: Judged) -> Criterion:
    """The candidate is not worse than production by more than the margin, unless by chance."""
    found = gain(evaluation, PRODUCTION)
    if found is None:
        return _criterion(_less(evaluation, PRODUCTION), None, "no worse than the margin", None, 0)
    least = -margin(evaluation)
    passed = found.value >= least or found.high >= 0
    bound = f"at least {least:.4f}, or an interval not below 0"
    return _criterion(_less(evaluation, PRODUCTION), found, bound, passed, least)


def covers(evaluation: Judged, ranker: str) -> Criterion:
    """The candidate's lists hold enough different tracks: they have not collapsed."""
    figures = evaluation.figures.get(DISCOVERY, {})
    name = f"coverage@{evaluation.rules.k}"
    if ranker not in figures:
        return _criterion(name, None, f"at least half of {ranker}'s", None, 0)
    own, least = figures[CANDIDATE]["coverage"], LEAST_COVERAGE * figures[ranker]["coverage"].value
    bound = f"at least {least:.4f}, half of {ranker}'s"
    return _criterion(name, own, bound, own.value >= least, least)


def not_lost_with_users(lost: str | None) -> Criterion:
    """Its configuration has not lost an experiment: what users do outweighs what is predicted.

    Args:
        lost: How it lost one against the champion's configuration; None: it did not.
    """
    bound = "no experiment that it lost"
    return Criterion("experiments with users", lost or "none lost", bound, lost is None)


def gain(evaluation: Judged, ranker: str, task: str = DISCOVERY) -> Figure | None:
    """NDCG of the candidate less that of a ranker; None when it was not judged."""
    return evaluation.differences.get(task, {}).get(ranker)


def margin(evaluation: Judged) -> float:
    """By how much a refresh may be worse than production, which has been judged."""
    return MARGIN * evaluation.figures[DISCOVERY][PRODUCTION]["ndcg"].value


def sentence(evaluation: Judged, ranker: str) -> str:
    """The figures against one ranker, in a sentence."""
    if not evaluation.users:
        return f"No user could be judged by ({evaluation.split})."
    found = gain(evaluation, ranker)
    if found is None:
        return f"It was not judged against {ranker}."
    figures = evaluation.figures[DISCOVERY]
    own, other = figures[CANDIDATE]["ndcg"].value, figures[ranker]["ndcg"].value
    least = evaluation.rules.minimum_users
    few = f"; fewer than {least} users cannot tell" if evaluation.users < least else ""
    return (
        f"NDCG@{evaluation.rules.k} is {own:.4f} for the candidate and {other:.4f} for {ranker} on "
        f"{evaluation.users} users ({evaluation.split}): a difference of {found.value:+.4f}, "
        f"95 % interval {found.low:+.4f} to {found.high:+.4f}{few}."
    )


def _less(evaluation: Judged, ranker: str, task: str = DISCOVERY) -> str:
    repeats = " with repeats" if task == REPLAY else ""
    return f"NDCG@{evaluation.rules.k}{repeats}, candidate less {ranker}"


def _criterion(
    name: str, figure: Figure | None, bound: str, passed: bool | None, limit: float
) -> Criterion:
    if figure is None:
        return Criterion(name, "not judged", bound, passed)
    interval = (figure.value, figure.low, figure.high)
    return Criterion(name, str(figure), bound, passed, interval, limit)
