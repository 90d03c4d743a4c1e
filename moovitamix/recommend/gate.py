"""The gate: what the figures of an evaluation allow. Pure: it reads nothing and writes nothing.

Each thing that is asked is in `criteria.py`; why the rules are as they are is told in
`docs/model.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from moovitamix.recommend import criteria
from moovitamix.recommend.criteria import (
    CHAMPION,
    POPULARITY,
    PRODUCTION,
    REPLAY,
    Criterion,
    Judged,
    sentence,
)
from moovitamix.recommend.likeness import same_configuration
from moovitamix.recommend.registry import Algorithm, ModelVersion

Verdict = Literal[
    "better than popularity",
    "cannot tell",
    "worse than popularity",
    "better than the champion",
    "not better than the champion",
    "no worse than production",
    "cannot tell from production",
    "worse than production",
    "sound",
    "not sound",
    "nothing new",
    "pinned",
]


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a candidate.

    Attributes:
        verdict: In a word or two.
        algorithm: What is served under its name when it is promoted.
        provisional: Without proof that it beats popularity.
        reason: A sentence or two, with the figures.
        promoted: Whether it becomes the champion.
        criteria: What the verdict rests on.
    """

    verdict: Verdict
    algorithm: Algorithm
    provisional: bool
    reason: str
    promoted: bool = True
    criteria: tuple[Criterion, ...] = ()


def judge(
    evaluation: Judged,
    candidate: ModelVersion,
    champion: ModelVersion | None,
    lost: str | None = None,
) -> Decision:
    """Judge a candidate: the first, a new configuration, or a refresh of the champion's.

    Args:
        evaluation: Of the candidate.
        candidate: To be promoted or not.
        champion: What is served, another version; None when there is nothing.
        lost: How the candidate's configuration lost an experiment against the champion's; None:
            it did not.
    """
    if champion is None:
        return judge_first(evaluation)
    if candidate.judged_against != champion.version:
        return _keep(
            "cannot tell",
            evaluation,
            f"Version {candidate.version} was not evaluated against version {champion.version}, "
            "which is the champion by now: materialize `model_evaluation` again.",
        )
    if champion.algorithm == "popularity":
        return judge_after_popularity(evaluation)
    if not same_configuration(candidate.parameters, champion.parameters):
        return judge_configuration(evaluation, lost)
    if candidate.matrix_fingerprint == champion.matrix_fingerprint:
        again = f"It is version {champion.version} again: the same configuration on the same data."
        return _keep("nothing new", evaluation, again)
    return judge_refresh(evaluation)


def hold_back(decision: Decision, champion: int) -> Decision:
    """What becomes of a decision while a rollback pins the champion: nothing is promoted."""
    if not decision.promoted:
        return decision
    return replace(
        decision,
        verdict="pinned",
        promoted=False,
        reason=f"Version {champion} is pinned since a rollback. Otherwise it would be promoted as "
        f'"{decision.verdict}": {decision.reason} `moovitamix models unpin` lets the next '
        "training be promoted.",
    )


def judge_first(evaluation: Judged) -> Decision:
    """Judge a candidate where there is no champion: a first one is always promoted.

    By the paired 95 % interval of NDCG, ALS less popularity: above 0, ALS is better; around 0, or
    measured on too few users, it cannot be told, and ALS is promoted as provisional; below 0, ALS
    is worse, and popularity is served under the version's name.
    """
    asked = (criteria.enough_users(evaluation), criteria.beats(evaluation, POPULARITY))
    against = sentence(evaluation, POPULARITY)
    if not _is_sound(evaluation):
        reason = f"{against} ALS is worse; popularity is served under this version."
        return Decision("worse than popularity", "popularity", True, reason, criteria=asked)
    if _missed(asked):
        reason = f"{against} That cannot tell which is better; ALS is served provisionally."
        return Decision("cannot tell", "als", True, reason, criteria=asked)
    reason = f"{against} ALS is better and is served."
    return Decision("better than popularity", "als", False, reason, criteria=asked)


