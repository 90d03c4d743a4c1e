"""Everything that crosses stages: the jobs, and when they run by themselves."""

import dagster as dg

from moovitamix.partitions import daily
from moovitamix.resources import Cache, Lake, Warehouse
from moovitamix.settings import get_settings

FEATURES = dg.AssetSelection.assets("user_features", "user_item_matrix")

ingest_day = dg.define_asset_job(
    "ingest_day",
    selection=dg.AssetSelection.groups("ingest", "warehouse"),
    description=(
        "Pull what is missing, stage, judge and publish a day, or a range of days in one run."
    ),
)

retrain = dg.define_asset_job(
    "retrain",
    selection=FEATURES
    | dg.AssetSelection.assets("als_model", "model_evaluation", "champion_model"),
    description="Fit a model on all published days, evaluate it, and promote it if it is fit.",
)

refresh_serving = dg.define_asset_job(
    "refresh_serving",
    selection=FEATURES | dg.AssetSelection.groups("serve"),
    description="Score the champion on the newest days and publish one cache generation.",
)

ingest_daily = dg.build_schedule_from_partitioned_job(
    ingest_day,
    name="ingest_daily",
    description="Every night at 02:15 UTC: the day before.",
    hour_of_day=2,
    minute_of_hour=15,
    default_status=dg.DefaultScheduleStatus.RUNNING,
)


@dg.op(description="Remove what is older than the settings allow; see `retention.py`.")
def keep_house(
    context: dg.OpExecutionContext, lake: Lake, warehouse: Warehouse, cache: Cache
) -> None:
    """No asset: it makes nothing, and what it removes is of all stages."""
    from moovitamix import retention

    tidied = retention.keep_house(warehouse, lake.open(), cache, get_settings())
    context.log.info(tidied.sentence())


@dg.job(
    description="Erase users long gone from the source, and remove what old pulls alone hold.",
)
def housekeeping() -> None:
    """What is kept for how long is told by `MOOVITAMIX_KEEP_…` and `…_AFTER_DAYS`."""
    keep_house()


housekeeping_daily = dg.ScheduleDefinition(
    name="housekeeping_daily",
    description="Every night at 03:45 UTC, after the load.",
    job=housekeeping,
    cron_schedule="45 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)

JOBS = (ingest_day, retrain, refresh_serving, housekeeping)
SCHEDULES = (ingest_daily, housekeeping_daily)
PARTITIONS = daily
