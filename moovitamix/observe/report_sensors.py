"""The sensors that have the daily report written when its day is done, and send it.

When it is due is told by `due.py`, to whom it is sent, and how often that is tried, by
`report/sending.py`.
"""

from __future__ import annotations

import warnings
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from moovitamix.errors import StoreUnavailable
from moovitamix.resources import Cache, Lake, Warehouse
from moovitamix.settings import get_settings

if TYPE_CHECKING:
    from moovitamix.serve.generations import Generation

# The sensor's decorator passes on a parameter that is beta, whether it is set or not.
warnings.filterwarnings("ignore", message=".*`owners`.*", category=dg.BetaWarning)

# What a report waits for: it tells of them.
_BEFORE = ("ingest_day", "observe_day", "refresh_serving", "report_day")


@dg.sensor(
    job_name="report_day",
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Has the report of yesterday written, once, when the day is read and served, or blocked, "
        "or late; and again when it has come to something else meanwhile."
    ),
)
def write_report(
    context: dg.SensorEvaluationContext, lake: Lake, warehouse: Warehouse, cache: Cache
) -> dg.RunRequest | dg.SkipReason:
    """Whether it is due is told by `due.py`."""
    from moovitamix.due import report_due
    from moovitamix.due_state import read_reportable

    settings = get_settings()
    now = settings.present()
    day = now.date() - timedelta(days=1)
    if day < settings.first_day:
        return dg.SkipReason("The first day is not over yet.")
    current = _served(cache)
    try:
        with warehouse.connect() as connection:
            found = read_reportable(connection, current, lake.open(), day)
    except StoreUnavailable as error:
        return dg.SkipReason(f"A store does not answer; looked at again in some minutes. {error}")
    due = report_due(
        found, now, late_after=settings.late_after, under_way=_is_at_work(context.instance)
    )
    if due is None:
        return dg.SkipReason(f"The report of {day} is written, or not due yet.")
    return dg.RunRequest(run_key=due.key, partition_key=str(day), tags={"moovitamix/why": due.why})


def _served(cache: Cache) -> Generation | None:
    """What is served; None where nothing is, or nobody can tell: the report says which."""
    from moovitamix.serve.generations import read_current

    try:
        with cache.connect() as client:
            return read_current(client, cache.prefix)
    except StoreUnavailable:
        return None


@dg.sensor(
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Sends the newest report to the channels of MOOVITAMIX_REPORT_URLS, each once; to one that "
        "is down, later."
    ),
)
def send_report(context: dg.SensorEvaluationContext, lake: Lake) -> dg.SkipReason:
    """Requests no run: what was sent is in the lake."""
    from moovitamix.observe.channels import read_channels
    from moovitamix.observe.report.sending import deliver

    settings = get_settings()
    urls = settings.report_urls
    channels = read_channels(urls.get_secret_value()) if urls is not None else []
    if not channels:
        return dg.SkipReason("MOOVITAMIX_REPORT_URLS names no channel.")
    taken = deliver(
        lake.open(),
        channels,
        now=datetime.now(UTC),
        present=settings.present(),
        runbook=settings.runbook_url,
        tell=context.log.warning,
    )
    return dg.SkipReason(f"{taken} taken, of {len(channels)} channels.")


def _is_at_work(instance: dg.DagsterInstance) -> bool:
    """Whether a run is queued or running that the report would tell of, or the report's own."""
    unfinished = [
        dg.DagsterRunStatus.QUEUED,
        dg.DagsterRunStatus.NOT_STARTED,
        dg.DagsterRunStatus.STARTING,
        dg.DagsterRunStatus.STARTED,
    ]
    found = instance.get_runs(dg.RunsFilter(statuses=unfinished))
    return any(run.job_name in _BEFORE for run in found)
