"""The panels of the dashboards, as Grafana reads them, and their expressions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

GRAFANA = Path(__file__).parents[3] / "deploy" / "grafana"
FILES = sorted((GRAFANA / "dashboards").glob("*.json"))


def panels() -> list[tuple[str, dict[str, Any]]]:
    return [
        (file.stem, panel) for file in FILES for panel in json.loads(file.read_text())["panels"]
    ]


def targets() -> dict[tuple[str, str], str]:
    """Expressions by dashboard and panel, as Prometheus takes them."""
    return {
        (name, f"{panel['title']} {target['refId']}"): target["expr"].replace(
            "$__rate_interval", "1m"
        )
        for name, panel in panels()
        for target in panel["targets"]
    }
