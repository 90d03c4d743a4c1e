"""Which configuration a training fits: tuned, the champion's again, or the defaults; and why.

How the search goes is told in `tuning/`, what becomes of the candidate in `gate.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from moovitamix.recommend.configuration import Configuration
from moovitamix.recommend.evaluation import EvaluationRules
from moovitamix.recommend.tuning.outcome import Budget
from moovitamix.recommend.tuning.search import tune
from moovitamix.recommend.tuning.validation import cut_validation

if TYPE_CHECKING:
    from moovitamix.ingest.lake import LakeStore
    from moovitamix.recommend.registry import ModelVersion

By = Literal["defaults", "refresh", "tuning"]

SEED = 20260901


@dataclass(frozen=True, slots=True)
class Choice:
    """A configuration, and how it was found.

    Attributes:
        configuration: To be fitted.
        by: "tuning": found by a search. "refresh": the champion's. "defaults": there is none.
        why: A sentence.
        champion: The version whose configuration was in force, if any.
        tuning: The figures of the search (see `Tuned`); empty without one.
    """

    configuration: Configuration
    by: By
    why: str
    champion: int | None = None
    tuning: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """How it was found, for the registry: under `found` in a version's parameters."""
        return {
            "by": self.by,
            "why": self.why,
            "champion": self.champion,
            "tuning": self.tuning,
            # What is fitted may have less: see `bound_regularization`.
            "regularization": self.configuration.als.regularization,
        }


def configuration_of(version: ModelVersion) -> Configuration:
    """The configuration that a version was to be fitted with, before it was bounded."""
    configuration = Configuration.from_json(version.parameters)
    wanted = version.parameters.get("found", {}).get("regularization")
    if wanted is None:
        return configuration
    return replace(configuration, als=replace(configuration.als, regularization=wanted))


def in_force(champion: ModelVersion | None) -> Choice:
    """The configuration without a search: the champion's, or the defaults."""
    if champion is None:
        return Choice(Configuration(), "defaults", "There is no champion: the defaults are taken.")
    return Choice(
        configuration_of(champion),
        "refresh",
        f"The configuration of version {champion.version}, on newer data.",
        champion.version,
    )


def choose(
    champion: ModelVersion | None,
    budget: Budget,
    interactions: Callable[[], pl.DataFrame],
    as_of: date,
    lake: LakeStore,
    tell: Callable[[str], None],
    *,
    rules: EvaluationRules | None = None,
    seed: int = SEED,
) -> Choice:
    """Search within a budget; without one, or where the data is too little, go without.

    Args:
        champion: Whose configuration is to be bettered, if any.
        budget: For the search.
        interactions: Reads all plays up to the day; called only when there is a search.
        as_of: The last day of the data.
        lake: Where trials are kept.
        tell: Takes lines of progress.
        rules: Of the evaluation, which tell what must not be seen.
        seed: Of the search.
    """
    known = in_force(champion)
    if budget.is_none:
        return known
    validation = cut_validation(interactions(), as_of, rules or EvaluationRules())
    lacking = validation.too_little
    if lacking:
        return replace(known, why=f"Too little data to tune: {lacking}. {known.why}")
    users, pairs = len(validation.users), validation.relevant.height
    tell(f"tuning on {users} users with {pairs} discoveries up to {validation.as_of}")
    tuned = tune(validation, known.configuration, budget, lake, seed=seed, tell=tell)
    figures = {**tuned.to_json(), "seed": seed}
    if not tuned.better:
        why = f"Of {tuned.trials} trials none could be told from the first. {known.why}"
        return replace(known, why=why, tuning=figures)
    return Choice(
        tuned.configuration,
        "tuning",
        f"The best of {tuned.trials} trials: NDCG@{validation.k} {tuned.ndcg:.4f} on the "
        f"validation window, {tuned.first_ndcg:.4f} before.",
        known.champion,
        figures,
    )
