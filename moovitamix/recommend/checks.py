"""The checks of the stage. What they ask is in `soundness.py`; here the answers reach Dagster."""

from typing import TYPE_CHECKING

import dagster as dg

from moovitamix.resources import Lake, Warehouse

if TYPE_CHECKING:
    from moovitamix.ingest.lake import LakeStore
    from moovitamix.recommend.als import AlsModel


@dg.asset_check(asset="user_features", name="complete")
def user_features_are_complete(lake: Lake, warehouse: Warehouse) -> dg.AssetCheckResult:
    """There is one row for each user of the warehouse, and nothing is missing in it."""
    from moovitamix.recommend import artifacts, soundness

    with warehouse.connect() as connection:
        row = connection.execute("SELECT count(*) FROM users").fetchone()
    features = artifacts.load_current_features(lake.open())
    return _result(soundness.feature_faults(features, row[0] if row else 0))


@dg.asset_check(asset="user_item_matrix", name="sound", blocking=True)
def user_item_matrix_is_sound(lake: Lake) -> dg.AssetCheckResult:
    """Ids ascend, values are finite and above 0, and no user or track is without plays."""
    from moovitamix.recommend import archive, artifacts, soundness

    try:
        matrix = artifacts.load_current_matrix(lake.open())
    except archive.DamagedArtifact as error:
        return _result([str(error)])
    return _result(soundness.matrix_faults(matrix))


@dg.asset_check(asset="user_item_matrix", name="like_the_last")
def user_item_matrix_is_like_the_last(lake: Lake) -> dg.AssetCheckResult:
    """Half of the last matrix' users, tracks and pairs are there, the density within threefold."""
    from moovitamix.recommend import artifacts, soundness

    pointer = artifacts.current_matrix(lake.open())
    faults = soundness.size_faults(pointer.size, pointer.former)
    return _result(faults, dg.AssetCheckSeverity.WARN)


@dg.asset_check(asset="als_model", name="sound", blocking=True)
def als_model_is_sound(
    context: dg.AssetCheckExecutionContext, lake: Lake, warehouse: Warehouse
) -> dg.AssetCheckResult:
    """Factors are finite, have the shape of their ids, and have not collapsed."""
    from moovitamix.recommend import registry, soundness

    with warehouse.connect() as connection:
        candidate = registry.under_judgement(connection, context.run.run_id)
    model, faults = _load(lake.open(), candidate.artifact)
    return _result(faults if model is None else soundness.model_faults(model))


@dg.asset_check(asset="model_evaluation", name="enough_users")
def model_evaluation_has_enough_users(
    context: dg.AssetCheckExecutionContext, warehouse: Warehouse
) -> dg.AssetCheckResult:
    """There are enough users to tell a model from popularity."""
    from moovitamix.recommend import registry, soundness, training

    with warehouse.connect() as connection:
        candidate = registry.under_judgement(connection, context.run.run_id)
    evaluation = training.recorded_evaluation(candidate)
    return _result(soundness.evaluation_faults(evaluation), dg.AssetCheckSeverity.WARN)


@dg.asset_check(asset="champion_model", name="as_registered", blocking=True)
def champion_model_is_served_as_registered(lake: Lake, warehouse: Warehouse) -> dg.AssetCheckResult:
    """The registry has exactly one champion, and its artifact loads and is what it says."""
    from moovitamix.recommend import registry, soundness

    with warehouse.connect() as connection:
        versions = registry.history(connection)
    champion = next((version for version in versions if version.status == "champion"), None)
    model, faults = _load(lake.open(), champion.artifact) if champion else (None, [])
    return _result(faults or soundness.champion_faults(versions, model))


def _load(lake: "LakeStore", artifact: str) -> tuple["AlsModel | None", list[str]]:
    """A model, or why there is none."""
    from moovitamix.recommend import archive, artifacts

    try:
        return artifacts.load_model(lake, artifact), []
    except archive.DamagedArtifact as error:
        return None, [str(error)]


def _result(
    faults: list[str], severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR
) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=not faults,
        severity=severity,
        description="; ".join(faults) or None,
        metadata={"faults": len(faults)},
    )
