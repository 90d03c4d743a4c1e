"""`dg` works on our layout: as a command, in a process of its own, as a developer types it.

What workspace files load is tested in `test_workspace.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from moovitamix_tests.test_graph import ASSETS


def dg_command(root: Path, *arguments: str) -> str:
    told = subprocess.run(
        [Path(sys.executable).parent / "dg", *arguments],
        cwd=root,
        env={**os.environ, "VIRTUAL_ENV": str(Path(sys.executable).parents[1])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    return told.stdout


def test_dg_lists_every_asset_job_schedule_and_sensor(root: Path) -> None:
    found: dict[str, list[dict[str, Any]]] = json.loads(dg_command(root, "list", "defs", "--json"))

    groups: dict[str, set[str]] = {}
    for asset in found["assets"]:
        groups.setdefault(asset["group_name"], set()).add(asset["asset_key"])
        assert asset["description"]
        assert asset["kinds"]
    assert groups == ASSETS
    assert {job["name"] for job in found["jobs"]} >= {"ingest_day", "retrain", "refresh_serving"}
    assert {one["name"] for one in found["schedules"]} >= {"ingest_daily"}
    assert {one["name"] for one in found["sensors"]} >= {"keep_champion", "keep_serving", "alerts"}


def test_dg_finds_nothing_wrong_with_the_definitions_and_the_layout(root: Path) -> None:
    dg_command(root, "check", "defs")
    dg_command(root, "check", "toml")
