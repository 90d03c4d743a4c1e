"""Everything that crosses stages: the jobs, and when they run by themselves."""

import warnings
from datetime import UTC, datetime, timedelta
from functools import cache

import dagster as dg

from moovitamix.chores import (
    count_feedback,
    count_feedback_daily,
    housekeeping,
    housekeeping_daily,
    renew_serving,
)
from moovitamix.errors import StoreUnavailable
from moovitamix.observe.alert_sensor import alerts
from moovitamix.observe.failed_runs import BY_HAND
from moovitamix.observe.report_sensors import send_report, write_report
from moovitamix.partitions import daily
from moovitamix.resources import Cache, Warehouse
from moovitamix.settings import get_settings

# The sensor's decorator passes on a parameter that is beta, whether it is set or not.
warnings.filterwarnings("ignore", message=".*`owners`.*", category=dg.BetaWarning)

# Shown with the run that a sensor asked for.
WHY = "moovitamix/why"
_ASKED_AT = "moovitamix/asked_at"
# What a training makes that nothing else does.
_MODEL = dg.AssetKey("als_model")

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

observe_day = dg.define_asset_job(
    "observe_day",
    selection=dg.AssetSelection.assets("data_drift"),
    description="Read whether a day, or each of a range, looks like the champion's data.",
)

report_day = dg.define_asset_job(
    "report_day",
    selection=dg.AssetSelection.assets("daily_report"),
    description="Write the report of a day, or of each of a range.",
)

ingest_daily = dg.build_schedule_from_partitioned_job(
    ingest_day,
    name="ingest_daily",
    description="Every night at 02:15 UTC: the day before.",
    hour_of_day=2,
    minute_of_hour=15,
    default_status=dg.DefaultScheduleStatus.RUNNING,
)


@dg.sensor(
    job=ingest_day,
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Loads the days that should be there and are not: after an outage in one run and with one "
        "pull, a blocked day when a newer pull is there or its verdict was accepted."
    ),
)
def load_missing_days(
    context: dg.SensorEvaluationContext, warehouse: Warehouse
) -> dg.RunRequest | dg.SkipReason:
    """What is missing is told by `due.py`."""
    from moovitamix.due import load_due
    from moovitamix.due_state import read_loaded

    try:
        with warehouse.connect() as connection:
            loaded = read_loaded(connection)
    except StoreUnavailable as error:
        return _later(error)
    loading = _is_under_way(context.instance, ingest_day.name)
    due = load_due(loaded, get_settings().present(), under_way=loading)
    if due is None or due.days is None:
        return dg.SkipReason("Days are being loaded." if loading else "No day is missing.")
    first, last = map(str, due.days)
    tags = {WHY: due.why}
    if first == last:
        return dg.RunRequest(run_key=due.key, partition_key=first, tags=tags)
    return dg.RunRequest(
        run_key=due.key,
        tags={
            **tags,
            "dagster/asset_partition_range_start": first,
            "dagster/asset_partition_range_end": last,
        },
    )


@dg.sensor(
    job=observe_day,
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Reads the newest day for drift, once it is in the tables.",
)
def watch_days(
    context: dg.SensorEvaluationContext, warehouse: Warehouse
) -> dg.RunRequest | dg.SkipReason:
    """Whether it is due is told by `due.py`."""
    from moovitamix.due import reading_due
    from moovitamix.due_state import read_readings

    try:
        with warehouse.connect() as connection:
            newest, read = read_readings(connection)
    except StoreUnavailable as error:
        return _later(error)
    busy = any(_is_under_way(context.instance, job.name) for job in (ingest_day, observe_day))
    due = reading_due(newest, read, get_settings().present(), under_way=busy)
    if due is None or due.days is None:
        return dg.SkipReason("The newest day has been read, or days are being loaded.")
    return dg.RunRequest(run_key=due.key, partition_key=str(due.days[0]), tags={WHY: due.why})


