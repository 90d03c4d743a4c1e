"""The assets of the stage: from the warehouse's plays to the champion.

How each step works is told in the module it calls. Those that bring SciPy and implicit are
imported in the assets, so that loading the graph does not.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl
from pydantic import Field

from moovitamix.durations import parse_duration
from moovitamix.recommend.feature_columns import USER_FEATURES
from moovitamix.resources import Lake, Warehouse
from moovitamix.settings import get_settings
from moovitamix.tabular import KIND, ROWS

if TYPE_CHECKING:
    from moovitamix.recommend.tuning.outcome import Budget

GROUP = "recommend"
OWNERS = ["team:data-science"]


def _whole(table: str) -> dg.AssetDep:
    """The dependency on a daily table as it stands: its newest day is what makes it stale."""
    return dg.AssetDep(table, partition_mapping=dg.LastPartitionMapping())


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"polars", "parquet", KIND},
    metadata=USER_FEATURES.definition(),
    deps=[
        _whole("users"),
        _whole("listen_history"),
        _whole("user_favorite_genres"),
        _whole("track_genres"),
    ],
)
def user_features(
    context: dg.AssetExecutionContext, lake: Lake, warehouse: Warehouse
) -> dg.MaterializeResult[Any]:
    """One row for each user: how much they listen, how lately, and to which genres."""
    from moovitamix.recommend import artifacts, features, interactions

    with warehouse.connect() as connection:
        published = interactions.published(connection)
    with warehouse.hold_erasures() as held:
        frame = features.read_user_features(warehouse, published.as_of)
        held.confirm()
        pointer = artifacts.store_features(lake.open(), frame, published.as_of, published.pull)
    silent = frame.filter(plays=0).height
    context.log.info(f"{frame.height} users, {silent} of them have not listened yet")
    return dg.MaterializeResult(
        metadata={
            ROWS: frame.height,
            **USER_FEATURES.lineage(),
            "as_of": str(pointer.as_of),
            "pull": pointer.pull,
            "file": pointer.name,
            "users_without_plays": silent,
            "users_without_favorite_genres": frame.filter(favorite_genres=[]).height,
        }
    )


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"postgres", "polars", "scipy"},
    deps=[_whole("listen_history"), _whole("users"), _whole("tracks")],
)
def user_item_matrix(
    context: dg.AssetExecutionContext, lake: Lake, warehouse: Warehouse
) -> dg.MaterializeResult[Any]:
    """Who heard which track, and how much that counts: weighted plays, sparse.

    Weighted as the champion needs it, skips and hides against plays. What came after the newest
    published day is left out.
    """
    from moovitamix.recommend import artifacts, interactions, training
    from moovitamix.recommend.matrix import PLAY
    from moovitamix.recommend.matrix_building import build_in_blocks

    with warehouse.connect() as connection:
        published = interactions.published(connection)
    plays = 0

    def counted(blocks: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        nonlocal plays
        for block in blocks:
            plays += block.filter(kind=PLAY).height
            yield block

    parameters = training.matrix_parameters(warehouse)
    with warehouse.hold_erasures() as held:
        found = interactions.stream_interactions(warehouse, published.as_of, parameters.window_days)
        matrix = build_in_blocks(counted(found), parameters, published.as_of)
        held.confirm()
        pointer = artifacts.store_matrix(lake.open(), matrix, published.pull)
    users, tracks = matrix.values.shape
    context.log.info(f"{plays} plays: {users} users, {tracks} tracks, {matrix.values.nnz} pairs")
    return dg.MaterializeResult(
        metadata={
            ROWS: matrix.values.nnz,
            "as_of": str(pointer.as_of),
            "pull": pointer.pull,
            "file": pointer.name,
            "fingerprint": pointer.fingerprint,
            "plays": plays,
            "users": users,
            "tracks": tracks,
            "density": matrix.values.nnz / (users * tracks),
            "parameters": dg.MetadataValue.json(asdict(matrix.parameters)),
        }
    )


class Tuning(dg.Config):
    """How long to search for a better configuration before the fit."""

    tune: str | None = Field(
        default=None,
        description="10m, 90s; 0: refresh the champion's configuration. Unset: MOOVITAMIX_TUNE.",
    )
    trials: int | None = Field(
        default=None,
        ge=0,
        description="At most so many trials; alone, without a limit of time, it is reproducible.",
    )

    def budget(self) -> "Budget":
        """What may be spent: what is set here, else the setting's time."""
        from moovitamix.recommend.tuning.outcome import Budget

        if self.tune is None and self.trials is None:
            return Budget(time=get_settings().tune)
        time: timedelta | None = None if self.tune is None else parse_duration(self.tune)
        return Budget(time=time, trials=self.trials)


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"implicit", "optuna", "postgres"},
    deps=[user_item_matrix, _whole("listen_history")],
    pool="training",
)
def als_model(
    context: dg.AssetExecutionContext, config: Tuning, lake: Lake, warehouse: Warehouse
) -> dg.MaterializeResult[Any]:
    """The ALS model of the best known configuration, fitted to all plays: a candidate.

    The configuration is searched for within the budget, on days that the evaluation does not judge
    by. Whether the model is served is settled by `champion_model`.
    """
    from moovitamix.recommend import training

    candidate = training.fit_candidate(
        warehouse,
        lake.open(),
        context.run.run_id,
        config.budget(),
        _progress(context, "fit"),
        context.log.info,
    )
    found = candidate.parameters["found"]
    context.log.info(f"version {candidate.version} is registered as a candidate, by {found['by']}")
    return dg.MaterializeResult(
        metadata={
            "version": candidate.version,
            "as_of": str(candidate.as_of),
            "pull": candidate.pull,
            "artifact": candidate.artifact,
            "matrix_fingerprint": candidate.matrix_fingerprint,
            "found_by": found["by"],
            "why": found["why"],
            "parameters": dg.MetadataValue.json(candidate.parameters),
        }
    )


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"implicit", "postgres"},
    deps=[als_model, _whole("listen_history")],
)
def model_evaluation(
    context: dg.AssetExecutionContext, lake: Lake, warehouse: Warehouse
) -> dg.MaterializeResult[Any]:
    """How well the candidate's configuration predicts what users hear next.

    Fitted to the past alone, it is judged by the last days, next to the champion, to popularity,
    to item-item and to other baselines.
    """
    from moovitamix.recommend import figures, training
    from moovitamix.recommend.evaluation import EvaluationRules

    candidate, evaluation = training.evaluate_candidate(
        warehouse,
        lake.open(),
        context.run.run_id,
        EvaluationRules(),
        _progress(context, "fit to the past"),
    )
    context.log.info(figures.sentence(evaluation))
    warnings = figures.warnings(evaluation)
    return dg.MaterializeResult(
        metadata={
            **({"baselines that rank better": "\n".join(warnings)} if warnings else {}),
            "version": candidate.version,
            "split": evaluation.split,
            "cut_off": evaluation.cut_off or "none",
            "users": evaluation.users,
            "discoveries": evaluation.discoveries,
            "unreachable": evaluation.unreachable,
            "replay_users": evaluation.replay_users,
            "catalogue": evaluation.catalogue,
            "figures": dg.MetadataValue.md(figures.table(evaluation)),
            "evaluation": dg.MetadataValue.json(evaluation.to_json()),
            **figures.series(evaluation),
        }
    )


