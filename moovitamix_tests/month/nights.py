"""Three nights through the real daemon, which launches real runs; nobody touches anything.

    python -m moovitamix_tests.month.nights

Daemon and code location are processes of their own, as in the deployment. They and the runs live by
a clock that is moved from outside: to 02:15, when the schedule is due, then to the morning, then on
by six minutes at a time until every sensor has looked again and nobody asks for anything. The first
night is a beginning; on the second the source sends nonsense, and the day is blocked; in the third
the process of the first run is killed, and what it should have done is done all the same.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import time as clock
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import dagster as dg
import psutil
from dagster._core.scheduler.instigation import ScheduleInstigatorData, SensorInstigatorData
from rich.console import Console

from moovitamix_tests.month.clock import Clock
from moovitamix_tests.month.source import FIRST_DAY, MoodySource
from moovitamix_tests.reference_source import serve_app

NIGHTS = 3
_MORNING = time(4, 16)  # all schedules of the night are due
_HOUSEWORK = {"housekeeping", "count_feedback"}  # by schedules, whatever else has happened
_STEP = timedelta(minutes=6)  # a little more than most sensors wait
# Serving is looked after by the hour: a need that was not seen to is asked for again after one.
_MOST_STEPS = 20
_PATIENCE_SECONDS = 180.0
_OVER = {
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELED,
}

_WORKSPACE = """\
load_from:
  - grpc_server:
      host: 127.0.0.1
      port: {port}
      location_name: moovitamix
