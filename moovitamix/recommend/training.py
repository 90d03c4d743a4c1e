"""The steps of a training: choose and fit a candidate, evaluate it, settle what becomes of it.

Each is done once for a run, however often it is tried. How each works is told in the modules
it calls.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from moovitamix.errors import NothingToDo
from moovitamix.recommend import artifacts, registry
from moovitamix.recommend.als import AlsParameters, bound_regularization, fit_als
from moovitamix.recommend.choice import choose, in_force
from moovitamix.recommend.configuration import Configuration
from moovitamix.recommend.evaluation import Evaluation, EvaluationRules, evaluate
from moovitamix.recommend.gate import Decision, judge_first, keep_champion
from moovitamix.recommend.interactions import read_interactions, stream_interactions
from moovitamix.recommend.matrix import MatrixParameters, build_in_blocks
from moovitamix.recommend.registry import ModelVersion
from moovitamix.recommend.tuning.outcome import Budget

if TYPE_CHECKING:
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

    The data is that of the current matrix, which is taken as it is where the configuration would
    make the same one. The regularization is lowered where the data is too thin for it, and
    registered so. A run that has already registered its version gets it back: nothing is done.

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
    matrix = artifacts.load_current_matrix(lake)
    if matrix.parameters != choice.configuration.matrix:
        plays = stream_interactions(warehouse, pointer.as_of)
        matrix = build_in_blocks(plays, choice.configuration.matrix, pointer.as_of)
    bounded = bound_regularization(choice.configuration.als, matrix)
    model = fit_als(matrix, bounded, on_iteration)
    artifact = artifacts.store_model(lake, run_id, model)
    with warehouse.connect() as connection:
        return registry.register(
            connection,
            run_id=run_id,
            as_of=matrix.as_of,
            pull=pointer.pull,
            matrix_fingerprint=matrix.fingerprint,
            parameters={
                **Configuration(matrix.parameters, bounded).to_json(),
                "found": choice.to_json(),
            },
            artifact=artifact,
        )


def evaluate_candidate(
    warehouse: Warehouse,
    run_id: str,
    rules: EvaluationRules,
    on_iteration: OnIteration | None = None,
) -> tuple[ModelVersion, Evaluation]:
    """Judge the configuration of this run's candidate, or of the newest one, and record it.

    The configuration is fitted anew to the past of the candidate's data; the candidate itself has
    seen the future.

    Raises:
        NothingToDo: When there is no candidate.
    """
    with warehouse.connect() as connection:
        candidate = registry.under_judgement(connection, run_id)
    evaluation = evaluate(
        read_interactions(warehouse, candidate.as_of),
        candidate.as_of,
        MatrixParameters(**candidate.parameters["matrix"]),
        AlsParameters(**candidate.parameters["als"]),
        rules,
        on_iteration,
    )
    with warehouse.connect() as connection:
        registry.record_evaluation(connection, candidate.version, evaluation.to_json())
    return candidate, evaluation


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
    """Promote the candidate where there is no champion, else record its verdict and keep both.

    Returns:
        The champion after that, and what was decided about the candidate.

    Raises:
        NothingToDo: When there is no candidate, or it has not been evaluated.
    """
    with warehouse.connect() as connection:
        registry.lock(connection)
        candidate = registry.under_judgement(connection, run_id)
        evaluation = recorded_evaluation(candidate)
        champion = registry.champion(connection)
        if champion is not None and champion.version != candidate.version:
            decision = keep_champion(evaluation, candidate.version, champion.version)
            registry.record_verdict(connection, candidate.version, decision)
            return champion, decision
        decision = judge_first(evaluation)
        return registry.promote(connection, candidate.version, decision), decision
