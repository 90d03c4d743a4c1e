"""The steps of a training: choose and fit a candidate, evaluate it, settle what becomes of it.

Each is done once for a run, however often it is tried. How each works is told in the modules
it calls.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from moovitamix.errors import NothingToDo
from moovitamix.recommend import archive, artifacts, criteria, experiments, registry, succession
from moovitamix.recommend.als import bound_regularization, fit_als
from moovitamix.recommend.blend_choice import choose_blend
from moovitamix.recommend.choice import choose, configuration_of, in_force
from moovitamix.recommend.configuration import Configuration
from moovitamix.recommend.contest import Rival
from moovitamix.recommend.evaluate import evaluate
from moovitamix.recommend.evaluation import Evaluation, EvaluationRules
from moovitamix.recommend.gate import Decision, Verdict, hold_back, judge
from moovitamix.recommend.interactions import read_interactions, stream_interactions
from moovitamix.recommend.likeness import same_configuration
from moovitamix.recommend.matrix import MatrixParameters
from moovitamix.recommend.matrix_building import build_in_blocks
from moovitamix.recommend.new_releases import ReleaseParameters
from moovitamix.recommend.registry import ModelVersion
from moovitamix.recommend.split import split_plays
from moovitamix.recommend.track_features import read_track_features
from moovitamix.recommend.tuning.outcome import Budget

if TYPE_CHECKING:
    import polars as pl

    from moovitamix.ingest.lake import LakeStore
    from moovitamix.resources import Warehouse

OnIteration = Callable[[int, int], None]


def matrix_parameters(warehouse: Warehouse) -> MatrixParameters:
    """How the current matrix has to be made: as the champion needs it, or the default."""
    with warehouse.connect() as connection:
        return in_force(registry.champion(connection)).configuration.matrix


def fit_candidate(
    warehouse: Warehouse,
    lake: LakeStore,
    run_id: str,
    budget: Budget,
    on_iteration: OnIteration | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> ModelVersion:
    """Choose a configuration, fit it to the newest data, and register the model as a candidate.

    What counts beside it where repeats are allowed is chosen on days before the evaluation's, the
    places for new releases are the default ones; a refresh has the champion's. The data is that of
    the current matrix, which is taken as it is where the configuration would make the same one. The
    regularization is lowered where the data is too thin for it, and registered so. A run that has
    already registered its version gets it back: nothing is done.

    Args:
        warehouse: Holds the registry and the plays.
        lake: Holds the matrix; gets the model, and the trials of a search.
        run_id: Dagster's id of the run.
        budget: For the search; with none, the champion's configuration is refreshed.
        on_iteration: As in `fit_als`.
        tell: Takes lines of progress.

    Raises:
        NothingToDo: When there is no matrix.
    """
    with warehouse.connect() as connection:
        known = registry.of_run(connection, run_id)
        champion = registry.champion(connection)
    if known is not None:
        return known
    pointer = artifacts.current_matrix(lake)
    choice = choose(
        champion,
        budget,
        lambda: read_interactions(warehouse, pointer.as_of),
        pointer.as_of,
        lake,
        tell,
    )
    tell(choice.why)
    wanted = choice.configuration
    # Not around the search, which takes long and writes nothing of anybody.
    with warehouse.hold_erasures() as held:
        pointer = artifacts.current_matrix(lake)  # the search took long: there may be a newer one
        matrix = artifacts.load_pointed(lake, pointer)
        if matrix.parameters != wanted.matrix:
            window = wanted.matrix.window_days
            plays = stream_interactions(warehouse, pointer.as_of, window)
            matrix = build_in_blocks(plays, wanted.matrix, pointer.as_of)
        bounded = bound_regularization(wanted.als, matrix)
        model = fit_als(matrix, bounded, on_iteration)
        held.confirm()
        artifact = artifacts.store_model(lake, run_id, model)
    blend, releases = wanted.blend, wanted.releases
    if choice.by != "refresh":
        known_plays = read_interactions(warehouse, matrix.as_of)
        blend = choose_blend(
            known_plays, matrix.as_of, matrix.parameters, bounded, EvaluationRules()
        )
        releases = ReleaseParameters()
    with warehouse.connect() as connection:
        return registry.register(
            connection,
            run_id=run_id,
            as_of=matrix.as_of,
            pull=pointer.pull,
            matrix_fingerprint=matrix.fingerprint,
            parameters={
                **Configuration(matrix.parameters, bounded, blend, releases).to_json(),
                "found": choice.to_json(),
            },
            artifact=artifact,
        )


def evaluate_candidate(
    warehouse: Warehouse,
    lake: LakeStore,
    run_id: str,
    rules: EvaluationRules,
    on_iteration: OnIteration | None = None,
) -> tuple[ModelVersion, Evaluation]:
    """Judge the configuration of this run's candidate, or of the newest one, and record it.

    The configuration is fitted anew to the past of the candidate's data; the candidate itself has
    seen the future. A refresh is tested on days that production has not seen either. A champion
    other than the candidate is judged beside it; one whose artifact is gone or damaged is not, and
    the check on `champion_model` tells of it.

    Raises:
        NothingToDo: When there is no candidate.
    """
    with warehouse.connect() as connection:
        candidate = registry.under_judgement(connection, run_id)
        champion = registry.champion(connection)
    plays = read_interactions(warehouse, candidate.as_of)
    wanted = configuration_of(candidate)
    evaluation = evaluate(
        plays,
        candidate.as_of,
        wanted.matrix,
        wanted.als,
        _on_fresh_days(rules, plays, candidate, champion),
        on_iteration,
        blend=wanted.blend,
        champion=_rival(lake, champion, candidate),
        tracks=read_track_features(warehouse, candidate.as_of),
        releases=wanted.releases,
    )
    with warehouse.connect() as connection:
        registry.record_evaluation(
            connection,
            candidate.version,
            evaluation.to_json(),
            against=_opponent(candidate, champion),
        )
    return candidate, evaluation


def _on_fresh_days(
    rules: EvaluationRules,
    plays: pl.DataFrame,
    candidate: ModelVersion,
    champion: ModelVersion | None,
) -> EvaluationRules:
    """For a refresh of a young champion: a test that begins where production's data ends.

    Of a longer one production has seen a part, and could not be judged by any of it. Days that are
    too few to tell anything, or leave too few users for a temporal split, change nothing.
    """
    if champion is None or not same_configuration(candidate.parameters, champion.parameters):
        return rules
    fresh = (candidate.as_of - champion.as_of).days
    if not criteria.LEAST_FRESH_DAYS <= fresh < rules.test_days:
        return rules
    split = split_plays(plays, candidate.as_of, test_days=fresh, minimum_users=rules.minimum_users)
    return rules if split.cut_off is None else replace(rules, test_days=fresh)


def _rival(lake: LakeStore, champion: ModelVersion | None, candidate: ModelVersion) -> Rival | None:
    if champion is None or champion.version == candidate.version:
        return None
    try:
        model = artifacts.load_model(lake, champion.artifact)
    except archive.DamagedArtifact:
        return None
    wanted = configuration_of(champion)
    return Rival(wanted.matrix, wanted.als, model, wanted.blend)


def _opponent(candidate: ModelVersion, champion: ModelVersion | None) -> int | None:
    """The champion that a candidate is compared with; that of its time when it is the champion."""
    if champion is None or champion.version == candidate.version:
        return candidate.judged_against
    return champion.version


def recorded_evaluation(version: ModelVersion) -> Evaluation:
    """The figures that the registry holds of a version.

    Raises:
        NothingToDo: When it has not been evaluated.
    """
    if not version.metrics:
        raise NothingToDo(
            f"Version {version.version} has not been evaluated: materialize `model_evaluation`."
        )
    return Evaluation.from_json(version.metrics)


def settle_candidate(warehouse: Warehouse, run_id: str) -> tuple[ModelVersion, Decision]:
    """Let the gate decide about the candidate, and do as it says in the same transaction.

    While a rollback pins the champion, what would be promoted is recorded as such and waits. A
    candidate that is the champion already, for its run is done again, stays it.

    Returns:
        The champion after that, and what was decided about the candidate.

    Raises:
        NothingToDo: When there is no candidate, or it has not been evaluated.
    """
    with warehouse.connect() as connection:
        registry.lock(connection)
        candidate = registry.under_judgement(connection, run_id)
        champion = registry.champion(connection)
        if champion is not None and champion.version == candidate.version:
            return champion, _recorded_decision(champion)
        lost = None
        if champion is not None:
            lost = experiments.lost_by(connection, candidate, champion)
        decision = judge(recorded_evaluation(candidate), candidate, champion, lost)
        if champion is not None and succession.pin(connection) is not None:
            decision = hold_back(decision, champion.version)
        if champion is None or decision.promoted:
            return registry.promote(connection, candidate.version, decision), decision
        registry.record_verdict(connection, candidate.version, decision)
        return champion, decision


def _recorded_decision(version: ModelVersion) -> Decision:
    return Decision(
        verdict=cast("Verdict", version.verdict),
        algorithm=version.algorithm,
        provisional=version.provisional,
        reason=version.reason or "",
        criteria=tuple(criteria.from_json(version.criteria)),
    )