"""

console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)


def main() -> int:
    """Let the nights pass; 1 where something did not hold."""
    began = clock.monotonic()
    with tempfile.TemporaryDirectory(prefix="moovitamix-nights-") as folder:
        # Started by root, Postgres becomes another user, who must be able to enter the folder.
        Path(folder).chmod(0o755)
        os.environ |= {
            "MOOVITAMIX_HOME": f"{folder}/home",
            "MOOVITAMIX_FIRST_DAY": FIRST_DAY.isoformat(),
            "MOOVITAMIX_TUNE": "0",
        }
        findings = _pass_nights(Path(folder))
    for finding in findings:
        console.print("[red]✗[/]", finding, markup=False)
    if not findings:
        console.print("[green]✓[/] Nobody had to touch it.", f"{clock.monotonic() - began:.0f} s")
    return 1 if findings else 0


def _pass_nights(folder: Path) -> list[str]:
    from moovitamix.embedded import dagster_home, services

    dagster_home.prepare()
    source = MoodySource(users=120)
    try:
        with serve_app(source.app()) as url, dg.DagsterInstance.get() as instance:
            os.environ |= {
                "MOOVITAMIX_SOURCE_URL": url,
                "MOOVITAMIX_DATABASE_URL": services.ensure_postgres(),
                "MOOVITAMIX_REDIS_URL": services.ensure_valkey(),
            }
            nights = Nights(instance, source, Clock(folder / "clock"))
            with nights.daemon(folder / "daemon.log"):
                return nights.findings()
    finally:
        services.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Nights:
    """What the daemon does, night by night.

    Args:
        instance: Whose history is read.
        source: What is pulled.
        clock: The daemon's.
    """

    def __init__(self, instance: dg.DagsterInstance, source: MoodySource, clock: Clock) -> None:
        self._instance = instance
        self._source = source
        self._clock = clock
        self._findings: list[str] = []
        self._told: set[str] = set()
        self._processes: list[psutil.Popen] = []

    @contextmanager
    def daemon(self, log: Path) -> Iterator[None]:
        """The daemon, for as long as the block runs."""
        self._move(datetime.combine(FIRST_DAY + timedelta(days=1), time(2), UTC))
        environment = {
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parent / "moved_clock"),
            "MOVED_CLOCK": str(self._clock.file),
        }
        port = _free_port()
        workspace = log.with_name("workspace.yaml")
        workspace.write_text(_WORKSPACE.format(port=port))
        server = [
            *("dagster", "api", "grpc", "--host", "127.0.0.1", "--port", str(port)),
            *("--module-name", "moovitamix.definitions", "--location-name", "moovitamix"),
        ]
        daemon = ["dagster._daemon", "run", "--workspace", str(workspace)]
        with log.open("w") as output:
            for command in (server, daemon):
                started = psutil.Popen(
                    [sys.executable, "-m", *command], env=environment, stdout=output, stderr=output
                )
                self._processes.append(started)
                self._wait(lambda: _listens(port), "the code location answers")
            # A schedule is due for what comes after it was first seen.
            self._wait(self._knows_schedules, "the daemon has seen the schedules")
            try:
                yield
            except BaseException:
                console.print("".join(log.read_text().splitlines(keepends=True)[-40:]))
                raise
            finally:
                for process in reversed(self._processes):
                    process.terminate()
                    process.wait(60)

    def findings(self) -> list[str]:
        """Let them pass; what did not come out as it should."""
        for night in range(NIGHTS):
            self._pass(FIRST_DAY + timedelta(days=night), night)
        return self._findings

    def _pass(self, day: date, night: int) -> None:

        self._source.mood = "mangled e-mails" if night == 1 else "well"
        known = {run.run_id for run in self._instance.get_runs()}
        morning = day + timedelta(days=1)
        self._move(datetime.combine(morning, time(2, 14, 50), UTC))
        self._wait(lambda: self._is_loading(known), "the schedule's load is under way")
        if night == 2:
            self._kill_runs()
        self._come_to_rest()
        self._move(datetime.combine(morning, _MORNING, UTC))
        # On a busy machine the scheduler looks later than all sensors.
        self._wait(lambda: self._is_asked_for(_HOUSEWORK, known), "schedules ask for housework", 90)
        for _ in range(_MOST_STEPS):
            before = len(self._instance.get_runs())
            self._come_to_rest()
            if len(self._instance.get_runs()) == before:
                break
            self._move(self._clock.now() + _STEP)
        else:
            self._expect(day, False, "the morning comes to rest")
        runs = [run for run in self._instance.get_runs() if run.run_id not in known]
        served, published, blocked = self._stores()
        jobs = {run.job_name for run in runs if run.status is dg.DagsterRunStatus.SUCCESS}
        failed = {run.job_name for run in runs if run.status is not dg.DagsterRunStatus.SUCCESS}
        by_schedule = any("dagster/schedule_name" in run.tags for run in runs)
        told = ", ".join(sorted(f"{run.job_name} {run.status.value.lower()}" for run in runs))
        console.print(f"{day}: {told}; served: {served}")
        self._expect(day, by_schedule, "the schedule has asked for a run")
        daily = {*_HOUSEWORK, "report_day"}
        self._expect(day, daily <= jobs, f"house is kept, and a report written: {sorted(jobs)}")
        if night == 1:
            self._expect(day, day in blocked and day not in published, "the day is blocked")
            self._expect(day, served == FIRST_DAY, "what was served goes on")
            return
        wanted = {"ingest_day", "observe_day", "refresh_serving"}
        self._expect(day, wanted <= jobs, f"all of it ran: {sorted(jobs)}")
        self._expect(day, night > 0 or "retrain" in jobs, "a model was trained")
        whole = {FIRST_DAY + timedelta(days=passed) for passed in range(night + 1)}
        self._expect(day, published == whole and not blocked, "every day is loaded")
        self._expect(day, served == day, "the newest day is served")
        self._expect(day, ("ingest_day" in failed) == (night == 2), "the killed load has failed")

    def _stores(self) -> tuple[date | None, set[date], set[date]]:
        from moovitamix.resources import default_resources
        from moovitamix.serve.generations import read_current
        from moovitamix.warehouse.days import blocked_days, published_days

        resources = default_resources()
        cache, warehouse = resources["cache"], resources["warehouse"]
        with cache.connect() as client:
            current = read_current(client, cache.prefix)
        with warehouse.connect() as connection:
            published, blocked = published_days(connection), blocked_days(connection)
        return current.as_of if current else None, set(published), set(blocked)

    def _move(self, moment: datetime) -> None:
        self._clock.set(moment)
        self._source.now = moment.replace(tzinfo=None)

    def _knows_schedules(self) -> bool:
        return any(
            isinstance(state.instigator_data, ScheduleInstigatorData)
            for state in self._instance.all_instigator_state()
        )

    def _is_loading(self, known: set[str]) -> bool:
        return any(
            run.run_id not in known and run.status is dg.DagsterRunStatus.STARTED
            for run in self._instance.get_runs(dg.RunsFilter(job_name="ingest_day"))
        )

    def _is_asked_for(self, jobs: set[str], known: set[str]) -> bool:
        runs = [run for run in self._instance.get_runs() if run.run_id not in known]
        return jobs <= {run.job_name for run in runs}

    def _come_to_rest(self) -> None:
        """Wait until no run is under way, and each sensor has looked since that is so."""
        since = self._clock.now()
        while True:
            self._wait(self._is_idle, "runs end")
            if self._has_looked_since(since):
                return
            if not self._is_idle():
                continue
            # A sensor that looked just before is due in some minutes: they pass now.
            self._wait(
                lambda: self._has_looked_since(since) or not self._is_idle(), "sensors look", 15
            )
            if self._is_idle() and not self._has_looked_since(since):
                self._move(self._clock.now() + _STEP)

    def _is_idle(self) -> bool:
        return all(run.status in _OVER for run in self._instance.get_runs())

    def _has_looked_since(self, moment: datetime) -> bool:
        ticked = [
            state.instigator_data.last_tick_timestamp or 0.0
            for state in self._instance.all_instigator_state()
            if isinstance(state.instigator_data, SensorInstigatorData)
        ]
        return len(ticked) >= 5 and min(ticked) >= moment.timestamp()

    def _kill_runs(self) -> None:
        """Kill the processes of all runs that are under way, as the kernel does to get memory."""
        for process in self._processes[0].children(recursive=True):
            with suppress(psutil.Error):
                if "spawn_main" in " ".join(process.cmdline()):
                    process.kill()

    def _wait(self, held: object, what: str, seconds: float = 0.0) -> None:
        """Wait until something holds.

        Raises:
            TimeoutError: When it takes too long; with `seconds` it just ends.
        """
        assert callable(held)
        end = clock.monotonic() + (seconds or _PATIENCE_SECONDS)
        while not held():
            self._source.now = self._clock.now().replace(tzinfo=None)
            if clock.monotonic() > end:
                if seconds:
                    return
                raise TimeoutError(f"It does not come to this: {what}.")
            clock.sleep(0.5)

    def _expect(self, day: date, held: bool, what: str) -> None:
        if not held:
            self._findings.append(f"{day}: not so: {what}")


if __name__ == "__main__":
    sys.exit(main())
