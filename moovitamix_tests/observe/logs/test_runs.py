"""Runs of Dagster, in this process and on a real instance, as a GELF server finds them."""

import logging
from collections.abc import Iterator
from typing import Any

import dagster as dg
import msgspec
import pytest

from moovitamix.embedded import dagster_home
from moovitamix.errors import StoreUnavailable
from moovitamix.observe.logs import process
from moovitamix.settings import get_settings
from moovitamix_tests.observe.logs.receiver import PATIENCE, Receiver, faults_of

SECRET = "ada@example.org"
daily = dg.DailyPartitionsDefinition("2026-11-01")


@dg.asset(
    partitions_def=daily,
    check_specs=[
        dg.AssetCheckSpec("counted", asset="played"),
        dg.AssetCheckSpec("fresh", asset="played"),
    ],
)
def played(context: dg.AssetExecutionContext) -> Iterator[Any]:
    context.log.info("Two tracks were played")
    context.log.debug("Nobody needs to know")
    logging.getLogger("moovitamix.played").warning("One of them twice")
    yield dg.AssetCheckResult(check_name="counted", passed=True, metadata={"rows": 2})
    yield dg.AssetCheckResult(check_name="fresh", passed=False, severity=dg.AssetCheckSeverity.WARN)
    yield dg.MaterializeResult(metadata={"dagster/row_count": 2, "generation": "v1-2026-11-20-1"})


@dg.asset(partitions_def=daily, deps=[played])
def refused() -> dg.MaterializeResult[Any]:
    cause = ValueError(f"duplicate key: {SECRET}")  # as databases speak
    raise StoreUnavailable("Postgres does not answer. Start it.") from cause


@pytest.fixture
def instance(graylog: Receiver, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """With the logs of an embedded home."""
    del graylog
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    written = msgspec.yaml.decode((dagster_home.prepare() / "dagster.yaml").read_bytes())
    logs = {**written["python_logs"], "managed_python_loggers": ["moovitamix"]}
    overrides = {"python_logs": logs}
    with dg.instance_for_test(overrides=overrides) as opened:
        yield opened


def run(instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [played, refused], instance=instance, partition_key="2026-11-20", raise_on_error=False
    )


def test_a_run_is_told_with_its_day_steps_assets_and_checks_and_without_what_errors_quote(
    instance: dg.DagsterInstance, graylog: Receiver
) -> None:
    done = run(instance)
    process.close(PATIENCE)
    graylog.wait_for(1, lambda one: one.get("_event") == "PIPELINE_FAILURE")

    assert [faults for faults in map(faults_of, graylog.messages) if faults] == []
    assert {one["_run"] for one in graylog.messages} == {done.run_id}
    assert {one["_partition"] for one in graylog.messages} == {"2026-11-20"}
    assert {one["_service"] for one in graylog.messages} == {"run"}
    by_words = {one["short_message"]: one for one in graylog.messages}
    assert by_words["Two tracks were played"]["level"] == 6
    assert by_words["Two tracks were played"]["_step"] == "played"
    assert by_words["One of them twice"]["level"] == 4
    assert by_words["One of them twice"]["_step"] == "played"
    assert "Nobody needs to know" not in by_words
    of_events: dict[str, list[dict[str, Any]]] = {}
    for one in graylog.messages:
        of_events.setdefault(one.get("_event", ""), []).append(one)
    (made,) = of_events["ASSET_MATERIALIZATION"]
    assert (made["_asset"], made["_rows"]) == ("played", 2)
    assert made["_generation"] == "v1-2026-11-20-1"
    checks = {one["_check"]: one for one in of_events["ASSET_CHECK_EVALUATION"]}
    assert checks["counted"]["_passed"] == "true"
    assert (checks["fresh"]["_passed"], checks["fresh"]["level"]) == ("false", 4)
    assert checks["fresh"]["_asset"] == "played"
    (ended,) = of_events["STEP_SUCCESS"]
    assert ended["_seconds"] > 0
    (failed,) = of_events["STEP_FAILURE"]
    assert (failed["_step"], failed["level"]) == ("refused", 3)
    assert "Postgres does not answer. Start it." in failed["full_message"]
    assert "ValueError" in failed["full_message"]
    assert "in refused" in failed["full_message"]
    assert SECRET not in str(graylog.messages)


def test_what_a_run_and_its_process_both_hear_is_told_once(
    instance: dg.DagsterInstance, graylog: Receiver
) -> None:
    process.attach("code-location")
    run(instance)
    logging.getLogger("moovitamix.played").warning("Of no run")
    process.close(PATIENCE)
    graylog.wait_for(1, lambda one: one["short_message"] == "Of no run")
    assert graylog.said().count("One of them twice") == 1
    assert graylog.said().count("Of no run") == 1


def test_without_a_server_a_run_goes_on_as_if_there_were_none(
    instance: dg.DagsterInstance, graylog: Receiver
) -> None:
    graylog.__exit__()
    done = run(instance)
    assert {event.step_key for event in done.all_events if event.is_step_success} == {"played"}
    assert not graylog.messages


def test_a_home_without_a_server_says_nothing_of_shipping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    assert "python_logs" not in (dagster_home.prepare() / "dagster.yaml").read_text()
    monkeypatch.delenv("DAGSTER_HOME")
    monkeypatch.setenv("MOOVITAMIX_GELF_URL", "gelf+tcp://logs")
    get_settings.cache_clear()
    assert "GelfHandler" in (dagster_home.prepare() / "dagster.yaml").read_text()


def test_what_a_sensor_says_is_told_with_its_name(graylog: Receiver) -> None:
    @dg.sensor(minimum_interval_seconds=60)
    def looks(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        context.log.addHandler(process.GelfHandler("code-location"))
        context.log.warning("A store does not answer")
        return dg.SkipReason("nothing to do")

    with dg.instance_for_test() as instance:
        # As the daemon asks for it.
        context = dg.build_sensor_context(
            instance=instance, sensor_name="looks", repository_name="__repository__"
        )
        looks(context)
    process.close(PATIENCE)
    graylog.wait_for(1)
    (told,) = graylog.messages
    assert told["short_message"] == "A store does not answer"
    assert told["_sensor"] == "looks"
    assert told["_service"] == "code-location"
