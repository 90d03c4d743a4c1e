"""The `ingest` stage as Dagster assets: what the source holds, in the lake, dealt to days."""

from collections.abc import Iterator, Mapping
from datetime import UTC
from typing import Any

import dagster as dg

from moovitamix.errors import SourceStartedAnew
from moovitamix.ingest import describe
from moovitamix.partitions import daily, days_of, single_run
from moovitamix.resources import Lake, Source, Warehouse
from moovitamix.tabular import KIND, tell_days


class PullConfig(dg.Config):
    """How to treat the pull that is there.

    Attributes:
        refresh: Pull again although a kept pull began after these days were over.
    """

    refresh: bool = False


SAME_WORLD = "same_world"


def _spec(endpoint: str, description: str) -> dg.AssetSpec:
    return dg.AssetSpec(
        f"raw_{endpoint}",
        description=description,
        group_name="ingest",
        owners=["team:data-engineering"],
        kinds={"parquet", "api", KIND},
        metadata=describe.RAW[f"raw_{endpoint}"].definition(),
    )


@dg.multi_asset(
    name="pull",
    pool="source",
    specs=[
        _spec("tracks", "The tracks dealt to a day: released or last changed on it."),
        _spec("users", "The users dealt to a day: signed up or last changed on it."),
        _spec("listen_history", "The listen records dealt to a day, one user's session each."),
    ],
    check_specs=[
        dg.AssetCheckSpec(
            SAME_WORLD,
            asset=f"raw_{endpoint}",
            description=(
                "At least half of the last pull's records are there under their ids. Otherwise the "
                "source has started anew, and its ids stand for others: nothing is changed."
            ),
            blocking=True,
        )
        for endpoint in ("tracks", "users")
    ],
    partitions_def=daily,
    backfill_policy=single_run,
)
def pull(
    context: dg.AssetExecutionContext,
    config: PullConfig,
    source: Source,
    lake: Lake,
    warehouse: Warehouse,
) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
    """Make sure that a kept pull began after these days were over; pull only if there is none.

    The source has no date filter: one pull reads everything, and serves any number of days.
    """
    from moovitamix.ingest.contract import ENDPOINTS
    from moovitamix.ingest.ensure import ensure_pull
    from moovitamix.ingest.slices import count_dealt

    days = days_of(context.partition_time_window)
    try:
        kept = ensure_pull(
            source, lake.open(), warehouse, days, refresh=config.refresh, log=context.log.info
        )
    except SourceStartedAnew as anew:
        # A check that fails with its asset is on record all the same, and alerts hang on checks.
        yield from _worlds(anew.left)
        raise
    yield from _worlds({})
    for endpoint in ENDPOINTS:
        asset, dealt = f"raw_{endpoint.name}", count_dealt(lake.open(), endpoint, days)
        tell_days(context, asset, describe.RAW[asset], days, dealt)
        yield dg.MaterializeResult(
            asset_key=asset,
            metadata={
                "records": sum(dealt.values()),
                "pull": kept.name,
                "pulled_at": dg.MetadataValue.timestamp(kept.began.replace(tzinfo=UTC)),
                **{f"pull_{name}": n for name, n in kept.counted(endpoint).items()},
            },
        )


def _worlds(left: Mapping[str, tuple[int, int]]) -> Iterator[dg.AssetCheckResult]:
    """Whether each endpoint is that of the last pull; by what is left, where there are doubts."""
    from moovitamix.ingest.pull import same_world

    for endpoint in ("tracks", "users"):
        before, staying = left.get(endpoint, (0, 0))
        yield dg.AssetCheckResult(
            asset_key=f"raw_{endpoint}",
            check_name=SAME_WORLD,
            passed=same_world(before, staying),
            metadata={"records_before": before, "records_left": staying} if left else {},
        )
