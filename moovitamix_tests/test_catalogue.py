"""What Dagster's catalogue shows of each table: columns, their origins; and that it says so itself.

The graph's other promises are in `test_graph.py`; rows by day, after real runs, in the stages.
"""

from __future__ import annotations

import typing

import dagster as dg
import polars as pl
import pytest
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

from moovitamix.definitions import build_defs
from moovitamix.ingest import describe
from moovitamix.ingest.contract import ENDPOINTS
from moovitamix.ingest.slices import dealt_schema
from moovitamix.tabular import KIND, LINEAGE, SCHEMA
from moovitamix_tests.test_graph import ASSETS, STAGED, TABLES

RAW = ASSETS["ingest"]
EACH_TABLE = sorted(RAW | STAGED | TABLES | {"user_features", "data_drift"})

# What no asset brings: which run and pull it was, what the database numbers, what a lack tells.
OURS = {
    **{asset: {"run_id", "staged_at", "day", "pull"} for asset in STAGED},
    "staged_listens": {"run_id", "staged_at", "day", "pull", "told"},
    "genres": {"id"},
    "tracks": {"withdrawn_at"},
    "users": {"withdrawn_at"},
    "listen_history": {"id"},
    "data_drift": {
        *("day", "feature", "model_version", "as_of", "pull", "verdict", "reason", "read_at"),
    },
}


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return build_defs()


@pytest.fixture(scope="module")
def graph(definitions: dg.Definitions) -> AssetGraph:
    return definitions.resolve_asset_graph()


def metadata(graph: AssetGraph, asset: str) -> dict[str, typing.Any]:
    told = graph.get(dg.AssetKey(asset)).metadata
    return {name: getattr(value, "value", value) for name, value in told.items()}


def columns(graph: AssetGraph, asset: str) -> dict[str, dg.TableColumn]:
    schema: dg.TableSchema = metadata(graph, asset)[SCHEMA]
    return {column.name: column for column in schema.columns}


def lineage(graph: AssetGraph, asset: str) -> dict[str, list[tuple[str, str]]]:
    told: dg.TableColumnLineage = metadata(graph, asset)[LINEAGE]
    return {
        column: [(dep.asset_key.to_user_string(), dep.column_name) for dep in deps]
        for column, deps in told.deps_by_column.items()
    }


def test_an_asset_is_of_the_kind_table_or_holds_files_lists_or_a_model(graph: AssetGraph) -> None:
    tables = {key for key in graph.get_all_asset_keys() if KIND in graph.get(key).kinds}

    assert {key.to_user_string() for key in tables} == set(EACH_TABLE)


@pytest.mark.parametrize("asset", EACH_TABLE)
def test_every_column_of_a_table_has_a_type_and_says_what_it_is_unless_its_name_does(
    graph: AssetGraph, asset: str
) -> None:
    found = columns(graph, asset)

    assert found
    assert all(column.type for column in found.values())
    bare = {name for name, column in found.items() if not column.description}
    assert bare <= {"name", "artist", "songwriters", "album"}, f"{asset} does not describe {bare}"


@pytest.mark.parametrize("asset", sorted(set(EACH_TABLE) - RAW))
def test_every_column_comes_from_columns_of_assets_before_it_or_is_ours(
    graph: AssetGraph, asset: str
) -> None:
    origins = lineage(graph, asset)
    parents = {key.to_user_string() for key in graph.get(dg.AssetKey(asset)).parent_keys}

    assert set(columns(graph, asset)) == set(origins) | OURS.get(asset, set())
    assert set(origins).isdisjoint(OURS.get(asset, set()))
    for column, froms in origins.items():
        assert froms, f"{asset}.{column} has an origin that is none"
        for before, name in froms:
            assert before in parents, f"{asset}.{column} comes from {before}, which is no parent"
            assert name in columns(graph, before), f"{before} has no column {name}"


def test_no_description_is_shown_as_code_for_being_indented(
    definitions: dg.Definitions, graph: AssetGraph
) -> None:
    told = [graph.get(key).description for key in graph.get_all_asset_keys()]
    told += [graph.get(check).description for check in graph.asset_check_keys]
    told += [job.description for job in definitions.resolve_all_job_defs()]
    lines = [line for one in told for line in (one or "").splitlines()]

    assert len(lines) > 60
    assert [line for line in lines if line.startswith("    ")] == []


def test_times_and_durations_have_the_types_that_postgres_gives_them(graph: AssetGraph) -> None:
    assert columns(graph, "tracks")["duration"].type == "interval"
    assert columns(graph, "tracks")["created_at"].type == "timestamp"
    assert columns(graph, "staged_tracks")["staged_at"].type == "timestamptz"


def test_an_origin_is_told_in_words_too_for_dagsters_own_ui_draws_none(graph: AssetGraph) -> None:
    assert columns(graph, "tracks")["duration"].description == (
        "Playing time. From staged_tracks.duration_seconds."
    )


def test_only_what_comes_from_the_api_has_no_origin(graph: AssetGraph) -> None:
    without = {asset for asset in EACH_TABLE if LINEAGE not in metadata(graph, asset)}

    assert without == RAW


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda one: one.name)
def test_the_columns_told_of_a_slice_are_those_of_its_files(endpoint: typing.Any) -> None:
    kept = {name: kind for name, kind in dealt_schema(endpoint).items() if name != "day"}
    told = {column.name: column.type for column in describe.RAW[f"raw_{endpoint.name}"].columns}

    assert told == {name: describe.type_name(kind) for name, kind in kept.items()}


def test_types_of_files_are_told_in_words() -> None:
    told = [describe.type_name(one) for one in (pl.Int64(), pl.List(pl.Datetime("us")), pl.Binary)]

    assert told == ["int64", "list[timestamp]", "binary"]


def test_every_sensor_and_schedule_says_what_it_does_and_is_on(definitions: dg.Definitions) -> None:
    sensors = list(definitions.sensors or [])
    schedules = list(definitions.schedules or [])

    assert len(sensors) > 5
    assert len(schedules) > 2
    for sensor in sensors:
        assert isinstance(sensor, dg.SensorDefinition)
        assert len(sensor.description or "") > 15, f"{sensor.name} has no description"
        assert sensor.default_status == dg.DefaultSensorStatus.RUNNING, sensor.name
    for schedule in schedules:
        resolved = definitions.resolve_schedule_def(schedule.name)
        assert len(resolved.description or "") > 15, f"{resolved.name} has no description"
        assert resolved.default_status == dg.DefaultScheduleStatus.RUNNING, resolved.name


def test_every_step_of_a_job_says_what_it_does(definitions: dg.Definitions) -> None:
    for job in definitions.resolve_all_job_defs():
        for node in job.nodes:
            assert node.definition.description, f"{node.name} in {job.name} has no description"
