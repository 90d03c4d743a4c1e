"""Who takes part in an evaluation: the candidate, the champion, and baselines, fitted to the past.

How each ranks is told in `rankers.py` and the modules of the models.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from moovitamix.recommend import rankers
from moovitamix.recommend.als import AlsModel, AlsParameters, bound_regularization, fit_als
from moovitamix.recommend.blend import ALS_ALONE, BlendParameters
from moovitamix.recommend.ease import fit_ease
from moovitamix.recommend.evaluation import EvaluationRules
from moovitamix.recommend.matrix import MatrixParameters, UserItemMatrix
from moovitamix.recommend.matrix_building import build_matrix
from moovitamix.recommend.neighbours import similarities
from moovitamix.recommend.rankers import Audience, Contender, Lists
from moovitamix.recommend.split import Split


@dataclass(frozen=True, slots=True)
class Rival:
    """The champion, to be judged beside a candidate.

    Attributes:
        matrix: Its configuration, to be fitted to the same past; see `als` and `blend`.
        als: As above.
        model: Its factors as they stand, fitted to data up to `model.as_of`.
        blend: As above.
    """

    matrix: MatrixParameters
    als: AlsParameters
    model: AlsModel
    blend: BlendParameters = ALS_ALONE


def models(
    split: Split,
    matrix_parameters: MatrixParameters,
    parameters: AlsParameters,
    blend: BlendParameters,
    champion: Rival | None,
    on_iteration: Callable[[int, int], None] | None,
) -> dict[str, Contender]:
    """The models that are judged, each with the past's plays as it needs them.

    The past may be much thinner than the data a version is fitted to: what is fitted here has its
    regularization bounded by the past.
    """
    own = build_matrix(split.seen, matrix_parameters, split.as_of)
    model = fit_als(own, bound_regularization(parameters, own), on_iteration)
    found = {rankers.CANDIDATE: Contender(model, own, blend, _recent(split, blend))}
    if champion is None:
        return found
    theirs = build_matrix(split.seen, champion.matrix, split.as_of)
    recent = _recent(split, champion.blend)
    configuration = (champion.matrix, champion.als, champion.blend)
    if configuration != (matrix_parameters, parameters, blend):
        model = fit_als(theirs, bound_regularization(champion.als, theirs))
        found[rankers.CHAMPION] = Contender(model, theirs, champion.blend, recent)
    if split.cut_off is not None and champion.model.as_of <= split.as_of:
        found[rankers.PRODUCTION] = Contender(champion.model, theirs, champion.blend, recent)
    return found


def _recent(split: Split, blend: BlendParameters) -> UserItemMatrix | None:
    return build_matrix(split.seen, blend.recent, split.as_of) if blend.own_plays else None


def baselines(audience: Audience, split: Split, rules: EvaluationRules) -> dict[str, Lists]:
    """The lists of what any model has to be compared with; for replay also the own plays."""
    past = audience.past
    similar = similarities(past.values)
    lists = {
        rankers.POPULARITY: rankers.by_popularity(audience),
        rankers.ITEM_ITEM: rankers.by_similar_tracks(audience, similar),
    }
    if len(past.tracks) <= rules.ease_tracks:
        weights = fit_ease(past.values, rules.ease_regularization)
        lists[rankers.EASE] = rankers.by_ease(audience, weights)
    if "replay" in audience.tasks:
        decay = MatrixParameters(half_life_days=rules.own_plays_half_life_days)
        decayed = build_matrix(split.past, decay, split.as_of)
        alone = replace(audience, tasks=["replay"])
        lists[rankers.OWN_PLAYS] = rankers.by_own_plays(alone, decayed)
    return lists