@dg.asset(group_name=GROUP, owners=OWNERS, kinds={"postgres"}, deps=[model_evaluation])
def champion_model(
    context: dg.AssetExecutionContext, lake: Lake, warehouse: Warehouse
) -> dg.MaterializeResult[Any]:
    """The one version that is served.

    The first candidate is promoted: provisionally when it cannot be told from popularity, with
    popularity in its place when it is worse. After it a new configuration has to be shown to be
    better, and newer data for the champion's configuration is promoted unless shown to be worse.
    While a rollback pins the champion, nothing is promoted.

    At the end, files of old versions are removed, and MLflow is told where it is configured.
    """
    from moovitamix.observe.online import lately
    from moovitamix.recommend import mirror, prune, training, verdict

    champion, decision = training.settle_candidate(warehouse, context.run.run_id)
    removed: int | None = None
    try:
        removed = prune.remove_old(warehouse, lake.open(), prune.configured_rule())
    except OSError as error:  # what was promoted is promoted; the next training tries again
        context.log.warning(f"Old files could not be removed from the lake: {error}")
    mirrored = mirror.mirror(warehouse)
    if mirrored is not None:
        (context.log.info if mirrored.well else context.log.warning)(mirrored.told)
    # Last: a run's progress shows what was said last.
    context.log.info(
        f"version {champion.version} is the champion. {decision.verdict}: {decision.reason}"
    )
    return dg.MaterializeResult(
        metadata={
            "version": champion.version,
            "algorithm": champion.algorithm,
            "provisional": champion.provisional,
            "as_of": str(champion.as_of),
            "verdict": decision.verdict,
            "promoted": decision.promoted,
            "reason": decision.reason,
            "why": dg.MetadataValue.md(verdict.markdown(decision)),
            "criteria": dg.MetadataValue.json([asdict(one) for one in decision.criteria]),
            "online, last 28 days": dg.MetadataValue.md(
                verdict.online_markdown(lately(warehouse), champion.version)
            ),
            "old_files_removed": removed,
            **({"mlflow": mirrored.told} if mirrored is not None else {}),
        }
    )


def _progress(context: dg.AssetExecutionContext, what: str) -> Callable[[int, int], None]:
    def tell(iteration: int, iterations: int) -> None:
        context.log.info(f"{what}: iteration {iteration} of {iterations}")

    return tell
