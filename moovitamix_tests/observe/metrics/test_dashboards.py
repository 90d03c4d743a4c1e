"""The dashboards' files: written by their script, laid out, naming what there is.

Whether their expressions have an answer is told in `test_operated.py`.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import msgspec

from moovitamix.observe.metrics.registry import BY_NAME
from moovitamix_tests.observe.metrics.panels import FILES, GRAFANA, panels, targets

ROOT = Path(__file__).parents[3]

_UNITS = {
    "s", "bytes", "percentunit", "short", "reqps", "dateTimeFromNow", "bool_yes_no",
}  # fmt: skip


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
