"""The command `serve`: several workers on the embedded servers, until Ctrl-C."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from moovitamix_tests.main_job.command import PATIENCE, Running, a_home
from moovitamix_tests.main_job.test_dev import free_port
from moovitamix_tests.observe.logs.receiver import Receiver, faults_of

REQUESTS = 40


def ask(port: int, path: str) -> tuple[int, bytes]:
    try:
        url = f"http://127.0.0.1:{port}{path}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def wait_for(running: Running, port: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert running.process.poll() is None, running.ended().output
        try:
            ask(port, "/health/live")
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
        else:
            return
    raise AssertionError("The API did not answer.")


def test_workers_answer_together_and_add_up_their_figures(tmp_path: Path) -> None:
    port = free_port()
    with a_home(tmp_path / "home") as home, Receiver() as graylog:
        command = ("serve", "--port", str(port), "--workers", "2")
        with home.started(*command, gelf_url=graylog.url) as running:
            wait_for(running, port)
            told: list[dict[str, Any]] = []
            for _ in range(REQUESTS):
                status, body = ask(port, "/users/5/recommendations")
                assert status == 200
                told.append(json.loads(body))
            assert {answer["tier"] for answer in told} == {"nothing yet"}
            assert ask(port, "/health/ready")[0] == 503
            _, figures = ask(port, "/metrics")
            counted = [
                float(line.rpartition(" ")[2])
                for line in figures.decode().splitlines()
                if line.startswith("moovitamix_http_requests_total") and "nothing yet" in line
            ]
            assert sum(counted) == REQUESTS
            running.interrupt()
            ended = running.ended()
        logged = [one for one in graylog.messages if one.get("_tier") == "nothing yet"]
        assert [faults_of(one) for one in graylog.messages] == [[]] * len(graylog.messages)
        assert len(logged) == len({one["_request_id"] for one in logged}) == REQUESTS
        (name,) = {one["_user"] for one in logged}
        assert name != "5"
        assert {(one["_service"], one["_status"]) for one in logged} == {("api", 200)}
        assert "it is open, on loopback only" in ended.said
        assert "Traceback" not in ended.output
        assert '"route":"/users/{id}/recommendations"' in ended.output
        assert not [p for p in home.processes() if "serve" in p.cmdline()]
