"""A sensor or schedule that fails when it looks is told of, by the ticks that the daemon writes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.scheduler.instigation import InstigatorStatus, InstigatorType
from dagster._core.test_utils import create_test_daemon_workspace_context, freeze_time
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import PythonFileTarget
from dagster._daemon.sensor import execute_sensor_iteration
from dagster._scheduler.scheduler import ScheduleIterationTimes, launch_scheduled_runs

from moovitamix import automation
from moovitamix.observe.alert_sensor import InstanceRuns
from moovitamix.observe.failed_ticks import FailedTick, conditions_of
from moovitamix.serve.http.console.health import stages_of
from moovitamix_tests.observe.alerting.conftest import World
from moovitamix_tests.observe.alerting.receivers import Hook

NOW = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)

# What the daemon's code location serves: a sensor and a schedule that fail while a file says so.
LOOKING = """
from pathlib import Path

import dagster as dg
import psycopg

from moovitamix.errors import SettingsError

FAULT = Path(__file__).with_name("fault")


def look():
    if (fault := FAULT.read_text()) == "settings":
        raise SettingsError("The tables are newer than this version. Install the newer one.")
    if fault == "rows":
        raise psycopg.errors.UniqueViolation("Key (email)=(perpetua@example.org) exists already")


@dg.job
def retrain():
    pass


@dg.sensor(job=retrain, default_status=dg.DefaultSensorStatus.RUNNING)
def keep_champion():
    look()
    return dg.SkipReason("No training is due.")


@dg.schedule(job=retrain, cron_schedule="45 3 * * *", execution_timezone="UTC",
             default_status=dg.DefaultScheduleStatus.RUNNING)
def housekeeping_daily():
    look()
    return dg.SkipReason("Nothing is to be done.")


defs = dg.Definitions(jobs=[retrain], sensors=[keep_champion], schedules=[housekeeping_daily])
"""


class Daemon:
    """Evaluates sensors and schedules as the daemon does, in a code location's server."""

    def __init__(self, context: WorkspaceProcessContext, folder: Path) -> None:
        self._context = context
        self._fault = folder / "fault"
        self.moment = datetime.now(UTC) - timedelta(days=1)
        self._schedules: dict[str, ScheduleIterationTimes] = {}
        self._logger = logging.getLogger("quiet")
        self._logger.setLevel(logging.CRITICAL + 1)
        self.schedules()  # from here on they are due

    def sensors(self, fault: str = "") -> None:
        """A minute later: every sensor looks."""
        self.moment += timedelta(minutes=1)
        self._fault.write_text(fault)
        with freeze_time(self.moment):
            list(execute_sensor_iteration(self._context, self._logger, None, None))

    def schedules(self, fault: str = "") -> None:
        """A day later: every schedule looks."""
        self.moment += timedelta(days=1)
        self._fault.write_text(fault)
        with freeze_time(self.moment):
            list(launch_scheduled_runs(self._context, self._logger, self.moment, self._schedules))

    @contextmanager
    def turned_off(self) -> Iterator[None]:
        """Every sensor, as somebody does in the UI, for as long as the block runs."""
        instance = self._context.instance
        states = instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
        for state in states:
            instance.update_instigator_state(state.with_status(InstigatorStatus.STOPPED))
        yield
        for state in states:
            instance.update_instigator_state(state)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, InstanceRuns]]:
    """A daemon that looks when it is told to, and what is read of its history."""
    folder = tmp_path_factory.mktemp("looking")
    (folder / "looking.py").write_text(LOOKING)
    target = PythonFileTarget(
        python_file=str(folder / "looking.py"),
        attribute=None,
        working_directory=None,
        location_name="moovitamix",
    )
    with (
        dg.instance_for_test() as instance,
        create_test_daemon_workspace_context(target, instance) as context,
    ):
        yield Daemon(context, folder), InstanceRuns(instance, NOW)


