"""The command `dev`: the UI on a home's servers and history, until Ctrl-C."""

from __future__ import annotations

import json
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from moovitamix_tests.main_job.command import PATIENCE, Running, a_home

_WORKSPACE = """{ workspaceOrError { ... on Workspace { locationEntries {
  name locationOrLoadError { ... on RepositoryLocation { repositories {
    assetGroups { groupName } jobs { name } schedules { name scheduleState { status } } } } }
} } } }"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def ask(port: int, query: str) -> dict[str, Any]:
    """The data of a GraphQL query to the UI's server."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql",
        data=json.dumps({"query": query}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - on loopback
        data: dict[str, Any] = json.load(answer)["data"]
    return data


def wait_for_ui(running: Running, port: int) -> None:
    """Waits until the UI's server answers."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert running.process.poll() is None, running.ended().output
        try:
            ask(port, "{ version }")
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
        else:
            return
    raise AssertionError("The UI did not answer.")


def wait_for_api(running: Running, port: int) -> None:
    """Waits until the API answers, with nothing to serve yet."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert running.process.poll() is None, running.ended().output
        url = f"http://127.0.0.1:{port}/users/1/recommendations"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                assert json.load(answer)["tier"] == "nothing yet"
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
        else:
            return
    raise AssertionError("The API did not answer.")


def test_dev_shows_the_graph_until_ctrl_c_and_leaves_only_the_servers(tmp_path: Path) -> None:
    port, api_port = free_port(), free_port()
    with a_home(tmp_path / "home") as home:
        with home.started("dev", "--port", str(port), "--api-port", str(api_port)) as running:
            wait_for_ui(running, port)
            wait_for_api(running, api_port)
            (location,) = ask(port, _WORKSPACE)["workspaceOrError"]["locationEntries"]
            running.interrupt()
            ended = running.ended()

        assert location["name"] == "moovitamix"
        (repository,) = location["locationOrLoadError"]["repositories"]
        groups = {group["groupName"] for group in repository["assetGroups"]}
        assert groups == {"ingest", "warehouse", "recommend", "serve", "observe"}
        assert {"ingest_day", "retrain", "refresh_serving"} <= {
            job["name"] for job in repository["jobs"]
        }
        schedules = {one["name"]: one["scheduleState"]["status"] for one in repository["schedules"]}
        assert schedules == {
            "ingest_daily": "RUNNING",
            "housekeeping_daily": "RUNNING",
            "count_feedback_daily": "RUNNING",
        }
        assert f"http://127.0.0.1:{port}" in ended.said
        assert "Traceback" not in ended.output
        left = [" ".join(process.cmdline()) for process in home.processes()]
        assert not [line for line in left if "dagster" in line or "moovitamix serve" in line], left
        assert home.command("down").said == "Stopped demo source, valkey, postgres."
