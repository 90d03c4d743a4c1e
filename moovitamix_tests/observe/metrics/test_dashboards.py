"""Every panel's expressions, asked of a real Prometheus that scrapes a real exporter and API.

How Grafana draws them is not tested: there is none.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep
from types import ModuleType
from typing import Any

import httpx
import msgspec
import pytest

from moovitamix.ingest.ensure import ensure_pull
from moovitamix.observe.metrics.exporter import exporting
from moovitamix.observe.metrics.registry import BY_NAME
from moovitamix.resources import Source
from moovitamix_tests.observe.metrics.operated import Operated, last_days
from moovitamix_tests.reference_source import serve_app

ROOT = Path(__file__).parents[3]
GRAFANA = ROOT / "deploy" / "grafana"
FILES = sorted((GRAFANA / "dashboards").glob("*.json"))

PATIENCE = 90.0
_UNITS = {
    "s", "bytes", "percentunit", "short", "reqps", "dateTimeFromNow", "bool_yes_no",
}  # fmt: skip

Targets = dict[tuple[str, str], str]


def panels() -> list[tuple[str, dict[str, Any]]]:
    return [
        (file.stem, panel) for file in FILES for panel in json.loads(file.read_text())["panels"]
    ]


def targets() -> Targets:
    """Expressions by dashboard and panel, as Prometheus takes them."""
    return {
        (name, f"{panel['title']} {target['refId']}"): target["expr"].replace(
            "$__rate_interval", "1m"
        )
        for name, panel in panels()
        for target in panel["targets"]
    }


def test_the_files_are_what_the_dashboards_say(tmp_path: Path) -> None:
    module = _dashboards()
    module.write(tmp_path)
    assert {file.name: file.read_text() for file in FILES} == {
        file.name: file.read_text() for file in tmp_path.iterdir()
    }


def test_each_panel_is_a_question_with_a_unit_and_a_place_of_its_own() -> None:
    assert len(FILES) == 3
    for file in FILES:
        taken: set[tuple[int, int]] = set()
        found = json.loads(file.read_text())
        assert len({panel["title"] for panel in found["panels"]}) == len(found["panels"])
        for panel in found["panels"]:
            assert panel["title"].endswith("?")
            assert panel["fieldConfig"]["defaults"]["unit"] in _UNITS
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not cells & taken
            assert max(x for x, _ in cells) < 24
            taken |= cells


def test_every_metric_is_drawn() -> None:
    rules = (ROOT / "deploy" / "prometheus" / "rules" / "recording.yml").read_text()
    drawn = " ".join([*targets().values(), rules])
    # How long collecting took is for whoever asks why a scrape is slow.
    missing = {name for name in BY_NAME if name not in drawn}
    assert missing == {"moovitamix_exporter_collection_seconds"}


def test_the_data_source_is_the_one_that_panels_name() -> None:
    provisioned = msgspec.yaml.decode(
        (GRAFANA / "provisioning" / "datasources" / "prometheus.yml").read_text()
    )
    uids = {source["uid"] for source in provisioned["datasources"]}
    named = {target["datasource"]["uid"] for _, panel in panels() for target in panel["targets"]}
    assert named == uids
    (provider,) = msgspec.yaml.decode(
        (GRAFANA / "provisioning" / "dashboards" / "moovitamix.yml").read_text()
    )["providers"]
    assert provider["options"]["path"] == "/etc/grafana/dashboards"


def test_every_panel_has_something_to_show(operated: Operated, tmp_path: Path) -> None:
    if shutil.which("prometheus") is None:
        pytest.skip("NOT CHECKED: prometheus is not installed (apt-get install prometheus).")
    waiting, errors = targets(), {}
    api = operated.build_api(background=True)
    with (
        exporting(
            operated.warehouse, operated.cache, operated.lake, "127.0.0.1", 0, seconds=0.5
        ) as port,
        serve_app(api.app) as api_url,
        _prometheus(tmp_path, batch=f"127.0.0.1:{port}", api=api_url.partition("//")[2]) as client,
    ):
        _until(lambda: bool(_series(client, "moovitamix_source_request_failures_total")))
        ensure_pull(
            Source(url=operated.source_url),
            operated.lake.open(),
            operated.warehouse,
            last_days()[-1:],
            refresh=True,
            log=lambda _: None,
        )
        until = monotonic() + PATIENCE
        number = 0
        while waiting and monotonic() < until:
            _use(api_url, number := number + 1)
            for name, expression in list(waiting.items()):
                found = _series(client, expression)
                if isinstance(found, str):
                    errors[name] = found
                elif found:
                    del waiting[name]
            sleep(0.2)  # between two looks; what is looked for comes with the next scrape
    assert errors == {}
    assert waiting == {}


def _use(api_url: str, number: int) -> None:
    """What apps do, a little of it."""
    with httpx.Client(base_url=api_url) as app:
        for path in ("/users/1/recommendations", "/users/87654/recommendations", "/tracks/popular"):
            assert app.get(path).status_code == 200
        moment = (datetime.now(UTC) - timedelta(minutes=number)).replace(tzinfo=None).isoformat()
        heard = {"user_id": 3, "items": [5], "created_at": moment, "updated_at": moment}
        assert app.post("/listens", json=heard).status_code == 202


def _series(client: httpx.Client, expression: str) -> list[Any] | str:
    """What Prometheus answers; the error, where it does not understand."""
    told = client.get("/api/v1/query", params={"query": expression}).json()
    if told["status"] != "success":
        return str(told["error"])
    found: list[Any] = told["data"]["result"]
    return found


@contextmanager
def _prometheus(folder: Path, *, batch: str, api: str) -> Iterator[httpx.Client]:
    """A Prometheus with our rules that asks every other second."""
    ours = msgspec.yaml.decode((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    addresses = {"moovitamix-batch": batch, "moovitamix-api": api}
    configuration = {
        "global": {"evaluation_interval": "500ms"},
        "rule_files": [str(ROOT / "deploy" / "prometheus" / "rules" / "*.yml")],
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
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'series'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    ]
    with (
        subprocess.Popen(command) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        try:
            _until(lambda: process.poll() is not None or _is_ready(client))
            assert process.poll() is None
            yield client
        finally:
            process.terminate()


def _is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/-/ready").status_code == 200
    except httpx.HTTPError:
        return False


def _until(holds: Any) -> None:
    until = monotonic() + PATIENCE
    while not holds():
        assert monotonic() < until
        sleep(0.05)


def _dashboards() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dashboards", GRAFANA / "dashboards.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["dashboards"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_expressions_name_no_metric_that_is_not_produced() -> None:
    endings = ("", "_bucket", "_sum", "_count")
    known = {name + ending for name in BY_NAME for ending in endings}
    for expression in targets().values():
        bare = re.sub(r'"[^"]*"|[a-z_]+:[a-z_:0-9]+', "", expression)
        assert set(re.findall(r"moovitamix_[a-z_]+", bare)) <= known, expression
