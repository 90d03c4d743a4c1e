"""The exporter answers over HTTP, whatever its stores do."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx

from moovitamix.observe.metrics.collector import PlatformCollector
from moovitamix.observe.metrics.exporter import exporting
from moovitamix.resources import Cache, Lake, Warehouse
from moovitamix_tests.observe.metrics.platform import NO_POSTGRES, NO_REDIS, series


def test_it_answers_with_all_stores_down_and_says_so() -> None:
    warehouse = Warehouse(url=NO_POSTGRES, namespace="none")
    cache, lake = Cache(url=NO_REDIS, namespace="none"), Lake(url="unheard://of")
    with exporting(warehouse, cache, lake, "127.0.0.1", 0) as port:
        answer = httpx.get(f"http://127.0.0.1:{port}/metrics")
    assert answer.status_code == 200
    told = {
        dict(labels)["store"]: value
        for (name, labels), value in series(answer.text).items()
        if name == "moovitamix_exporter_up"
    }
    assert told == {"postgres": 0, "redis": 0, "lake": 0}
    assert {name for name, _ in series(answer.text)} == {
        "moovitamix_exporter_up",
        "moovitamix_exporter_collection_seconds",
    }


def test_what_was_read_is_told_again_for_a_while(warehouse: Warehouse, tmp_path: Path) -> None:
    now = [100.0]
    collector = PlatformCollector(
        warehouse,
        Cache(url=NO_REDIS, namespace="none"),
        Lake(url=tmp_path.as_uri()),
        10,
        clock=lambda: now[0],
    )

    def alerts() -> float:
        (found,) = (one for one in collector.collect() if one.name == "moovitamix_alerts_open")
        return sum(one.value for one in found.samples)

    assert alerts() == 0
    with warehouse.connect() as connection:
        connection.execute(
            """INSERT INTO alerts (key, kind, severity, title, text, runbook, first_seen, last_seen)
               VALUES ('k', 'drift', 'warning', 't', 't', 'r', now(), now())"""
        )
    now[0] += 9
    assert alerts() == 0
    now[0] += 1
    assert alerts() == 1


def test_a_part_that_cannot_be_read_is_told_and_the_others_too(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    with warehouse.connect() as connection:
        connection.execute("ALTER TABLE step_figures RENAME TO elsewhere")
    cache, lake = Cache(url=NO_REDIS, namespace="none"), Lake(url=tmp_path.as_uri())
    with exporting(warehouse, cache, lake, "127.0.0.1", 0) as port:
        told = series(httpx.get(f"http://127.0.0.1:{port}/metrics").text)
    parts = {
        dict(labels)["part"]: value
        for (name, labels), value in told.items()
        if name == "moovitamix_exporter_part_read"
    }
    assert parts == {"runs": 0, "quality": 1, "models": 1, "coverage": 1}
    assert told["moovitamix_exporter_up", frozenset({("store", "postgres")})] == 1
    assert any(name == "moovitamix_alerts_open" for name, _ in told)


def test_the_command_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    stores = {
        "DATABASE_URL": NO_POSTGRES,
        "REDIS_URL": NO_REDIS,
        "HOME": str(tmp_path),
    }
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, **{f"MOOVITAMIX_{name}": told for name, told in stores.items()}}
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "moovitamix", "metrics", "serve", "--port", str(port)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert f"http://127.0.0.1:{port}/metrics" in process.stdout.readline()
        assert httpx.get(f"http://127.0.0.1:{port}/metrics").status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
