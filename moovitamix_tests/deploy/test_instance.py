"""deploy/dagster.yaml on a real Postgres: what one process records, another finds."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import msgspec
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.execution.api import create_execution_plan
from dagster._core.instance.config import PoolGranularity
from dagster._core.op_concurrency_limits_counter import GlobalOpConcurrencyLimitsCounter
from dagster._core.scheduler.instigation import TickStatus
from dagster_postgres.event_log import PostgresEventLogStorage
from dagster_postgres.run_storage import PostgresRunStorage
from dagster_postgres.schedule_storage import PostgresScheduleStorage

from moovitamix.definitions import build_defs
from moovitamix.definitions import defs as code_location
from moovitamix.embedded import dagster_home
from moovitamix.observe.logs import process
from moovitamix.resources import Lake, Source, Warehouse
from moovitamix_tests.conftest import FIRST_DAY
from moovitamix_tests.observe.logs.conftest import graylog
from moovitamix_tests.observe.logs.receiver import PATIENCE, Receiver, faults_of
from moovitamix_tests.reference_source import ReferenceSource

__all__ = ["graylog"]

RANGE = (FIRST_DAY, FIRST_DAY + timedelta(days=1))


class NothingIsPickled(dg.IOManager):
    """In the place of the default one: values of assets must not travel through it."""

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        raise AssertionError(f"{context.step_key} hands {obj!r} to Dagster")

    def load_input(self, context: dg.InputContext) -> object:
        raise AssertionError(f"{context.asset_key} is loaded by Dagster")


@pytest.fixture
def definitions(warehouse: Warehouse, source: ReferenceSource, tmp_path: Path) -> dg.Definitions:
    """The code location, on the test's own source, lake and tables."""
    return build_defs(
        {
            "source": Source(url=source.url),
            "lake": Lake(url=(tmp_path / "lake").as_uri()),
            "warehouse": warehouse,
            "io_manager": NothingIsPickled(),
        }
    )


@pytest.fixture
def homes(
    tmp_path: Path, root: Path, dagster_storage: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Path]:
    """Two directories with the deployment's dagster.yaml, as in two containers."""
    for name, value in dagster_storage.items():
        monkeypatch.setenv(name, value)
    first, second = tmp_path / "code-location", tmp_path / "webserver"
    for home in (first, second):
        home.mkdir()
        shutil.copy(root / "deploy" / "dagster.yaml", home)
    return first, second


@pytest.fixture
def instances(homes: tuple[Path, Path]) -> Iterator[tuple[dg.DagsterInstance, dg.DagsterInstance]]:
    """Two instance objects that share nothing but the deployment's dagster.yaml."""
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(dg.DagsterInstance.from_config(str(home))) for home in homes
        )
        yield first, second


Instances = tuple[dg.DagsterInstance, dg.DagsterInstance]


def test_everything_is_stored_in_postgres(instances: Instances) -> None:
    for instance in instances:
        assert isinstance(instance.run_storage, PostgresRunStorage)
        assert isinstance(instance.event_log_storage, PostgresEventLogStorage)
        assert isinstance(instance.schedule_storage, PostgresScheduleStorage)


def test_a_range_of_days_its_materializations_and_its_checks_are_found_by_another_process(
    instances: Instances, definitions: dg.Definitions, warehouse: Warehouse, graylog: Receiver
) -> None:
    writer, reader = instances
    first, last = map(str, RANGE)
    job = definitions.resolve_job_def("ingest_day")

    outcome = job.execute_in_process(
        instance=writer,
        tags={
            "dagster/asset_partition_range_start": first,
            "dagster/asset_partition_range_end": last,
        },
    )

    run = reader.get_run_by_id(outcome.run_id)
    assert run is not None
    assert run.status == dg.DagsterRunStatus.SUCCESS
    for asset in job.asset_layer.selected_asset_keys:
        assert reader.get_materialized_partitions(asset) == {first, last}, asset
    event = reader.get_latest_materialization_event(dg.AssetKey("listen_history"))
    assert event is not None
    assert event.run_id == outcome.run_id
    assert event.asset_materialization is not None
    rows = event.asset_materialization.metadata["dagster/row_count"].value
    with warehouse.connect() as connection:
        assert connection.execute("SELECT count(*) FROM listen_history").fetchone() == (rows,)
    assert rows
    checks = [
        check
        for check in definitions.resolve_asset_graph().asset_check_keys
        if check.asset_key in job.asset_layer.selected_asset_keys
    ]
    executed = reader.event_log_storage.get_latest_asset_check_execution_by_key(checks)
    assert {check for check in checks if executed[check].run_id != outcome.run_id} == set()
    assert {record.status.value for record in executed.values()} <= {"SUCCEEDED", "FAILED"}
    assert all(
        executed[check].status.value == "SUCCEEDED"
        for check in checks
        if check.asset_key.path[-1].startswith("staged_")
    )

    process.close(PATIENCE)
    graylog.wait_for(1, lambda one: one.get("_event") == "PIPELINE_SUCCESS")
    told = [one for one in graylog.messages if one.get("_event") == "ASSET_MATERIALIZATION"]
    assert {(one["_asset"], one["_partition"]) for one in told} == {
        (asset.to_user_string(), day)
        for asset in job.asset_layer.selected_asset_keys
        for day in (first, last)
    }
    assert [faults for faults in map(faults_of, graylog.messages) if faults] == []
    with warehouse.connect() as connection:
        people = connection.execute("SELECT first_name, last_name, email FROM users").fetchall()
    assert people
    sent = " ".join(map(str, graylog.messages))
    assert [value for person in people for value in person if value and str(value) in sent] == []


