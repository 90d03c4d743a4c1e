"""The services of docker-compose.yml together, as processes: their own commands and health checks.

Containers, volumes and the image are Docker's job and are not tested here.
"""

import contextlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from moovitamix import automation
from moovitamix_tests.observe.logs.conftest import graylog
from moovitamix_tests.observe.logs.receiver import Receiver, faults_of

__all__ = ["graylog"]

PROBE_LOCATION = '''
"""The code location, and beside it a job that prints: what a deployment has to carry."""
import dagster as dg

import moovitamix.definitions

@dg.asset
def songs_heard() -> dg.MaterializeResult:
    print("three songs")
    return dg.MaterializeResult(metadata={"rows": 3})

defs = dg.Definitions.merge(
    moovitamix.definitions.defs,
    dg.Definitions(assets=[songs_heard], jobs=[dg.define_asset_job("probe", [songs_heard])]),
)
'''
JOBS = """
query Jobs($selector: RepositorySelector!) {
  repositoryOrError(repositorySelector: $selector) {
    __typename
    ... on Repository { jobs { name } schedules { name scheduleState { status } } }
    ... on PythonError { message }
  }
}
"""
LAUNCH = """
mutation Launch($selector: JobOrPipelineSelector!) {
  launchRun(executionParams: {selector: $selector}) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}
"""
PATIENCE = 90.0
"""Seconds after which a service that is not healthy is called broken; a sound one needs a few."""