def judge_after_popularity(evaluation: Judged) -> Decision:
    """Judge a candidate where popularity is served, for the champion lost to it: it has to win."""
    asked = (criteria.enough_users(evaluation), criteria.beats(evaluation, POPULARITY))
    against = sentence(evaluation, POPULARITY)
    missed = _missed(asked)
    if missed:
        why = f"Popularity goes on being served. {against} {missed}"
        return _keep(_no(evaluation, "not better than the champion"), evaluation, why, asked)
    reason = f"{against} ALS is better and is served instead of popularity."
    return Decision("better than popularity", "als", False, reason, criteria=asked)


def judge_configuration(evaluation: Judged, lost: str | None = None) -> Decision:
    """Judge a new configuration: that it is better has to be shown."""
    asked = (
        criteria.enough_users(evaluation),
        criteria.beats(evaluation, CHAMPION),
        criteria.beats(evaluation, POPULARITY),
        criteria.covers(evaluation, CHAMPION),
        criteria.not_lost_with_users(lost),
    )
    guards = (criteria.not_shown_worse(evaluation, CHAMPION, REPLAY),)
    against = f"A new configuration. {sentence(evaluation, CHAMPION)}"
    missed = _missed(asked, guards)
    if missed:
        verdict = _no(evaluation, "not better than the champion")
        return _keep(verdict, evaluation, f"{against} {missed}", asked + guards)
    return Decision("better than the champion", "als", False, against, criteria=asked + guards)


def judge_refresh(evaluation: Judged) -> Decision:
    """Judge the champion's configuration on newer data: that it is worse has to be shown.

    Only a refresh knows the newest tracks and users, and more data seldom harms.
    """
    evidence = (criteria.enough_fresh_days(evaluation), criteria.enough_users(evaluation))
    found = criteria.gain(evaluation, PRODUCTION)
    good: Verdict = "sound"
    bad: Verdict = "not sound"
    guards: tuple[Criterion, ...]
    if _missed(evidence) or found is None:
        against = "There is too little that neither it nor the champion has seen to compare them."
        guards = (_sound(evaluation),)
    else:
        against = sentence(evaluation, PRODUCTION)
        guards = (
            criteria.within_margin(evaluation),
            _sound(evaluation),
            criteria.covers(evaluation, PRODUCTION),
        )
        shown = found.low > -criteria.margin(evaluation)
        good = "no worse than production" if shown else "cannot tell from production"
        bad = "worse than production"
    # Too little evidence does not hold it back, so as a criterion it is not failed.
    asked = (*(replace(one, passed=one.passed or None) for one in evidence), *guards)
    against = f"A refresh of the champion's configuration. {against}"
    missed = _missed((), guards)
    if missed:
        return _keep(bad, evaluation, f"{against} {missed}", asked)
    return Decision(good, "als", not _is_proven(evaluation), against, criteria=asked)


def _keep(
    verdict: Verdict, evaluation: Judged, why: str, asked: tuple[Criterion, ...] = ()
) -> Decision:
    return Decision(
        verdict,
        "als",
        provisional=not _is_proven(evaluation),
        reason=f"The champion stays. {why}",
        promoted=False,
        criteria=asked,
    )


def _no(evaluation: Judged, verdict: Verdict) -> Verdict:
    """A refusal, or that nothing could be told."""
    return verdict if criteria.enough_users(evaluation).passed else "cannot tell"


def _sound(evaluation: Judged) -> Criterion:
    """Not shown to be worse than popularity; on too few users nothing is shown."""
    found = criteria.not_shown_worse(evaluation, POPULARITY)
    return found if criteria.enough_users(evaluation).passed else replace(found, passed=None)


def _is_sound(evaluation: Judged) -> bool:
    return _sound(evaluation).passed is not False


def _is_proven(evaluation: Judged) -> bool:
    """Whether it is shown to beat popularity."""
    enough = criteria.enough_users(evaluation).passed
    return bool(enough and criteria.beats(evaluation, POPULARITY).passed)


def _missed(asked: Sequence[Criterion], guards: Sequence[Criterion] = ()) -> str:
    """Which criteria are not met, in a sentence; empty when all are.

    Args:
        asked: Have to hold.
        guards: Must not fail; that something cannot be told is no failure.
    """
    missed = [one for one in asked if not one.passed]
    missed += [one for one in guards if one.passed is False]
    told = "; ".join(f"{one.name} is {one.value}, asked for is {one.bound}" for one in missed)
    return f"Not met: {told}." if told else ""