def test_what_the_package_logs_is_found_with_its_run(instances: Instances) -> None:
    writer, reader = instances

    @dg.op
    def talkative() -> None:
        import logging

        logging.getLogger("moovitamix.ingest").info("1,000 tracks on 10 pages")

    @dg.job
    def talk() -> None:
        talkative()

    outcome = talk.execute_in_process(instance=writer)

    messages = [record.user_message for record in reader.all_logs(outcome.run_id)]
    assert "1,000 tracks on 10 pages" in messages


def test_the_password_is_not_in_what_dagster_tells_about_itself(
    instances: Instances, dagster_storage: dict[str, str]
) -> None:
    instance = instances[0]
    shown_in_the_ui = instance.info_str()
    handed_to_runs = str(instance.get_ref().to_dict())

    assert "PostgresRunStorage" in shown_in_the_ui
    assert "DAGSTER_POSTGRES_PASSWORD" in handed_to_runs
    for told in (shown_in_the_ui, handed_to_runs):
        assert dagster_storage["DAGSTER_POSTGRES_PASSWORD"] not in told


@dg.asset(check_specs=[dg.AssetCheckSpec("sound", asset="stands", blocking=True)])
def stands(context: dg.AssetExecutionContext) -> Iterator[Any]:
    yield dg.MaterializeResult()
    yield dg.AssetCheckResult(check_name="sound", passed="spoilt" not in context.run.tags)


@dg.asset(deps=[stands])
def follows(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
    if "lost" in context.run.tags:
        raise ValueError("an asset fails")
    return dg.MaterializeResult()


@pytest.mark.parametrize("tag", ["spoilt", "lost"])
def test_a_failed_check_or_asset_is_not_tried_again(instances: Instances, tag: str) -> None:
    instance = instances[0]
    failed = dg.materialize(
        [stands, follows], instance=instance, tags={tag: "yes"}, raise_on_error=False
    )
    run = instance.get_run_by_id(failed.run_id)
    assert run is not None
    assert run.status == dg.DagsterRunStatus.FAILURE
    assert run.tags["dagster/will_retry"] == "false"


def test_a_lost_process_is_tried_again_once(instances: Instances) -> None:
    instance = instances[0]
    lost = instance.create_run_for_job(pulling, status=dg.DagsterRunStatus.STARTED)
    instance.report_run_failed(lost)  # as run monitoring does for a run past its age

    run = instance.get_run_by_id(lost.run_id)
    assert run is not None
    assert run.tags["dagster/will_retry"] == "true"
    assert instance.run_retries_max_retries == 1
    assert instance.run_monitoring_enabled
    assert instance.run_monitoring_max_runtime_seconds > 0


@dg.op(pool="source")
def pulls() -> None:
    pass


@dg.op(pool="training")
def trains() -> None:
    pass


@dg.job
def pulling() -> None:
    pulls()


@dg.job
def training() -> None:
    trains()


def test_of_two_runs_that_need_the_same_the_second_waits_and_others_do_not(
    instances: Instances,
) -> None:
    instance = instances[0]
    pools = instance.get_concurrency_config().pool_config
    assert pools.pool_granularity == PoolGranularity.RUN

    def run(job: dg.JobDefinition) -> dg.DagsterRun:
        return instance.create_run_for_job(
            job, execution_plan=create_execution_plan(job), status=dg.DagsterRunStatus.STARTED
        )

    under_way = run(pulling)
    waiting = [run(job) for job in (pulling, training)]
    counter = GlobalOpConcurrencyLimitsCounter(
        instance,
        waiting,
        instance.get_run_records(dg.RunsFilter(run_ids=[under_way.run_id])),
        concurrency_keys={"source", "training"},
        pool_limits=instance.event_log_storage.get_pool_limits(),
        pool_granularity=pools.pool_granularity,
    )
    assert [counter.is_blocked(one) for one in waiting] == [True, False]


def test_a_job_is_in_the_pools_of_what_it_must_not_do_twice_at_once() -> None:
    found = {
        job: {
            pool
            for node in code_location.resolve_job_def(job).nodes
            for pool in node.definition.pools
        }
        for job in ("ingest_day", "retrain", "refresh_serving", "observe_day")
    }
    assert found == {
        "ingest_day": {"source"},
        "retrain": {"training"},
        "refresh_serving": {"publication"},
        "observe_day": set(),
    }


@pytest.mark.parametrize("embedded", [False, True])
def test_a_home_and_a_deployment_agree_on_what_is_not_a_matter_of_size(
    root: Path, embedded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    path = dagster_home.prepare() if embedded else root / "deploy"
    written = msgspec.yaml.decode((path / "dagster.yaml").read_bytes())
    assert written["run_retries"]["retry_on_asset_or_op_failure"] is False
    assert written["concurrency"]["pools"] == {"granularity": "run", "default_limit": 1}
    assert written["run_monitoring"]["enabled"]
    deployed = msgspec.yaml.decode((root / "deploy" / "dagster.yaml").read_bytes())
    limit = deployed["run_monitoring"]["max_runtime_seconds"]
    assert written["run_monitoring"]["max_runtime_seconds"] == limit
    assert written["retention"].keys() == {"schedule", "sensor"}


def test_ticks_are_forgotten_in_time_and_nothing_is_reported_home(instances: Instances) -> None:
    instance = instances[0]

    for kind in (InstigatorType.SCHEDULE, InstigatorType.SENSOR):
        days = instance.get_tick_retention_settings(kind)
        for status in (TickStatus.SKIPPED, TickStatus.SUCCESS, TickStatus.FAILURE):
            assert 0 < days[status] <= 90
    assert instance.telemetry_enabled is False
