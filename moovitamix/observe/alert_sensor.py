"""The sensor `alerts`: it looks around once a minute. What it does is told in `watch.py`."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from moovitamix.errors import MoovitaMixError
from moovitamix.observe.logs.process import GelfHandler
from moovitamix.resources import Cache, Warehouse
from moovitamix.settings import get_settings

if TYPE_CHECKING:
    from moovitamix.observe.failed_runs import FailedRun
    from moovitamix.observe.failed_ticks import FailedTick

# The sensor's decorator passes on a parameter that is beta, whether it is set or not.
warnings.filterwarnings("ignore", message=".*`owners`.*", category=dg.BetaWarning)

# So far back the first look goes.
_AT_FIRST = timedelta(days=1)


class InstanceRuns:
    """The history of a Dagster instance, read from where the last look says.

    Attributes:
        since: From when on the next look has to read; UTC.
    """

    def __init__(self, instance: dg.DagsterInstance, since: datetime) -> None:
        self._instance = instance
        self.since = since

    def failed(self) -> list[FailedRun]:
        """The runs that failed since the last look, or some that were seen then already."""
        from moovitamix.observe.run_history import failed_since

        found, self.since = failed_since(self._instance, self.since)
        return found

    def made_good(self, job: str, run_id: str, ended: datetime) -> bool:
        """Whether what a failed run was to do was done since it ended."""
        from moovitamix.observe.run_history import made_good

        return made_good(self._instance, job, run_id, ended)

    def failed_since(self, job: str, since: datetime) -> int:
        """How many runs of a job have ended since a moment, or at it, by failing."""
        from moovitamix.observe.run_history import count_failed

        return count_failed(self._instance, job, since)

    def failed_ticks(self) -> list[FailedTick]:
        """The last looks of sensors and schedules, where they failed."""
        from moovitamix.observe.tick_history import failed_ticks

        return failed_ticks(self._instance)


@dg.sensor(
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Looks around once a minute, and tells the channels of MOOVITAMIX_ALERT_URLS what needs "
        "people: failed runs and ticks, blocked and late days, drift, promotions, expiring lists, "
        "a source that is gone, a growing quarantine. Each once, and again when it is over."
    ),
)
def alerts(
    context: dg.SensorEvaluationContext, warehouse: Warehouse, cache: Cache
) -> dg.SensorResult:
    """Requests no run: what it does is in the tables `alerts` and `alert_notices`."""
    import psycopg

    from moovitamix.observe.watch import post_of, watch

    context.log.addHandler(GelfHandler("code-location"))  # a logger that belongs to this look
    from moovitamix.killed_runs import close_stopped_commands

    settings = get_settings()
    now = datetime.now(UTC)
    # While a run counts as under way, nothing else is asked for.
    close_stopped_commands(context.instance)
    runs = InstanceRuns(context.instance, _since(context.cursor, now))
    try:
        came = watch(
            warehouse,
            cache,
            runs,
            post_of(settings),
            now=now,
            present=settings.present(),
            tell=context.log.warning,
        )
    except (MoovitaMixError, psycopg.Error) as error:
        # Of what Postgres itself says only the type: its words may name values of a row.
        said = str(error) if isinstance(error, MoovitaMixError) else type(error).__name__
        context.log.warning(f"Alerts could not be looked after; again in a minute. {said}")
        return dg.SensorResult(skip_reason=f"A store does not answer. {said}")
    return dg.SensorResult(skip_reason=came, cursor=runs.since.isoformat())


def _since(cursor: str | None, now: datetime) -> datetime:
    return datetime.fromisoformat(cursor) if cursor else now - _AT_FIRST
