"""Dagster's home on this machine: history of runs in SQLite files under the home.

A deployment that sets `DAGSTER_HOME` keeps its own `dagster.yaml`: this module leaves it alone.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from moovitamix.settings import get_settings

_WRITTEN_BY_US = "# Written by moovitamix; remove this line to keep your own changes.\n"

_DAGSTER_YAML = (
    _WRITTEN_BY_US
    + """\
telemetry:
  enabled: false
nux:
  enabled: false
event_log_storage:
  module: moovitamix.embedded.event_log
  class: BatchedSqliteEventLogStorage
  config:
    base_dir: {history}
# Steps say what they do in the event log. Capturing what they print would start four processes
# a run, two of which answer Ctrl-C in the terminal with a trace of their own.
compute_logs:
  module: dagster._core.storage.noop_compute_log_manager
  class: NoOpComputeLogManager
concurrency:
  pools:
    granularity: run
    default_limit: 1
  runs:
    max_concurrent_runs: 4
run_monitoring:
  enabled: true
  # A run that hangs would hold its pool for good.
  max_runtime_seconds: 21600
run_retries:
  enabled: true
  max_retries: 0
  retry_on_asset_or_op_failure: false
retention:
  schedule:
    purge_after_days: 90
  sensor:
    purge_after_days:
      skipped: 7
      failure: 30
      success: 90
"""
)

# Only where there is a server: Dagster warns, at each run, that this way of its own may change.
_SHIPPED = """\
python_logs:
  dagster_handler_config:
    handlers:
      gelf:
        class: moovitamix.observe.logs.process.GelfHandler
"""

_WORKSPACE_YAML = """\
load_from:
  - python_module:
      module_name: moovitamix.definitions
      location_name: moovitamix
"""


def prepare() -> Path:
    """Point this process, and those it starts, at Dagster's home; make it when it is missing.

    Returns:
        The folder: `DAGSTER_HOME` where the environment sets it, else `dagster/` under the home.
    """
    # Without batches a range run over a year spends a minute and a half on its own history.
    os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", "1000")
    configured = os.environ.get("DAGSTER_HOME")
    if configured:
        return Path(configured)
    folder = get_settings().home_path / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    written = folder / "dagster.yaml"
    # Where Dagster would put it: beside the runs' own database the storage would take it for a run.
    history = json.dumps(str(folder / "history" / "runs"), ensure_ascii=False)
    content = _DAGSTER_YAML.format(history=history)
    if get_settings().gelf_url is not None:
        content += _SHIPPED
    if not written.exists() or written.read_text().startswith(_WRITTEN_BY_US):
        _replace(written, content)
    os.environ["DAGSTER_HOME"] = str(folder)
    return folder


def workspace() -> Path:
    """A workspace file that names our code location as the checkout's `workspace.yaml` does."""
    written = prepare() / "moovitamix-workspace.yaml"
    _replace(written, _WORKSPACE_YAML)
    return written


def _replace(path: Path, content: str) -> None:
    if path.exists() and path.read_text() == content:
        return
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_text(content)
    unfinished.replace(path)
