"""The gate: what the figures of an evaluation allow. Pure: it reads nothing and writes nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from moovitamix.recommend.evaluation import Evaluation
from moovitamix.recommend.figures import sentence
from moovitamix.recommend.rankers import POPULARITY
from moovitamix.recommend.registry import Algorithm

Verdict = Literal["better than popularity", "cannot tell", "worse than popularity"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a candidate.

    Attributes:
        verdict: On the candidate against popularity.
        algorithm: What is served under its name when it is promoted.
        provisional: Promoted without proof that it beats popularity.
        reason: A sentence with the figures.
    """

    verdict: Verdict
    algorithm: Algorithm
    provisional: bool
    reason: str


def judge_first(evaluation: Evaluation) -> Decision:
    """Judge a candidate where there is no champion: a first one is always promoted.

    By the paired 95 % interval of NDCG, ALS less popularity: above 0, ALS is better; around 0, or
    measured on too few users, it cannot be told, and ALS is promoted as provisional; below 0, ALS
    is worse, and popularity is served under the version's name.
    """
    gain = evaluation.differences["discovery"].get(POPULARITY)
    enough = evaluation.users >= evaluation.rules.minimum_users
    measured = sentence(evaluation)
    if gain is not None and enough and gain.high < 0:
        return Decision(
            verdict="worse than popularity",
            algorithm="popularity",
            provisional=True,
            reason=f"{measured} ALS is worse; popularity is served under this version.",
        )
    if gain is not None and enough and gain.low > 0:
        return Decision(
            verdict="better than popularity",
            algorithm="als",
            provisional=False,
            reason=f"{measured} ALS is better and is served.",
        )
    return Decision(
        verdict="cannot tell",
        algorithm="als",
        provisional=True,
        reason=f"{measured} That cannot tell which is better; ALS is served provisionally.",
    )


def keep_champion(evaluation: Evaluation, candidate: int, champion: int) -> Decision:
    """Judge a candidate while there is a champion: it stays a candidate, whatever its figures."""
    alone = judge_first(evaluation)
    return replace(
        alone,
        reason=f"Version {champion} stays champion: versions are not yet compared automatically. "
        f"{sentence(evaluation)} Compare the metrics of versions {champion} and {candidate} in the "
        "table model_versions.",
    )
