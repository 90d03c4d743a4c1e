"""The registry shown in MLflow: what is to be seen there, and bringing it there in bounded time.

The registry stays the truth; nothing is read back. How MLflow is written to is the business of
`mlflow_writer.py`.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from moovitamix.errors import MoovitaMixError
from moovitamix.recommend import likeness, registry, succession
from moovitamix.recommend.mlflow_writer import KEY, MirroredVersion, Snapshot
from moovitamix.recommend.recorded_figures import recorded_figures
from moovitamix.recommend.registry import ModelVersion

if TYPE_CHECKING:
    import psycopg

    from moovitamix.resources import Warehouse

# So long may a training or a promotion wait for MLflow, whatever its server does.
PATIENCE = timedelta(seconds=60)

# MLflow alone would try a server that is down for minutes. What is set already counts.
_CLIENT_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}

_LONGEST_PARAMETER = 500
_LONGEST_TAG = 4_000
_LONGEST_ERROR = 400
_NEXT = "`moovitamix models mirror` tries again, and so does the next training."


@dataclass(frozen=True, slots=True)
class Mirrored:
    """How it went.

    Attributes:
        well: Whether MLflow shows the registry now.
        told: A sentence; what to do when it is not well.
    """

    well: bool
    told: str


class _Failed(Exception):
    """Why MLflow does not show the registry, as it is told."""


def mirror(warehouse: Warehouse, patience: timedelta = PATIENCE) -> Mirrored | None:
    """Bring the whole registry to MLflow: what it missed while it was down too.

    To be called when the registry's transaction is committed. Whatever goes wrong is told, not
    raised.

    Args:
        warehouse: Where the registry is.
        patience: The writing is ended after it; the next call completes it.

    Returns:
        None when `MLFLOW_TRACKING_URI` is not set.
    """
    import psycopg

    from moovitamix.settings import get_settings

    secret = get_settings().mlflow_tracking_uri
    if secret is None:
        return None
    try:
        _require_client()
        with warehouse.connect() as connection:
            _be_alone(connection, warehouse.schema_name)
            snapshot = read_snapshot(connection, f"moovitamix-{warehouse.schema_name}")
            changes = _write(snapshot, secret.get_secret_value(), patience)
    except subprocess.TimeoutExpired:
        return _failed(f"its server was not done within {patience.total_seconds():g} s")
    except _Failed as error:
        return _failed(str(error))
    except (MoovitaMixError, psycopg.Error, OSError, ValueError) as error:
        return _failed(_shown(f"{type(error).__name__}: {error}"))
    count = len(snapshot["versions"])
    done = f"{changes} changes" if changes else "nothing was missing"
    versions = "the one version" if count == 1 else f"all {count} versions"
    return Mirrored(well=True, told=f"MLflow shows {versions}: {done}.")


def read_snapshot(connection: psycopg.Connection, name: str) -> Snapshot:
    """The registry as MLflow is to show it.

    Args:
        connection: The transaction.
        name: Of the experiment and of the registered model.
    """
    versions = registry.history(connection)
    before = succession.predecessor(connection)
    champion = registry.champion(connection)
    aliases = {"champion": champion.run_id} if champion is not None else {}
    if before is not None:
        aliases["previous"] = before.run_id
    return Snapshot(
        name=name,
        versions=[describe(one) for one in reversed(versions)],
        aliases=aliases,
        pinned=succession.pin(connection) is not None,
    )


def describe(version: ModelVersion) -> MirroredVersion:
    """A version as a run with parameters, metrics and tags, in names that MLflow accepts. Pure.

    Who decided by hand, and in which words, stays in the registry.
    """
    tags = {
        KEY: version.run_id,
        "moovitamix.version": str(version.version),
        "moovitamix.status": version.status,
        "moovitamix.algorithm": version.algorithm,
        "moovitamix.provisional": "yes" if version.provisional else "no",
        "moovitamix.as_of": str(version.as_of),
        "moovitamix.pull": version.pull,
        "moovitamix.matrix_fingerprint": version.matrix_fingerprint,
        "moovitamix.code_version": version.code_version,
        "moovitamix.verdict": version.verdict or "not judged",
        "moovitamix.reason": version.reason or "-",
        "moovitamix.files": "removed" if version.artifact_removed_at else "there",
    }
    found = version.parameters.get("found", {}).get("by")
    if found is not None:
        tags["moovitamix.found_by"] = str(found)
    return MirroredVersion(
        title=f"version {version.version}",
        # Not `file:`, which a server refuses for good reason: it would read its own disk.
        source=f"moovitamix-lake:///{version.artifact}",
        created=int(version.created_at.timestamp() * 1_000),
        parameters={
            _name(name): str(value)[:_LONGEST_PARAMETER]
            for name, value in likeness.flat(version.parameters).items()
        },
        metrics=_metrics(version.metrics),
        tags={name: value[:_LONGEST_TAG] for name, value in tags.items()},
    )


def _metrics(recorded: dict[str, Any]) -> dict[str, float]:
    """Figures with the ends of their intervals. MLflow folds them by what is before the slash."""
    found: dict[str, float] = {}
    for name, figure in recorded_figures(recorded).items():
        shown = _name(name.replace(" ", "/", 1))
        ends = {shown: figure.value, f"{shown} low": figure.low, f"{shown} high": figure.high}
        found |= {key: float(end) for key, end in ends.items() if math.isfinite(end)}
    return found


def _name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_\-. :/]", "_", name)


def _require_client() -> None:
    if importlib.util.find_spec("mlflow") is None:
        raise _Failed("it is not installed: `pip install 'moovitamix[mlflow]'`, or unset the URI")


def _be_alone(connection: psycopg.Connection, schema: str) -> None:
    """Keep others from mirroring until the transaction ends: two would enter versions twice."""
    query = "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))"
    row = connection.execute(query, (f"{schema}:mlflow",)).fetchone()
    if row is None or not row[0]:
        raise _Failed("another process is writing to it")


def _write(snapshot: Snapshot, uri: str, patience: timedelta) -> int:
    ended = subprocess.run(
        [sys.executable, "-m", "moovitamix.recommend.mlflow_writer"],
        input=json.dumps(snapshot),
        capture_output=True,
        text=True,
        timeout=patience.total_seconds(),
        check=False,
        env={**_CLIENT_SETTINGS, **os.environ, "MLFLOW_TRACKING_URI": uri},
    )
    lines = ended.stdout.strip().splitlines()
    if not lines or not lines[-1].startswith("{"):
        said = " ".join(ended.stderr.split()[-30:])
        raise _Failed(_shown(f"the writer ended with {ended.returncode}: {said}"))
    answer: dict[str, Any] = json.loads(lines[-1])
    if "error" in answer:
        raise _Failed(_shown(answer["error"]))
    return int(answer["changes"])


def _failed(why: str) -> Mirrored:
    return Mirrored(well=False, told=f"MLflow does not show the registry: {why}. {_NEXT}")


def _shown(error: str) -> str:
    """An error in one line, without the password and the query of an address in it."""
    line = " ".join(error.split())
    line = re.sub(r"://[^\s/]*@", "://••••@", line)
    return re.sub(r"\?[^\s]*", "?••••", line)[:_LONGEST_ERROR].rstrip(". ")
