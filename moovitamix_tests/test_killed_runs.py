"""A run whose process is gone does not stay unfinished, and hold up what comes after it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from moovitamix.killed_runs import (
    PROCESS_TAG,
    close_killed_runs,
    close_runs_of_server,
    this_process,
)


@dg.job
def work() -> None:
    """Nothing: it is never executed."""


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test(temp_dir=str(tmp_path)) as opened:
        yield opened


def started(instance: dg.DagsterInstance, **tags: str) -> str:
    run = instance.create_run_for_job(work, tags=tags, status=dg.DagsterRunStatus.STARTED)
    return run.run_id


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def test_a_run_of_a_command_line_that_is_gone_is_canceled(instance: dg.DagsterInstance) -> None:
    ours = started(instance, **{PROCESS_TAG: this_process()})
    host, _, created = this_process().rsplit("/", 2)
    gone = started(instance, **{PROCESS_TAG: f"{host}/{os.getpid()}/{float(created) - 9:.2f}"})
    elsewhere = started(instance, **{PROCESS_TAG: "another-machine/1/1.00"})
    assert close_killed_runs(instance) == [gone]
    assert status(instance, gone) is dg.DagsterRunStatus.CANCELED
    assert {status(instance, run) for run in (ours, elsewhere)} == {dg.DagsterRunStatus.STARTED}


def test_a_launched_run_has_failed_when_nothing_of_its_dagster_is_left(
    instance: dg.DagsterInstance,
) -> None:
    launched = started(instance)
    assert close_killed_runs(instance) == [launched]
    assert status(instance, launched) is dg.DagsterRunStatus.FAILURE
    assert close_killed_runs(instance) == []


def test_a_launched_run_is_left_alone_while_a_daemon_lives(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    launched = started(instance)
    command = [sys.executable, "-c", "print('dagster', flush=True); input()"]
    environment = {**os.environ, "DAGSTER_HOME": str(tmp_path)}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as daemon:
        assert daemon.stdout is not None
        daemon.stdout.readline()
        assert close_killed_runs(instance) == []
        assert status(instance, launched) is dg.DagsterRunStatus.STARTED
        daemon.communicate(b"\n")
    assert close_killed_runs(instance) == [launched]


def test_what_a_code_location_had_launched_has_failed_when_it_starts_anew(
    instance: dg.DagsterInstance,
) -> None:
    here, there = (
        started(instance, **{".dagster/grpc_info": f'{{"host": "{host}", "port": 4000}}'})
        for host in ("code-location", "another")
    )
    elsewhere = started(instance)
    assert close_runs_of_server(instance, "code-location", 4000) == [here]
    assert status(instance, here) is dg.DagsterRunStatus.FAILURE
    assert {status(instance, run) for run in (there, elsewhere)} == {dg.DagsterRunStatus.STARTED}
