"""The platform through simulated days: real schedules and sensors, and the runs they ask for.

Schedules and sensors are evaluated as the daemon does (a run key counts once), and what they ask
for is executed in this process, on a persistent instance. What happens on which day is told in
`story.py`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import dagster as dg
import msgspec
import redis
from dagster._utils.schedules import schedule_execution_time_iterator

from moovitamix.automation import WHY
from moovitamix.embedded.postgres import ensure_postgres, stop_postgres
from moovitamix.embedded.valkey import ensure_valkey, valkey_server
from moovitamix.ingest.pulls import kept_pulls
from moovitamix.observe import run_history
from moovitamix.resources import Cache, Lake, Source, Warehouse
from moovitamix.serve.generations import Generation, read_current
from moovitamix.settings import get_settings

if TYPE_CHECKING:
    from moovitamix_tests.month.source import MoodySource

NAMESPACE = "mvx"
# Sensors look again while runs they asked for make more due; a day comes to rest well before.
_LOOKS = 12
# When the sensors look: all schedules of the night have had their turn.
_MORNING = time(4, 30)


@dataclass
class Day:
    """What a day came to.

    Attributes:
        day: Whose data it was about.
        runs: By job, and whether they succeeded.
        reasons: Of each run that a sensor asked for: its job, and why.
        pulls: How many pulls were kept.
        served: What was served at its end.
        alerts: The kinds of alerts that were open at its end.
    """

    day: date
    runs: Counter[tuple[str, bool]] = field(default_factory=Counter)
    reasons: list[tuple[str, str]] = field(default_factory=list)
    pulls: int = 0
    served: Generation | None = None
    alerts: frozenset[str] = frozenset()

    def ran(self, job: str) -> int:
        """How many runs of a job there were."""
        return sum(count for (name, _), count in self.runs.items() if name == job)


class Platform:
    """Everything but the daemon.

    Args:
        folder: For home and servers.
        source: What is pulled.
        url: Where that listens.
        tell: Takes a line of progress.
    """

    def __init__(
        self, folder: Path, source: MoodySource, url: str, tell: Callable[[str], None]
    ) -> None:
        from moovitamix.definitions import build_defs

        self._folder = folder
        self._source = source
        self._tell = tell
        self.warehouse = Warehouse(url=ensure_postgres(folder / "postgres"), namespace=NAMESPACE)
        self.cache = Cache(url=ensure_valkey(folder / "valkey"), namespace=NAMESPACE)
        self.resources: dict[str, Any] = {
            "source": Source(url=url),
            "lake": Lake(url=(folder / "lake").as_uri()),
            "warehouse": self.warehouse,
            "cache": self.cache,
        }
        self._url = url
        self._defs = build_defs(self.resources)
        self._keys: set[str] = set()
        self._cursors: dict[str, str | None] = {}
        self.days: list[Day] = []
        self.next_training_crashes = False

    @contextmanager
    def running(self) -> Iterator[dg.DagsterInstance]:
        """An instance for as long as the block runs; servers are stopped at its end."""
        try:
            with (
                dg.instance_for_test(temp_dir=str(self._folder)) as instance,
                # A month of failures would be in it.
                patch.object(run_history, "OVERLAP", timedelta()),
            ):
                self._instance = instance
                yield instance
        finally:
            valkey_server(self._folder / "valkey").stop()
            stop_postgres(self._folder / "postgres")

    @contextmanager
    def redis(self) -> Iterator[redis.Redis]:
        """A client of the cache."""
        with self.cache.connect() as client:
            yield client

    def pass_day(self, day: date, *, machine_on: bool = True) -> Day:
        """The night after a day and the morning that follows: what runs by itself.

        Args:
            day: That is over.
            machine_on: False: nobody looks.
        """
        found = Day(day)
        self.days.append(found)
        kept_before = self._kept_pulls()
        if machine_on:
            midnight = datetime.combine(day + timedelta(days=1), time(), UTC)
            morning = datetime.combine(midnight, _MORNING, UTC)
            for moment, schedule in self._ticks_between(midnight, morning):
                self._set_clock(moment)
                self._tick_schedule(schedule, found)
            self._set_clock(morning)
            for _ in range(_LOOKS):
                if not self._tick_sensors(found):
                    break
        found.pulls = len(self._kept_pulls() - kept_before)
        with self.redis() as client:
            found.served = read_current(client, NAMESPACE)
        with self.warehouse.connect() as connection:
            open_ones = connection.execute("SELECT kind FROM alerts WHERE resolved_at IS NULL")
            found.alerts = frozenset(kind for (kind,) in open_ones.fetchall())
        runs = ", ".join(
            f"{count} {job}{'' if well else ' failed'}" for (job, well), count in found.runs.items()
        )
        served = found.served.name if found.served else "nothing"
        open_alerts = f"; open: {', '.join(sorted(found.alerts))}" if found.alerts else ""
        self._tell(f"{day}: {runs or 'nothing ran'}; served: {served}{open_alerts}")
        return found

    def execute(self, job: str, found: Day | None = None, **options: Any) -> bool:
        """Execute a job; whether it succeeded."""
        definition = self._defs.resolve_job_def(job)
        result = definition.execute_in_process(
            instance=self._instance,
            raise_on_error=False,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            **options,
        )
        if found is not None:
            found.runs[job, result.success] += 1
        return bool(result.success)

    def _crash(self, found: Day, tags: dict[str, str]) -> None:
        """A training in a process of its own, which is killed in the middle of its promotion."""
        self.next_training_crashes = False
        environment = {
            **os.environ,
            "MOOVITAMIX_DATABASE_URL": self.warehouse.url,
            "MOOVITAMIX_REDIS_URL": self.cache.url,
            "MOOVITAMIX_LAKE_URL": self.resources["lake"].url,
            "MOOVITAMIX_SOURCE_URL": self._url,
        }
        command = [sys.executable, "-m", "moovitamix_tests.month.crash"]
        ended = subprocess.run(
            [*command, msgspec.json.encode(tags).decode()],
            env=environment,
            check=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assert ended.returncode == -signal.SIGKILL, f"it was not killed, but ended {ended}"
        # As the code location's server does when a process that it has launched is gone.
        for run in self._instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
            self._instance.report_run_failed(run)
        found.runs["retrain", False] += 1

    def _set_clock(self, moment: datetime) -> None:
        self._source.now = moment.replace(tzinfo=None)
        os.environ["MOOVITAMIX_NOW"] = moment.isoformat()
        get_settings.cache_clear()

    def _kept_pulls(self) -> set[str]:
        return {pull.name for pull in kept_pulls(self.resources["lake"].open())}

    def _ticks_between(
        self, first: datetime, last: datetime
    ) -> list[tuple[datetime, dg.ScheduleDefinition]]:
        """When which schedule is due, in their order."""
        return sorted(
            (
                (moment, schedule)
                for schedule in self._defs.get_repository_def().schedule_defs
                for moment in takewhile(
                    lambda tick: tick <= last,
                    schedule_execution_time_iterator(
                        first.timestamp(), schedule.cron_schedule, schedule.execution_timezone
                    ),
                )
            ),
            key=lambda due: due[0],
        )

    def _tick_schedule(self, schedule: dg.ScheduleDefinition, found: Day) -> None:
        with dg.build_schedule_context(
            instance=self._instance, scheduled_execution_time=get_settings().present()
        ) as context:
            for request in schedule.evaluate_tick(context).run_requests or []:
                self.execute(schedule.job_name, found, partition_key=request.partition_key)

    def _tick_sensors(self, found: Day) -> bool:
        """Evaluate all sensors once; whether any run was asked for and executed."""
        ran = False
        for sensor in self._defs.sensors or []:
            assert isinstance(sensor, dg.SensorDefinition)
            context = dg.build_sensor_context(
                instance=self._instance,
                sensor_name=sensor.name,
                cursor=self._cursors.get(sensor.name),
                resources=self.resources,
                definitions=self._defs,
            )
            looked = sensor.evaluate_tick(context)
            self._cursors[sensor.name] = looked.cursor
            for request in looked.run_requests or []:
                # Serving goes by Redis' clock, in whose hour many simulated days pass.
                of_day = str(found.day) if sensor.name == "keep_serving" else ""
                key = f"{sensor.name}:{of_day}:{request.run_key}"
                if request.run_key and key in self._keys:
                    continue
                self._keys.add(key)
                job = request.job_name or sensor.job_name or ""
                found.reasons.append((job, request.tags.get(WHY, "")))
                ran = True
                if job == "retrain" and self.next_training_crashes:
                    self._crash(found, dict(request.tags))
                    continue
                self.execute(
                    job, found, partition_key=request.partition_key, tags=dict(request.tags)
                )
        return ran
