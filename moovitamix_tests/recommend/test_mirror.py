"""The registry in a real MLflow: what is seen there, and that nobody waits for it."""

from __future__ import annotations

import importlib.util
import math
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moovitamix.recommend import mirror, registry, succession
from moovitamix.recommend.mlflow_writer import KEY
from moovitamix.settings import get_settings
from moovitamix_tests.recommend.conftest import Platform
from moovitamix_tests.recommend.judging import model_version
from moovitamix_tests.recommend.mlflow_server import (
    MlflowServer,
    dying_proxy,
    free_port,
    silent_socket,
)
from moovitamix_tests.recommend.test_registry import promote, register, statuses

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

CLIENT = importlib.util.find_spec("mlflow") is not None
needs_client = pytest.mark.skipif(not CLIENT, reason="NOT CHECKED: MLflow is not installed")
# The whole of MLflow, not its client alone, brings Flask.
needs_server = pytest.mark.skipif(
    not CLIENT or importlib.util.find_spec("flask_cors") is None,
    reason="NOT CHECKED: no MLflow server is installed, see the extra mlflow-server",
)

FIGURES: dict[str, Any] = {
    "figures": {
        "discovery": {"candidate": {"ndcg": {"value": 0.2, "low": 0.19, "high": 0.21}}},
        "replay": {"own plays": {"ndcg": {"value": 0.4, "low": 0.39, "high": 0.41}}},
    },
    "differences": {"discovery": {"item-item": {"value": 0.1, "low": 0.08, "high": 0.12}}},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    running = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    running.start()
    yield running
    running.kill()


def mirrored(
    platform: Platform,
    monkeypatch: pytest.MonkeyPatch,
    uri: str,
    patience: timedelta = timedelta(minutes=5),
) -> mirror.Mirrored:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    get_settings.cache_clear()
    told = mirror.mirror(platform.warehouse, patience)
    assert told is not None
    return told


def client(server: MlflowServer) -> MlflowClient:
    from mlflow import MlflowClient

    return MlflowClient(server.uri)


def name_of(platform: Platform) -> str:
    return f"moovitamix-{platform.warehouse.schema_name}"


def runs(platform: Platform, server: MlflowServer) -> dict[str, Run]:
    """By our version's number; each is there once."""
    experiment = client(server).get_experiment_by_name(name_of(platform))
    assert experiment is not None
    found = list(client(server).search_runs([experiment.experiment_id]))
    by_version = {run.data.tags["moovitamix.version"]: run for run in found}
    assert len(by_version) == len(found)
    return by_version


def aliases(platform: Platform, server: MlflowServer) -> dict[str, str]:
    """From alias to our version's number."""
    model = client(server).get_registered_model(name_of(platform))
    return {
        alias: client(server).get_model_version(model.name, str(version)).tags["moovitamix.version"]
        for alias, version in model.aliases.items()
    }


def state(platform: Platform, server: MlflowServer) -> tuple[Any, ...]:
    """All that MLflow tells about the namespace, times of its own left out."""
    versions = client(server).search_model_versions(f"name = '{name_of(platform)}'")
    return (
        {
            name: (run.data.to_dictionary(), run.info.status)
            for name, run in runs(platform, server).items()
        },
        sorted((one.version, one.run_id, one.source, sorted(one.tags.items())) for one in versions),
        aliases(platform, server),
    )


def three(platform: Platform) -> list[int]:
    """Two champions, one after the other, and a candidate; the second was evaluated."""
    versions = [register(platform, run).version for run in "abc"]
    for version in versions[:2]:
        promote(platform, version)
    with platform.warehouse.connect() as connection:
        registry.record_evaluation(connection, versions[1], FIGURES, versions[0])
    return versions


@needs_server
def test_mlflow_shows_runs_parameters_figures_versions_and_aliases(
    platform: Platform, server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, _ = (str(version) for version in three(platform))
    told = mirrored(platform, monkeypatch, server.uri)
    assert told.well, told.told
    found = runs(platform, server)
    assert len(found) == 3
    assert found[two].data.params["als.factors"] == "8"
    assert found[two].data.metrics["discovery/candidate ndcg"] == 0.2
    assert found[two].data.metrics["replay/own plays ndcg high"] == 0.41
    assert found[two].data.metrics["difference/discovery item-item low"] == 0.08
    assert found[two].data.tags["moovitamix.verdict"] == "better than popularity"
    assert found[two].data.tags["moovitamix.as_of"] == "2026-11-22"
    assert found[two].info.run_name == f"version {two}"
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    assert aliases(platform, server) == {"champion": two, "previous": one}
    versions = client(server).search_model_versions(f"name = '{name_of(platform)}'")
    assert {one.run_id for one in versions} == {run.info.run_id for run in found.values()}


@needs_server
def test_mirroring_again_changes_nothing(
    platform: Platform, server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    three(platform)
    mirrored(platform, monkeypatch, server.uri)
    before = state(platform, server)
    told = mirrored(platform, monkeypatch, server.uri)
    assert "nothing was missing" in told.told
    assert state(platform, server) == before


@needs_server
def test_aliases_status_figures_and_pin_follow_the_registry(
    platform: Platform, server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, three_ = three(platform)
    mirrored(platform, monkeypatch, server.uri)
    lower = {"figures": {"discovery": {"candidate": {"ndcg": {"value": 0.1, "low": 0, "high": 1}}}}}
    with platform.warehouse.connect() as connection:
        succession.roll_back(connection, "Zoë", "Odd lists.")
        registry.record_evaluation(connection, two, lower, None)
        connection.execute(
            "UPDATE model_versions SET artifact_removed_at = now() WHERE version = %s", (three_,)
        )
    assert mirrored(platform, monkeypatch, server.uri).well
    found = runs(platform, server)
    assert aliases(platform, server) == {"champion": str(one)}
    assert found[str(two)].data.tags["moovitamix.status"] == "retired"
    assert found[str(two)].data.metrics["discovery/candidate ndcg"] == 0.1
    assert found[str(three_)].data.tags["moovitamix.files"] == "removed"
    model = client(server).get_registered_model(name_of(platform))
    assert model.tags["moovitamix.pinned"] == "yes"
    shown = str(state(platform, server))
    assert "Zoë" not in shown
    assert "Odd lists" not in shown


@needs_server
def test_what_was_missed_while_the_server_was_down_comes_with_the_next(
    platform: Platform, server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(platform, register(platform, "a").version)
    assert not mirrored(platform, monkeypatch, f"http://127.0.0.1:{free_port()}").well
    second = register(platform, "b").version
    promote(platform, second)
    assert mirrored(platform, monkeypatch, server.uri).well
    assert len(runs(platform, server)) == 2
    assert aliases(platform, server)["champion"] == str(second)


@needs_server
@pytest.mark.parametrize("requests", [6, 15])
def test_a_server_that_is_killed_in_the_middle_is_completed_without_doubles(
    platform: Platform, server: MlflowServer, monkeypatch: pytest.MonkeyPatch, requests: int
) -> None:
    three(platform)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with dying_proxy(server, requests) as uri:
        told = mirrored(platform, monkeypatch, uri)
    server.start()
    assert not told.well
    assert "moovitamix models mirror" in told.told
    assert mirrored(platform, monkeypatch, server.uri).well
    completed = state(platform, server)
    assert len(completed[0]) == len(completed[1]) == 3
    assert "nothing was missing" in mirrored(platform, monkeypatch, server.uri).told


@needs_client
def test_a_server_that_is_down_is_told_and_not_raised(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(platform, register(platform, "a").version)
    uri = f"http://ann:s3cret@127.0.0.1:{free_port()}"
    told = mirrored(platform, monkeypatch, uri)
    assert not told.well
    assert "s3cret" not in told.told
    assert "`moovitamix models mirror`" in told.told
    assert statuses(platform) == ["champion"]


@needs_client
def test_a_server_that_hangs_is_left_when_patience_ends(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(platform, register(platform, "a").version)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3600")
    began = time.monotonic()
    with silent_socket() as uri:
        told = mirrored(platform, monkeypatch, uri, timedelta(seconds=2))
    assert not told.well
    assert "not done within 2 s" in told.told
    assert time.monotonic() - began < 600, "it waited for MLflow's own hour"


@needs_client
def test_two_at_once_do_not_both_write(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    promote(platform, register(platform, "a").version)
    with platform.warehouse.connect() as connection:
        mirror._be_alone(connection, platform.warehouse.schema_name)
        told = mirrored(platform, monkeypatch, "http://127.0.0.1:1")
    assert "another process" in told.told


def test_set_but_not_installed_is_told_with_what_to_install(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "mlflow" else found(name)
    )
    told = mirrored(platform, monkeypatch, "http://127.0.0.1:1")
    assert "moovitamix[mlflow]" in told.told


def test_without_the_variable_nothing_is_said(platform: Platform) -> None:
    assert mirror.mirror(platform.warehouse) is None


@given(st.text(), st.text(), st.floats())
def test_whatever_a_version_says_its_names_and_lengths_are_taken_by_mlflow(
    name: str, text: str, value: float
) -> None:
    figures = {"figures": {name: {"value": value, "low": value, "high": 1.0}}}
    version = replace(
        model_version(3),
        parameters={"als": {name: text * 600}},
        metrics=figures,
        reason=text * 9_000,
    )
    told = mirror.describe(version)
    for key in (*told["parameters"], *told["metrics"]):
        assert re.fullmatch(r"[A-Za-z0-9_\-. :/]*", key)
    assert all(math.isfinite(one) for one in told["metrics"].values())
    assert max(map(len, told["parameters"].values())) <= 500
    assert max(map(len, told["tags"].values())) <= 4_000
    assert told["tags"][KEY] == "r3"
