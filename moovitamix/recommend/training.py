"""The steps of a training: fit a candidate, evaluate it, settle what becomes of it.

Each is done once for a run, however often it is tried. How each works is told in the modules
it calls.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, cast

from moovitamix.errors import NothingToDo
from moovitamix.recommend import archive, artifacts, criteria, registry, succession
from moovitamix.recommend.als import AlsParameters, bound_regularization, fit_als
from moovitamix.recommend.blend import BlendParameters
from moovitamix.recommend.blend_choice import choose_blend
from moovitamix.recommend.contest import Rival
from moovitamix.recommend.evaluation import Evaluation, EvaluationRules, evaluate
from moovitamix.recommend.gate import Decision, Verdict, hold_back, judge
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
                "found": {"regularization": parameters.regularization},
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
        registry.record_evaluation(
            connection,
            candidate.version,
            evaluation.to_json(),
            against=_opponent(candidate, champion),
        )
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
        decision = judge(recorded_evaluation(candidate), candidate, champion)
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