@dg.sensor(
    job=retrain,
    minimum_interval_seconds=600,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Trains when there is no champion, when the present has drifted from its data, or when "
        "these are too old: once per champion, cause and cool-down, and not while one is pinned."
    ),
)
def keep_champion(
    context: dg.SensorEvaluationContext, warehouse: Warehouse
) -> dg.RunRequest | dg.SkipReason:
    """Whether one is due is told by `due.py`."""
    from moovitamix.due import training_due
    from moovitamix.due_state import read_champion, read_loaded

    settings = get_settings()
    try:
        with warehouse.connect() as connection:
            champion, loaded = read_champion(connection), read_loaded(connection)
    except StoreUnavailable as error:
        return _later(error)
    due = training_due(
        champion,
        settings.present(),
        newest_day=max(loaded.published, default=None),
        max_age=timedelta(days=settings.retrain_after_days),
        cool_down=timedelta(days=settings.retrain_cool_down_days),
        last_training=_last_training(context.instance),
        under_way=_is_under_way(context.instance, retrain.name)
        or _is_under_way(context.instance, ingest_day.name),
    )
    if due is None:
        return dg.SkipReason("No training is due.")
    return dg.RunRequest(
        run_key=due.key, tags={WHY: due.why, _ASKED_AT: settings.present().isoformat()}
    )


@dg.sensor(
    jobs=[refresh_serving, renew_serving],
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Publishes when there is news (a day, a champion, a blocked track) or nothing is served (a "
        "flush, an eviction), and renews what is about to expire because no newer day came."
    ),
)
def keep_serving(
    context: dg.SensorEvaluationContext, warehouse: Warehouse, cache: Cache
) -> dg.RunRequest | dg.SkipReason:
    """What is needed is told by `serve/upkeep.py`."""
    from moovitamix.recommend import registry
    from moovitamix.serve.generations import read_current
    from moovitamix.serve.news import news_since
    from moovitamix.serve.upkeep import upkeep

    try:
        with cache.connect() as client:
            current = read_current(client, cache.prefix)
        with warehouse.connect() as connection:
            champion = registry.champion(connection)
            today = get_settings().present().astimezone(UTC).date()
            news = (
                news_since(connection, current, champion.version, today)
                if current and champion
                else None
            )
    except StoreUnavailable as error:
        return _later(error)
    needed = upkeep(
        current,
        champion.version if champion else None,
        datetime.now(UTC),
        under_way=_is_under_way(context.instance, refresh_serving.name),
        news=news,
        loading=_is_under_way(context.instance, ingest_day.name),
    )
    if needed.need is None:
        return dg.SkipReason(needed.why)
    job = refresh_serving if needed.need == "publish" else renew_serving
    return dg.RunRequest(run_key=needed.key, job_name=job.name, tags={WHY: needed.why})


def _last_training(instance: dg.DagsterInstance) -> datetime | None:
    """When a training was last asked for, by whomever and in whatever job; None: never."""
    of_model = [one.asset_entry.last_run_id or "" for one in instance.get_asset_records([_MODEL])]
    records = [
        *instance.get_run_records(dg.RunsFilter(job_name=retrain.name), limit=1),
        *filter(None, map(instance.get_run_record_by_id, of_model)),
    ]
    if not records:
        return None
    last = max(records, key=lambda record: record.create_timestamp)
    asked_at = last.dagster_run.tags.get(_ASKED_AT)  # by a clock that may be a simulated one
    return datetime.fromisoformat(asked_at) if asked_at else last.create_timestamp


def _later(error: StoreUnavailable) -> dg.SkipReason:
    return dg.SkipReason(f"A store does not answer; looked at again in some minutes. {error}")


def _is_under_way(instance: dg.DagsterInstance, job: str) -> bool:
    unfinished = [
        dg.DagsterRunStatus.QUEUED,
        dg.DagsterRunStatus.NOT_STARTED,
        dg.DagsterRunStatus.STARTING,
        dg.DagsterRunStatus.STARTED,
        dg.DagsterRunStatus.CANCELING,
    ]
    if instance.get_runs(dg.RunsFilter(job_name=job, statuses=unfinished), limit=1):
        return True
    by_hand = instance.get_runs(dg.RunsFilter(job_name=BY_HAND, statuses=unfinished))
    made = {key for run in by_hand for key in run.asset_selection or ()}
    return bool(made) and not made.isdisjoint(_assets_of(job))


@cache
def _assets_of(job: str) -> frozenset[dg.AssetKey]:
    from moovitamix.definitions import defs  # it is made of this module, among others

    return frozenset(defs.resolve_job_def(job).asset_layer.selected_asset_keys)


JOBS = (
    ingest_day,
    retrain,
    refresh_serving,
    observe_day,
    report_day,
    renew_serving,
    count_feedback,
    housekeeping,
)
SCHEDULES = (ingest_daily, housekeeping_daily, count_feedback_daily)
SENSORS = (
    load_missing_days,
    watch_days,
    keep_champion,
    keep_serving,
    write_report,
    send_report,
    alerts,
)
PARTITIONS = daily
