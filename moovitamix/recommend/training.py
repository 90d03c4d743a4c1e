"""The steps of a training: fit a candidate, evaluate it, settle what becomes of it.

Each is done once for a run, however often it is tried. How each works is told in the modules
it calls.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

from moovitamix.errors import NothingToDo
from moovitamix.recommend import archive, artifacts, registry
from moovitamix.recommend.als import AlsParameters, bound_regularization, fit_als
from moovitamix.recommend.blend import BlendParameters
from moovitamix.recommend.blend_choice import choose_blend
from moovitamix.recommend.contest import Rival
from moovitamix.recommend.evaluation import Evaluation, EvaluationRules, evaluate
from moovitamix.recommend.gate import Decision, judge_first, keep_champion
from moovitamix.recommend.interactions import read_interactions
from moovitamix.recommend.matrix import MatrixParameters
from moovitamix.recommend.registry import ModelVersion

if TYPE_CHECKING:
    from moovitamix.ingest.lake import LakeStore
    from moovitamix.resources import Warehouse

OnIteration = Callable[[int, int], None]


def fit_candidate(
    warehouse: Warehouse,
    lake: LakeStore,
    run_id: str,
    parameters: AlsParameters,
    on_iteration: OnIteration | None = None,
) -> ModelVersion:
    """Fit a model to the current matrix, keep it in the lake, register it as a candidate.

    What counts beside it where repeats are allowed is chosen on days before the evaluation's.
    The regularization is lowered where the data is too thin for it, and registered so. A run that
    has already registered its version gets it back: nothing is fitted again.

    Raises:
        NothingToDo: When there is no matrix.
    """
    with warehouse.connect() as connection:
        known = registry.of_run(connection, run_id)
    if known is not None:
        return known
    pointer = artifacts.current_matrix(lake)
    matrix = artifacts.load_current_matrix(lake)
    bounded = bound_regularization(parameters, matrix)
    model = fit_als(matrix, bounded, on_iteration)
    artifact = artifacts.store_model(lake, run_id, model)
    plays = read_interactions(warehouse, matrix.as_of)
    blend = choose_blend(plays, matrix.as_of, matrix.parameters, bounded, EvaluationRules())
    with warehouse.connect() as connection:
        return registry.register(
            connection,
            run_id=run_id,
            as_of=matrix.as_of,
            pull=pointer.pull,
            matrix_fingerprint=matrix.fingerprint,
            parameters={
                "matrix": asdict(matrix.parameters),
                "als": asdict(bounded),
                "blend": asdict(blend),
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
    seen the future. A champion other than the candidate is judged beside it; one whose artifact is
    gone or damaged is not, and the check on `champion_model` tells of it.

    Raises:
        NothingToDo: When there is no candidate.
    """
    with warehouse.connect() as connection:
        candidate = registry.under_judgement(connection, run_id)
        champion = registry.champion(connection)
    evaluation = evaluate(
        read_interactions(warehouse, candidate.as_of),
        candidate.as_of,
        MatrixParameters(**candidate.parameters["matrix"]),
        AlsParameters(**candidate.parameters["als"]),
        rules,
        on_iteration,
        blend=BlendParameters.of(candidate.parameters),
        champion=_rival(lake, champion, candidate),
    )
    with warehouse.connect() as connection:
        registry.record_evaluation(connection, candidate.version, evaluation.to_json())
    return candidate, evaluation


def _rival(lake: LakeStore, champion: ModelVersion | None, candidate: ModelVersion) -> Rival | None:
    if champion is None or champion.version == candidate.version:
        return None
    try:
        model = artifacts.load_model(lake, champion.artifact)
    except archive.DamagedArtifact:
        return None
    return Rival(
        MatrixParameters(**champion.parameters["matrix"]),
        AlsParameters(**champion.parameters["als"]),
        model,
        BlendParameters.of(champion.parameters),
    )


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
