"""Everything that crosses stages: the jobs, and when they run by themselves."""

import warnings
from datetime import UTC, datetime

import dagster as dg

from moovitamix.errors import StoreUnavailable
from moovitamix.observe.alert_sensor import alerts
from moovitamix.partitions import daily
from moovitamix.resources import Cache, Lake, Warehouse
from moovitamix.settings import get_settings

# The sensor's decorator passes on a parameter that is beta, whether it is set or not.
warnings.filterwarnings("ignore", message=".*`owners`.*", category=dg.BetaWarning)

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


@dg.op(description="Prolong the life of the lists that are served; see `serve/life.py`.")
def prolong(context: dg.OpExecutionContext, cache: Cache) -> None:
    """No asset: it makes no list, and what was materialized stays what it was."""
    from moovitamix.serve.life import renew

    with cache.connect() as client:
        renewal = renew(client, cache.prefix)
    served = renewal.generation
    if served is None:
        context.log.warning("Nothing is served any more: the sensor keep_serving publishes again.")
        return
    context.log.info(f"{served.name} is served until {served.expires_at:%Y-%m-%d %H:%M} UTC")
    if renewal.missing:
        context.log.warning(f"{renewal.missing} of its lists are gone: publish again.")


@dg.job(description="Prolong the life of what is served, where no successor has come in time.")
def renew_serving() -> None:
    """Asked for by the sensor `keep_serving`."""
    prolong()


@dg.sensor(
    jobs=[refresh_serving, renew_serving],
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Publishes again when nothing is served (a flush, an eviction), and renews what is about "
        "to expire because no newer day came."
    ),
)
def keep_serving(
    context: dg.SensorEvaluationContext, warehouse: Warehouse, cache: Cache
) -> dg.RunRequest | dg.SkipReason:
    """What is needed is told by `serve/upkeep.py`."""
    from moovitamix.recommend import registry
    from moovitamix.serve.generations import read_current
    from moovitamix.serve.upkeep import upkeep

    try:
        with warehouse.connect() as connection:
            champion = registry.champion(connection)
        with cache.connect() as client:
            current = read_current(client, cache.prefix)
    except StoreUnavailable as error:
        return dg.SkipReason(f"A store does not answer; looked at again in five minutes. {error}")
    needed = upkeep(
        current,
        champion.version if champion else None,
        datetime.now(UTC),
        under_way=_is_under_way(context.instance, refresh_serving.name),
    )
    if needed.need is None:
        return dg.SkipReason(needed.why)
    job = refresh_serving if needed.need == "publish" else renew_serving
    return dg.RunRequest(run_key=needed.key, job_name=job.name, tags={"moovitamix/why": needed.why})


def _is_under_way(instance: dg.DagsterInstance, job: str) -> bool:
    unfinished = [
        dg.DagsterRunStatus.QUEUED,
        dg.DagsterRunStatus.NOT_STARTED,
        dg.DagsterRunStatus.STARTING,
        dg.DagsterRunStatus.STARTED,
    ]
    return bool(instance.get_runs(dg.RunsFilter(job_name=job, statuses=unfinished), limit=1))


JOBS = (ingest_day, retrain, refresh_serving, renew_serving, housekeeping)
SCHEDULES = (ingest_daily, housekeeping_daily)
SENSORS = (keep_serving, alerts)
PARTITIONS = daily
