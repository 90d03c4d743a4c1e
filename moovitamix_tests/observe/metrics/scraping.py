"""A real Prometheus with our rules, that asks addresses of our choice; and its own tools."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import httpx
import msgspec
import pytest

DEPLOY = Path(__file__).parents[3] / "deploy"
PATIENCE = 90.0
# What brings each, in Debian and Ubuntu.
PACKAGES = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "amtool": "prometheus-alertmanager",
}


def installed(name: str) -> str:
    """Where a tool of Prometheus is; without it the test is skipped, loudly."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(
            f"NOT CHECKED: {name} is not installed (apt-get install {PACKAGES[name]}): "
            "see CONTRIBUTING.md."
        )
    return found


def answer(client: httpx.Client, expression: str) -> list[Any] | str:
    """What Prometheus answers; the error, where it does not understand."""
    told = client.get("/api/v1/query", params={"query": expression}).json()
    if told["status"] != "success":
        return str(told["error"])
    found: list[Any] = told["data"]["result"]
    return found


@contextmanager
def prometheus(
    folder: Path, *, batch: str, api: str, environment: Mapping[str, str] | None = None
) -> Iterator[httpx.Client]:
    """A Prometheus with our rules that asks every other second; skipped where there is none."""
    program = installed("prometheus")
    ours = msgspec.yaml.decode((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    addresses = {"moovitamix-batch": batch, "moovitamix-api": api}
    configuration = {
        "global": {
            "evaluation_interval": "500ms",
            "external_labels": ours["global"]["external_labels"],
        },
        "rule_files": [str(DEPLOY / "prometheus" / "rules" / "*.yml")],
        "scrape_configs": [
            {
                "job_name": job["job_name"],
                "scrape_interval": "2s",
                "scrape_timeout": "2s",
                "static_configs": [{"targets": [addresses.pop(job["job_name"])]}],
            }
            for job in ours["scrape_configs"]
        ],
    }  # fmt: skip
    (folder / "prometheus.yml").write_bytes(msgspec.yaml.encode(configuration))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'series'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
        # From version 3 on it does so anyway.
        "--enable-feature=expand-external-labels",
    ]
    with (
        subprocess.Popen(command, env={**os.environ, **(environment or {})}) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        try:
            until(lambda: process.poll() is not None or _is_ready(client))
            assert process.poll() is None
            yield client
        finally:
            process.terminate()


def _is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/-/ready").status_code == 200
    except httpx.HTTPError:
        return False


def until(holds: Callable[[], bool]) -> None:
    latest = monotonic() + PATIENCE
    while not holds():
        assert monotonic() < latest
        sleep(0.05)
