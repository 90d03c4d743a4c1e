"""The sensor reads a real history, tells of each failed run once, and of its end."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
import redis

from moovitamix import automation
from moovitamix.errors import NothingToDo, SourceStartedAnew, SourceUnavailable, StoreUnavailable
from moovitamix.observe import run_history
from moovitamix.observe.alert_sensor import alerts
from moovitamix.resources import Cache, Warehouse
from moovitamix.settings import get_settings
from moovitamix_tests.observe.alerting.conftest import World
from moovitamix_tests.observe.alerting.receivers import Hook

FAULTS: dict[str, Exception] = {
    "source": SourceUnavailable("http://source gave no answer in 6 tries. Run again later."),
    "anew": SourceStartedAnew("The source has started anew: of 9 tracks only 0 are left.", {}),
    "postgres": StoreUnavailable("Postgres does not answer. Start it."),
    "blocked": dg.Failure("Blocked by their checks, and not published: 2026-11-20."),
    "personal": ValueError("Key (email)=(perpetua@example.org) already exists"),
}


class Weather(dg.ConfigurableResource[None]):
    """What goes wrong in the run: the name of a fault, or nothing."""

    fault: str = ""


@dg.op
def work(weather: Weather) -> None:
    if weather.fault:
        raise FAULTS[weather.fault]


@dg.job(name="ingest_day")
def ingest() -> None:
    work()


@dg.job(name="retrain")
def other() -> None:
    work()


@dg.multi_asset(
    specs=[dg.AssetSpec("staged_listens")],
    check_specs=[dg.AssetCheckSpec("volume_usual", asset="staged_listens", blocking=True)],
)
def staged(weather: Weather) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    yield dg.MaterializeResult(asset_key="staged_listens")
    yield dg.AssetCheckResult(passed=not weather.fault, asset_key="staged_listens")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as opened:
        yield opened


def run(
    instance: dg.DagsterInstance, fault: str = "", job: dg.JobDefinition = ingest, day: int = 20
) -> str:
    """Run a job in which something goes wrong, or nothing does; its id."""
    done = job.execute_in_process(
        instance=instance,
        resources={"weather": Weather(fault=fault)},
        raise_on_error=False,
        tags={"dagster/partition": f"2026-11-{day}"},
    )
    assert done.success == (not fault)
    return done.run_id


class Sensor:
    """The sensor, evaluated again and again as the daemon does: with the cursor it left."""

    def __init__(self, instance: dg.DagsterInstance, world: World) -> None:
        self._instance, self._world = instance, world
        self.cursor: str | None = None

    def tick(self) -> dg.SensorResult:
        context = dg.build_sensor_context(
            instance=self._instance,
            cursor=self.cursor,
            resources={"warehouse": self._world.warehouse, "cache": self._world.cache},
        )
        result = alerts(context)
        assert isinstance(result, dg.SensorResult)
        assert not result.run_requests
        self.cursor = result.cursor or self.cursor
        return result


@pytest.fixture
def sensor(
    instance: dg.DagsterInstance, world: World, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> Sensor:
    """The sensor of a deployment that sends to the webhook, and links to a UI."""
    monkeypatch.setenv("MOOVITAMIX_ALERT_URLS", hook.url)
    monkeypatch.setenv("MOOVITAMIX_UI_URL", "http://dagster.example:3000")
    get_settings.cache_clear()
    return Sensor(instance, world)


def test_a_run_whose_process_was_killed_is_told_as_that(
    sensor: Sensor, instance: dg.DagsterInstance, hook: Hook
) -> None:
    started = instance.create_run_for_job(ingest, tags={"dagster/partition": "2026-11-20"})
    instance.report_run_failed(started)  # as the code location's server does, which knows no more
    sensor.tick()
    assert hook.titles[0].endswith(": ingest_day failed for 2026-11-20")
    assert "its process was killed" in hook.bodies[0]
    assert "docs/runbook.md#a-run-was-killed" in hook.bodies[0]


def test_a_failed_run_is_told_once_with_step_day_cause_and_link(
    sensor: Sensor, instance: dg.DagsterInstance, hook: Hook
) -> None:
    run_id = run(instance, "postgres")
    sensor.tick()
    sensor.tick()
    assert len(hook.messages) == 1
    assert hook.titles[0].endswith(": ingest_day failed for 2026-11-20")
    assert "Step work: Postgres does not answer. Start it." in hook.bodies[0]
    assert f"http://dagster.example:3000/runs/{run_id}" in hook.bodies[0]
    assert "docs/runbook.md#postgres-is-down" in hook.bodies[0]


def test_it_is_over_when_a_later_run_of_the_job_succeeds_and_no_other(
    sensor: Sensor, instance: dg.DagsterInstance, world: World, hook: Hook
) -> None:
    run(instance)
    run_id = run(instance, "postgres")
    sensor.tick()
    run(instance, job=other)
    sensor.tick()
    assert world.open == [f"run_failed:ingest_day:{run_id}"]
    run(instance)
    sensor.tick()
    sensor.tick()
    assert world.open == []
    assert [body.partition("\n")[0] for body in hook.bodies] == ["NEW", "OVER"]


@pytest.mark.parametrize("by_hand", [False, True])
def test_what_is_made_on_the_asset_pages_makes_good_what_was_to_make_the_same_and_nothing_else(
    sensor: Sensor, instance: dg.DagsterInstance, world: World, by_hand: bool
) -> None:
    faults = {"als_model": 1}

    def make(name: str, after: tuple[str, ...] = ()) -> dg.AssetsDefinition:
        @dg.asset(name=name, deps=list(after))
        def made() -> dg.MaterializeResult[None]:
            if faults.pop(name, 0):
                raise FAULTS["postgres"]
            return dg.MaterializeResult()

        return made

    assets = [make("features"), make("als_model", ("features",)), make("genres")]
    training = ["features", "als_model"]
    defs = dg.Definitions(assets=assets, jobs=[dg.define_asset_job("retrain", training)])
    pages = defs.resolve_implicit_global_asset_job_def()

    def materialize(job: dg.JobDefinition, *names: str) -> str:
        done = job.execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey(name) for name in names],
            raise_on_error=False,
        )
        sensor.tick()
        return f"run_failed:{job.name}:{done.run_id}"

    failed = materialize(pages if by_hand else defs.resolve_job_def("retrain"), *training)
    assert world.open == [failed]
    materialize(pages, "genres")
    materialize(pages, "features")
    assert world.open == [failed]
    materialize(pages, "als_model")
    assert world.open == []


def test_a_run_that_failed_and_was_made_good_between_two_looks_is_not_told(
    sensor: Sensor, instance: dg.DagsterInstance, hook: Hook
) -> None:
    run(instance, "postgres")
    run(instance)
    sensor.tick()
    assert hook.messages == []


def test_a_message_that_may_hold_values_is_not_quoted(
    sensor: Sensor, instance: dg.DagsterInstance, world: World, hook: Hook
) -> None:
    run(instance, "personal")
    sensor.tick()
    assert "Step work: ValueError. The run's log tells more." in hook.bodies[0]
    assert "perpetua" not in str(hook.messages) + str(world.rows("SELECT a::text FROM alerts a"))


def test_a_blocking_check_is_told_with_what_it_holds_back(
    sensor: Sensor, instance: dg.DagsterInstance, world: World, hook: Hook
) -> None:
    job = dg.Definitions(
        assets=[staged],
        jobs=[dg.define_asset_job("ingest_day")],
        resources={"weather": Weather()},
    ).resolve_job_def("ingest_day")
    run_id = run(instance, "blocked", job)
    sensor.tick()
    assert world.open == [f"check_failed:ingest_day:{run_id}"]
    assert "staged_listens.volume_usual failed. What comes after it is held back." in hook.bodies[0]
    assert "docs/runbook.md#a-day-is-blocked" in hook.bodies[0]
    run(instance, "", job)
    sensor.tick()
    assert world.open == []


def test_a_run_that_fails_for_a_blocked_day_alone_is_told_by_the_day(
    sensor: Sensor, instance: dg.DagsterInstance, world: World, hook: Hook
) -> None:
    world.block(20)
    run(instance, "blocked", day=20)
    sensor.tick()
    assert world.open == ["day_blocked:2026-11-20"]
    assert len(hook.messages) == 1
    run_id = run(instance, "blocked", day=21)  # of another day, that nobody has told of
    sensor.tick()
    assert f"run_failed:ingest_day:{run_id}" in world.open


def test_what_fails_again_for_the_same_cause_is_one_alert_until_it_succeeds(
    sensor: Sensor, instance: dg.DagsterInstance, world: World, hook: Hook
) -> None:
    first = run(instance, "postgres")
    for _ in range(3):
        sensor.tick()
        run(instance, "postgres")
    sensor.tick()
    assert world.open == [f"run_failed:ingest_day:{first}"]
    assert len(hook.messages) == 1
    run(instance)
    sensor.tick()
    assert world.open == []


def test_one_outage_is_one_failed_run_whatever_numbers_its_messages_name(
    sensor: Sensor,
    instance: dg.DagsterInstance,
    world: World,
    hook: Hook,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = (
        "http://source/listen_history?page=3 gave no answer in 6 tries; the last one: HTTP 503.",
        "http://source/tracks?page=11 gave no answer in 6 tries; the last one: timed out.",
        "No whole reading of http://source in 3 tries; the last one: tracks have changed.",
    )
    for said in words:
        monkeypatch.setitem(FAULTS, "source", SourceUnavailable(said))
        run(instance, "source")
        sensor.tick()
    assert [key.partition(":")[0] for key in world.open] == ["run_failed", "source_gone"]
    assert len(hook.messages) == 2


@pytest.mark.parametrize(
    ("said", "again", "alerts"),
    [
        (
            NothingToDo("Day 20: 7 users are too few."),
            NothingToDo("Day 21: 8 users are too few."),
            1,
        ),
        (NothingToDo("Day 20: 7 users are too few."), NothingToDo("Day 20: no model is there."), 2),
        (
            FAULTS["blocked"],
            dg.Failure("Blocked by their checks, and not published: 2026-11-21"),
            2,
        ),
    ],
)
def test_words_that_differ_in_numbers_alone_are_one_cause_but_for_blocked_days(
    sensor: Sensor,
    instance: dg.DagsterInstance,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    said: Exception,
    again: Exception,
    alerts: int,
) -> None:
    for fault in (said, again):
        monkeypatch.setitem(FAULTS, "source", fault)
        run(instance, "source")
    sensor.tick()
    assert len(world.open) == alerts


def test_a_blocked_day_whose_verdict_was_accepted_is_not_told_as_a_failed_run(
    sensor: Sensor, instance: dg.DagsterInstance, world: World
) -> None:
    world.block(20)
    run(instance, "blocked", day=20)
    sensor.tick()
    world.write("UPDATE blocked_days SET accepted_at = now(), accepted_by = 'somebody'")
    sensor.tick()
    assert world.open == []


def test_a_source_that_is_gone_again_is_told_until_a_pull_succeeds(
    sensor: Sensor, instance: dg.DagsterInstance, world: World
) -> None:
    run(instance, "source", day=20)
    sensor.tick()
    assert "source_gone" not in world.open
    run(instance, "source", day=21)
    sensor.tick()
    assert "source_gone" in world.open
    run(instance, day=21)
    sensor.tick()
    assert world.open == []


def test_a_source_that_is_gone_stays_gone_and_its_failures_are_counted_until_a_pull_succeeds(
    sensor: Sensor,
    instance: dg.DagsterInstance,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_history, "OVERLAP", timedelta())  # no failure is read twice

    def told() -> list[tuple[str]]:
        query = "SELECT text FROM alerts WHERE kind = 'source_gone' AND resolved_at IS NULL"
        return world.rows(query)

    # Two that are read in one look, as after a while without a daemon; then one by one.
    for failed in (2, 1, 1):
        for _ in range(failed):
            run(instance, "source")
        sensor.tick()
        sensor.tick()
    run(instance, "postgres", job=other)
    sensor.tick()
    sensor.tick()
    assert len(told()) == 1
    assert "UTC 4 runs that pull have failed" in told()[0][0]
    run(instance)
    sensor.tick()
    assert told() == []
    run(instance, "source")
    sensor.tick()
    assert told() == []


def test_a_source_that_has_started_anew_is_told_until_a_run_succeeds(
    sensor: Sensor, instance: dg.DagsterInstance, world: World, hook: Hook
) -> None:
    run(instance, "anew")
    sensor.tick()
    assert "source_anew" in world.open
    assert "docs/runbook.md#the-source-has-started-anew" in hook.bodies[0]
    run(instance)
    sensor.tick()
    assert world.open == []


def test_a_postgres_that_is_down_is_told_to_the_log_and_no_failure_is_lost(
    sensor: Sensor, instance: dg.DagsterInstance, world: World, hook: Hook
) -> None:
    run(instance, "postgres")
    there = world.warehouse
    world.warehouse = Warehouse(url="postgresql://127.0.0.1:1/nowhere", namespace="mvx")
    result = sensor.tick()
    assert result.skip_reason is not None
    assert "does not answer" in str(result.skip_reason.skip_message)
    assert sensor.cursor is None
    world.warehouse = there
    sensor.tick()
    assert len(hook.messages) == 1


def test_a_redis_that_is_down_keeps_no_failure_from_being_told(
    sensor: Sensor, instance: dg.DagsterInstance, world: World, hook: Hook, valkey: redis.Redis
) -> None:
    assert valkey.ping()
    world.cache = Cache(url="redis://127.0.0.1:1", namespace="mvx")
    run(instance, "postgres")
    sensor.tick()
    assert len(hook.messages) == 1


def test_a_flood_of_failed_runs_is_told_in_some_looks_the_last_of_them_too(
    sensor: Sensor, instance: dg.DagsterInstance, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_history, "AT_ONCE", 2)
    first = run(instance, "postgres")
    for _ in range(3):
        run(instance, "postgres")
    last = run(instance, "postgres", job=other)
    for _ in range(3):
        sensor.tick()
    assert world.open == [f"run_failed:ingest_day:{first}", f"run_failed:retrain:{last}"]


def test_the_cursor_goes_to_the_last_failure_and_never_back(
    sensor: Sensor, instance: dg.DagsterInstance
) -> None:
    sensor.tick()
    at_first = sensor.cursor
    sensor.tick()
    assert sensor.cursor == at_first
    run(instance, "postgres")
    ended = datetime.now(UTC)
    for _ in range(2):
        sensor.tick()
        read_again = ended - datetime.fromisoformat(sensor.cursor or "")
        assert run_history.OVERLAP <= read_again < run_history.OVERLAP + timedelta(minutes=1)


def test_a_range_of_days_is_told_by_its_ends(
    sensor: Sensor, instance: dg.DagsterInstance, hook: Hook
) -> None:
    ingest.execute_in_process(
        instance=instance,
        resources={"weather": Weather(fault="blocked")},
        raise_on_error=False,
        tags={
            "dagster/asset_partition_range_start": "2026-11-01",
            "dagster/asset_partition_range_end": "2026-11-20",
        },
    )
    sensor.tick()
    assert hook.titles[0].endswith("ingest_day failed for 2026-11-01 to 2026-11-20")
    assert "docs/runbook.md#a-day-is-blocked" in hook.bodies[0]


def test_the_sensor_is_on_and_looks_once_a_minute() -> None:
    assert alerts in automation.SENSORS
    assert alerts.default_status == dg.DefaultSensorStatus.RUNNING
    assert alerts.minimum_interval_seconds == 60