class Stack:
    """Services of docker-compose.yml as processes of this machine, on free ports."""

    def __init__(
        self,
        services: dict[str, dict[str, Any]],
        home: Path,
        env: dict[str, str],
        replaced: dict[str, str],
        ports: list[int],
    ) -> None:
        self._replaced = replaced
        self._services = services
        self._home = home
        self._env = env
        self._ports = {"4000": str(ports[0]), "3000": str(ports[1])}

    def port(self, inside: str) -> str:
        """The free port that stands for the one inside the containers."""
        return self._ports[inside]

    def _here(self, words: list[str]) -> list[str]:
        """A container's command for this machine: our interpreter, ports, paths and probe."""
        replaced = {
            **self._ports,
            "0.0.0.0": "127.0.0.1",  # noqa: S104
            "python": sys.executable,
            "moovitamix.definitions": "probe_location",
            "/opt/dagster/workspace.yaml": str(self._home / "workspace.yaml"),
        }
        whole = [replaced.get(word, word) for word in words]
        for inside, outside in self._ports.items():
            whole = [
                word.replace(f"127.0.0.1:{inside}/", f"127.0.0.1:{outside}/") for word in whole
            ]
        return whole

    def environment(self, name: str) -> dict[str, str]:
        """What the service is given, with addresses and folders of the test in their place."""
        given = self._services[name]["environment"]
        found = {key: self._replaced.get(key, value) for key, value in given.items()}
        return {**{key: value for key, value in found.items() if value is not None}, **self._env}

    def complete(self, name: str) -> subprocess.CompletedProcess[str]:
        """Runs a service that ends by itself."""
        return subprocess.run(
            self._here(self._services[name]["command"]),
            env=self.environment(name),
            cwd=self._home,
            capture_output=True,
            text=True,
            check=False,
        )

    @contextlib.contextmanager
    def running(self, name: str) -> Iterator[None]:
        """Starts a service, waits until its own health check passes, and stops it at the end."""
        log = self._home / f"{name}.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                self._here(self._services[name]["command"]),
                env=self.environment(name),
                cwd=self._home,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                self._wait_until_healthy(name, process, log)
                yield
            finally:
                process.terminate()
                process.wait(timeout=60)

    def _wait_until_healthy(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        kind, *words = self._services[name]["healthcheck"]["test"]
        command = ["sh", "-c", *words] if kind == "CMD-SHELL" else self._here(words)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            assert process.poll() is None, log.read_text()
            check = subprocess.run(
                command,
                env=self.environment(name),
                cwd=self._home,
                capture_output=True,
                check=False,
            )
            if check.returncode == 0:
                return
            time.sleep(0.5)
        pytest.fail(f"{name} did not become healthy:\n{log.read_text()}")


@pytest.fixture
def stack(
    services: dict[str, dict[str, Any]],
    dagster_storage: dict[str, str],
    free_ports: list[int],
    tmp_path: Path,
    root: Path,
    graylog: Receiver,
) -> Stack:
    """The stack with an empty DAGSTER_HOME, made of the files that the image holds."""
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(root / "deploy" / "dagster.yaml", home)
    workspace = (root / "deploy" / "workspace.yaml").read_text()
    here = workspace.replace("host: code-location", "host: 127.0.0.1")
    (home / "workspace.yaml").write_text(here.replace("4000", str(free_ports[0])))
    (home / "probe_location.py").write_text(PROBE_LOCATION)
    env = {
        **dagster_storage,
        "DAGSTER_HOME": str(home),
        "HOME": str(home),
        "PYTHONPATH": str(root),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    replaced = {
        "MOOVITAMIX_HOME": str(home / "moovitamix"),
        "MOOVITAMIX_LAKE_URL": (home / "lake").as_uri(),
        "MOOVITAMIX_GELF_URL": graylog.url,
    }
    return Stack(services, home, env, replaced, free_ports)


def _post(port: str, path: str, body: object) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=30)
    with contextlib.closing(connection):
        connection.request(
            "POST", path, json.dumps(body), headers={"Content-Type": "application/json"}
        )
        return json.loads(connection.getresponse().read())


def _finished(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRun:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        run = instance.get_run_by_id(run_id)
        if run is not None and run.is_finished:
            return run
        time.sleep(0.2)
    pytest.fail(f"run {run_id} did not finish: {run}")


def test_a_run_asked_for_in_the_ui_is_queued_launched_in_the_code_location_and_its_log_is_shown(
    stack: Stack,
    dagster_storage: dict[str, str],
    graylog: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    migrated = stack.complete("migrate")
    assert migrated.returncode == 0, migrated.stderr
    assert dagster_storage["DAGSTER_POSTGRES_PASSWORD"] not in migrated.stdout + migrated.stderr

    with (
        stack.running("code-location"),
        stack.running("webserver"),
        stack.running("daemon"),
    ):
        repository = {
            "repositoryLocationName": "moovitamix",
            "repositoryName": "__repository__",
        }
        shown = _post(
            stack.port("3000"), "/graphql", {"query": JOBS, "variables": {"selector": repository}}
        )["data"]["repositoryOrError"]
        assert shown["__typename"] == "Repository", shown
        assert {job["name"] for job in shown["jobs"]} >= {job.name for job in automation.JOBS}
        assert shown["schedules"] == [
            {"name": schedule.name, "scheduleState": {"status": "RUNNING"}}
            for schedule in sorted(automation.SCHEDULES, key=lambda one: one.name)
        ]
        selector = {**repository, "jobName": "probe"}
        answer = _post(
            stack.port("3000"), "/graphql", {"query": LAUNCH, "variables": {"selector": selector}}
        )
        assert answer["data"]["launchRun"]["__typename"] == "LaunchRunSuccess", answer

        for name, value in stack.environment("webserver").items():
            monkeypatch.setenv(name, value)
        with dg.DagsterInstance.get() as instance:
            run = _finished(instance, answer["data"]["launchRun"]["run"]["runId"])
            events = instance.all_logs(run.run_id)
            (captured,) = (
                event.dagster_event.logs_captured_data.file_key
                for event in events
                if event.dagster_event
                and event.dagster_event_type == dg.DagsterEventType.LOGS_CAPTURED
            )
            printed = instance.compute_log_manager.get_log_data(
                [run.run_id, "compute_logs", captured]
            )

    assert run.status == dg.DagsterRunStatus.SUCCESS, events
    assert any(
        event.dagster_event and event.dagster_event.event_type_value == "PIPELINE_ENQUEUED"
        for event in events
    )
    assert b"three songs" in (printed.stdout or b"")

    # Every process has shipped what it said, the run in its own before it ended.
    graylog.wait_for(1, lambda one: one.get("_event") == "PIPELINE_SUCCESS")
    graylog.wait_for(1, lambda one: one["_service"] == "daemon")
    graylog.wait_for(1, lambda one: one["_service"] == "code-location")
    told = [one for one in graylog.messages if one.get("_run") == run.run_id]
    (made,) = [one for one in told if one.get("_event") == "ASSET_MATERIALIZATION"]
    assert (made["_service"], made["_asset"], made["_job"]) == ("run", "songs_heard", "probe")
    assert "PIPELINE_SUCCESS" in {one.get("_event") for one in told}
    assert [faults for faults in map(faults_of, graylog.messages) if faults] == []
    assert dagster_storage["DAGSTER_POSTGRES_PASSWORD"] not in str(graylog.messages)
