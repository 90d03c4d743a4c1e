"""What runs took is kept, however they are started and end, and no run fails for it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from moovitamix.definitions import build_defs
from moovitamix.observe.metrics.meter import StepMeter
from moovitamix.observe.metrics.recorder import metered
from moovitamix.resources import Warehouse
from moovitamix_tests.observe.metrics.platform import NO_POSTGRES

_MEBIBYTES = 64


@dg.op
def spin() -> None:
    """Works for a while, in much memory."""
    taken = bytearray(_MEBIBYTES * 2**20)
    until = time.process_time() + 0.05
    while time.process_time() < until:
        taken[0] += 1
        taken[0] = 0


@dg.op
def stumble() -> None:
    """Fails."""
    raise ValueError("as it should")


def _job(warehouse: Warehouse) -> dg.JobDefinition:
    @dg.job(executor_def=metered(warehouse))
    def both() -> None:
        spin()
        stumble()

    return both


# As run workers build them: from functions that can be imported.
def launched() -> dg.JobDefinition:
    return _job(
        Warehouse(url=os.environ["TEST_DATABASE_URL"], namespace=os.environ["TEST_NAMESPACE"])
    )


def launched_without_postgres() -> dg.JobDefinition:
    return _job(Warehouse(url=NO_POSTGRES, namespace="none"))


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as found:
        yield found


def test_a_launched_run_keeps_what_each_step_took_also_when_it_fails(
    instance: dg.DagsterInstance, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_DATABASE_URL", warehouse.address())
    monkeypatch.setenv("TEST_NAMESPACE", warehouse.schema_name)
    job = dg.reconstructable(launched)
    with dg.execute_job(job, instance=instance, raise_on_error=False) as result:
        assert not result.success
        with warehouse.connect() as connection:
            rows = connection.execute(
                "SELECT run_id, job, stage, step, succeeded, seconds, cpu_seconds, peak_bytes, "
                "rows FROM step_figures ORDER BY step"
            ).fetchall()
        assert [row[:5] for row in rows] == [
            (result.run_id, "both", "upkeep", "spin", True),
            (result.run_id, "both", "upkeep", "stumble", False),
        ]
        spun = rows[0]
        assert spun[5] > 0
        assert spun[6] >= 0.04
        assert spun[7] > _MEBIBYTES * 2**20
        assert spun[8] is None


def test_a_run_goes_on_when_its_figures_cannot_be_kept(
    instance: dg.DagsterInstance, caplog: pytest.LogCaptureFixture
) -> None:
    job = dg.reconstructable(launched_without_postgres)
    with dg.execute_job(job, instance=instance, raise_on_error=False) as result:
        failed = [event.step_key for event in result.all_events if event.is_step_failure]
    assert failed == ["stumble"]
    assert "are lost: StoreUnavailable" in caplog.text


def test_the_code_location_measures_every_run() -> None:
    job = build_defs().resolve_job_def("ingest_day")
    assert job.executor_def.name == "in_process"
    assert job.executor_def.executor_creation_fn != (
        dg.in_process_executor.executor_creation_fn
    )  # else no figure of a launched run would be kept


def test_the_peak_of_a_step_is_its_own_where_the_system_can_tell() -> None:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("NOT CHECKED: this system has no high-water mark that can be begun anew.")
    meter = StepMeter()
    meter.began("large")
    held = bytearray(4 * _MEBIBYTES * 2**20)
    held[::4096] = b"x" * len(held[::4096])
    del held
    meter.ended("large", succeeded=True)
    meter.began("small")
    meter.ended("small", succeeded=True)
    large, small = (meter.costs[step].peak_bytes for step in ("large", "small"))
    assert large - small > 2 * _MEBIBYTES * 2**20


def test_a_step_that_was_never_begun_costs_nothing() -> None:
    meter = StepMeter()
    meter.ended("skipped", succeeded=False)
    assert meter.costs == {}
