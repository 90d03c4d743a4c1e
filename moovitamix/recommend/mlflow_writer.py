"""Writes a snapshot of the registry to an MLflow server: what differs there, and nothing else.

A process of its own (`python -m moovitamix.recommend.mlflow_writer`), so that `mirror.py` can end
it whatever the server does, and nobody else imports MLflow. It knows no store of ours: the snapshot
comes by standard input as JSON, how it went is the last line of standard output.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

# What marks a run and a version as ours: Dagster's id of the run that trained it. Version numbers
# begin anew when a source does.
KEY = "moovitamix.dagster_run"
PINNED = "moovitamix.pinned"
ALIASES = ("champion", "previous")
# MLflow takes 100 parameters or tags, and 1,000 metrics, in one request.
_PARAMS_AT_ONCE, _METRICS_AT_ONCE = 100, 500


class MirroredVersion(TypedDict):
    """A version as MLflow is to show it.

    `created` is in milliseconds since 1970. `tags` of the run and the version hold `KEY`.
    """

    title: str
    source: str
    created: int
    parameters: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]


class Snapshot(TypedDict):
    """The registry at one moment; `versions` oldest first, `aliases` from alias to `KEY`."""

    name: str
    versions: list[MirroredVersion]
    aliases: dict[str, str]
    pinned: bool


def write(client: MlflowClient, snapshot: Snapshot) -> int:
    """Make MLflow show the snapshot. Killed half-way, the next call completes it.

    Returns:
        How many requests changed something: 0 when all was there.

    Raises:
        mlflow.exceptions.MlflowException: When the server does not answer, or refuses.
    """
    name = snapshot["name"]
    experiment, changes = _experiment(client, name)
    changes += _ensure_model(client, name)
    runs = {run.data.tags.get(KEY): run for run in _runs(client, experiment)}
    versions = {one.tags.get(KEY): one for one in _versions(client, name)}
    for wanted in snapshot["versions"]:
        key = wanted["tags"][KEY]
        run = runs.get(key)
        if run is None:
            run = client.create_run(
                experiment, wanted["created"], tags={KEY: key}, run_name=wanted["title"]
            )
            changes += 1
        changes += _complete_run(client, run, wanted)
        version = versions.get(key)
        if version is None:
            version = versions[key] = client.create_model_version(
                name,
                wanted["source"],
                run.info.run_id,
                tags={KEY: key},
                description=wanted["title"],
                await_creation_for=0,
            )
            changes += 1
        for tag, value in wanted["tags"].items():
            if version.tags.get(tag) != value:
                client.set_model_version_tag(name, str(version.version), tag, value)
                changes += 1
    return changes + _point(client, snapshot, versions)


def _experiment(client: MlflowClient, name: str) -> tuple[str, int]:
    known = client.get_experiment_by_name(name)
    return (known.experiment_id, 0) if known else (client.create_experiment(name), 1)


def _ensure_model(client: MlflowClient, name: str) -> int:
    if client.search_registered_models(f"name = '{name}'"):
        return 0
    client.create_registered_model(
        name, description="Mirrored from MoovitaMix's registry, which is the truth."
    )
    return 1


def _complete_run(client: MlflowClient, run: Run, wanted: MirroredVersion) -> int:
    from mlflow.entities import Metric, Param, RunTag

    changes = 0
    params = [
        Param(name, value)
        for name, value in wanted["parameters"].items()
        if name not in run.data.params
    ]
    tags = [
        RunTag(name, value)
        for name, value in wanted["tags"].items()
        if run.data.tags.get(name) != value
    ]
    known = run.data.metrics
    # MLflow shows the figure of the highest step, so a version that is judged again needs the next.
    metrics = [
        Metric(name, value, wanted["created"], _next_step(client, run, name))
        for name, value in wanted["metrics"].items()
        if known.get(name) != value
    ]
    for some in _slices(params, _PARAMS_AT_ONCE):
        client.log_batch(run.info.run_id, params=some)
        changes += 1
    for some in _slices(tags, _PARAMS_AT_ONCE):
        client.log_batch(run.info.run_id, tags=some)
        changes += 1
    for some in _slices(metrics, _METRICS_AT_ONCE):
        client.log_batch(run.info.run_id, metrics=some)
        changes += 1
    if run.info.status != "FINISHED":
        client.set_terminated(run.info.run_id, "FINISHED", wanted["created"])
        changes += 1
    return changes


def _next_step(client: MlflowClient, run: Run, name: str) -> int:
    if name not in run.data.metrics:
        return 0
    steps: list[int] = [one.step for one in client.get_metric_history(run.info.run_id, name)]
    return 1 + max(steps)


def _point(
    client: MlflowClient, snapshot: Snapshot, versions: dict[str | None, ModelVersion]
) -> int:
    """Move aliases and the pin."""
    name, changes = snapshot["name"], 0
    model = client.get_registered_model(name)
    for alias in ALIASES:
        key = snapshot["aliases"].get(alias)
        wanted = str(versions[key].version) if key else None
        known = model.aliases.get(alias)
        if wanted is not None and str(known) != wanted:
            client.set_registered_model_alias(name, alias, wanted)
            changes += 1
        elif wanted is None and known is not None:
            client.delete_registered_model_alias(name, alias)
            changes += 1
    pinned = "yes" if snapshot["pinned"] else "no"
    if model.tags.get(PINNED) != pinned:
        client.set_registered_model_tag(name, PINNED, pinned)
        changes += 1
    return changes


def _runs(client: MlflowClient, experiment: str) -> Iterator[Run]:
    return _paged(lambda token: client.search_runs([experiment], page_token=token))


def _versions(client: MlflowClient, name: str) -> Iterator[ModelVersion]:
    return _paged(
        lambda token: client.search_model_versions(
            f"name = '{name}'", max_results=1000, page_token=token
        )
    )


def _paged(page: Callable[[str | None], Any]) -> Iterator[Any]:
    token: str | None = None
    while True:
        found = page(token)
        yield from found
        token = found.token
        if not token:
            return


def _slices(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _main() -> None:
    snapshot: Snapshot = json.load(sys.stdin)
    try:
        from mlflow import MlflowClient

        answer: dict[str, Any] = {"changes": write(MlflowClient(), snapshot)}
    # Whatever goes wrong in MLflow, its plugins or on the wire is told to whoever started this.
    except Exception as error:  # noqa: BLE001
        answer = {"error": f"{type(error).__name__}: {error}"}
    sys.stdout.write(f"\n{json.dumps(answer)}\n")


if __name__ == "__main__":
    _main()