@pytest.fixture
def daemon(history: tuple[Daemon, InstanceRuns], hooked: World) -> Iterator[Daemon]:
    """The same, of a world whose alerts are sent to the webhook; all are well again at the end."""
    daemon, hooked.runs = history
    yield daemon
    daemon.sensors()
    daemon.schedules()


def look(world: World, daemon: Daemon) -> list[str]:
    """Look around when the daemon has; the keys of what is open."""
    world.look(daemon.moment - NOW)
    return world.open


def test_a_sensor_that_fails_twice_in_a_row_is_told_until_it_looks_again_without(
    daemon: Daemon, hooked: World, hook: Hook
) -> None:
    daemon.sensors("settings")
    assert look(hooked, daemon) == []
    daemon.sensors("settings")
    assert look(hooked, daemon) == ["tick_failed:keep_champion"]
    daemon.sensors("settings")
    assert look(hooked, daemon) == ["tick_failed:keep_champion"]
    daemon.sensors()
    assert look(hooked, daemon) == []
    assert [body.partition("\n")[0] for body in hook.bodies] == ["NEW", "OVER"]
    assert hook.titles[0].endswith(": The sensor keep_champion fails")
    assert "2 looks failed: The tables are newer than this version." in hook.bodies[0]
    assert "http://dagster.example:3000/automation" in hook.bodies[0]
    assert "docs/runbook.md#a-sensor-or-schedule-fails" in hook.bodies[0]


def test_a_schedule_that_fails_once_is_told_for_it_looks_once_a_day(
    daemon: Daemon, hooked: World, hook: Hook
) -> None:
    daemon.schedules("settings")
    assert look(hooked, daemon) == ["tick_failed:housekeeping_daily"]
    assert hook.titles[0].endswith(": The schedule housekeeping_daily fails")
    daemon.schedules()
    assert look(hooked, daemon) == []


def test_words_of_postgres_about_a_row_are_not_quoted(
    daemon: Daemon, hooked: World, hook: Hook
) -> None:
    daemon.sensors("rows")
    daemon.sensors("rows")
    look(hooked, daemon)
    assert "2 looks failed with UniqueViolation; its ticks tell more." in hook.bodies[0]
    assert "perpetua" not in str(hook.messages) + str(hooked.rows("SELECT a::text FROM alerts a"))


def test_who_was_turned_off_is_not_told_of(daemon: Daemon, hooked: World) -> None:
    daemon.sensors("settings")
    daemon.sensors("settings")
    assert look(hooked, daemon) == ["tick_failed:keep_champion"]
    with daemon.turned_off():
        assert look(hooked, daemon) == []


def failed(after: timedelta = timedelta(), **changes: Any) -> list[str]:
    """The titles of what is told of a tick, so long after it failed."""
    tick = FailedTick(name="x", instigator="sensor", at=NOW, in_a_row=5, error="ValueError")
    return [one.title for one in conditions_of([replace(tick, **changes)], None, NOW + after)]


def test_who_has_not_looked_since_is_gone_and_not_told_of() -> None:
    assert failed(timedelta(minutes=59))
    assert not failed(timedelta(minutes=61))
    assert failed(timedelta(hours=47), instigator="schedule")
    assert not failed(timedelta(hours=49), instigator="schedule")


def test_a_code_location_that_starts_anew_is_no_failure_of_a_schedule() -> None:
    unreachable: dict[str, Any] = {
        "instigator": "schedule",
        "error": "DagsterUserCodeUnreachableError",
    }
    assert not failed(in_a_row=1, **unreachable)
    assert failed(in_a_row=2, **unreachable)


@pytest.mark.parametrize("name", [one.name for one in (*automation.SENSORS, *automation.SCHEDULES)])
def test_each_sensor_and_schedule_is_about_a_stage(name: str) -> None:
    tick = FailedTick(name=name, instigator="schedule", at=NOW, in_a_row=1, error=None)
    (condition,) = conditions_of([tick], None, NOW)
    assert stages_of(condition)
