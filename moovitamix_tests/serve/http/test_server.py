"""The command `serve`: several workers on the embedded servers, until Ctrl-C."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psutil

from moovitamix.serve.http import fold_process
from moovitamix.serve.http.keys import add_key, make_key
from moovitamix_tests.main_job.command import PATIENCE, Home, Running, a_home
from moovitamix_tests.main_job.test_dev import free_port
from moovitamix_tests.observe.logs.receiver import Receiver, faults_of

REQUESTS = 40


def ask(port: int, path: str, key: str = "") -> tuple[int, bytes]:
    try:
        url = f"http://127.0.0.1:{port}{path}"
        request = urllib.request.Request(url, headers={"X-API-Key": key} if key else {})
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - http, see above
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


def unlocked(home: Home, port: int) -> str:
    """A key, made as the command does it, that every worker has read."""
    secret, key = make_key("app", "read")
    add_key(home.path / "api-keys", key)
    deadline = time.monotonic() + PATIENCE
    in_a_row = 0  # whichever worker answers
    while in_a_row < 20:
        assert time.monotonic() < deadline
        let_in = ask(port, "/tracks/popular", secret)[0] == 200
        in_a_row = in_a_row + 1 if let_in else 0
        if not let_in:
            time.sleep(0.1)
    return secret


def folding_of(home: Home) -> list[psutil.Process]:
    return [p for p in home.processes() if fold_process.__name__ in p.cmdline()]


def until_folding(port: int, key: str) -> None:
    """Waits until whichever worker is asked tells what the process beside them counts."""
    deadline = time.monotonic() + PATIENCE
    while b"\nmoovitamix_fold_ins_total 0.0\n" not in ask(port, "/metrics", key)[1]:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_workers_answer_together_and_add_up_their_figures(tmp_path: Path) -> None:
    port = free_port()
    with a_home(tmp_path / "home") as home, Receiver() as graylog:
        command = ("serve", "--port", str(port), "--workers", "2", "--locked")
        with home.started(*command, gelf_url=graylog.url) as running:
            wait_for(running, port)
            assert ask(port, "/users/5/recommendations")[0] == 401
            key = unlocked(home, port)
            told: list[dict[str, Any]] = []
            for _ in range(REQUESTS):
                status, body = ask(port, "/users/5/recommendations", key)
                assert status == 200
                told.append(json.loads(body))
            assert {answer["tier"] for answer in told} == {"nothing yet"}
            assert ask(port, "/health/ready")[0] == 503
            # One folds in, for both workers, and tells its figures beside theirs.
            (folding,) = folding_of(home)
            until_folding(port, key)
            _, figures = ask(port, "/metrics", key)
            counted = [
                float(line.rpartition(" ")[2])
                for line in figures.decode().splitlines()
                if line.startswith("moovitamix_http_requests_total{")
                and "nothing yet" in line
                and "/users/" in line
            ]
            assert sum(counted) == REQUESTS
            assert folding.pid in {process.pid for process in folding_of(home)}
            running.interrupt()
            ended = running.ended()
        graylog.wait_for(REQUESTS, lambda one: "_user" in one and one["_status"] == 200)
        logged = [one for one in graylog.messages if "_user" in one and one["_status"] == 200]
        assert [faults_of(one) for one in graylog.messages] == [[]] * len(graylog.messages)
        assert len(logged) == len({one["_request_id"] for one in logged}) == REQUESTS
        (name,) = {one["_user"] for one in logged}
        assert name != "5"
        assert {(one["_service"], one["_status"]) for one in logged} == {("api", 200)}
        assert "it lets nobody in until `moovitamix keys create NAME`" in ended.said
        assert "Traceback" not in ended.output
        assert '"route":"/users/{id}/recommendations"' in ended.output
        assert not [p for p in home.processes() if "serve" in p.cmdline()]
        assert not folding_of(home)
