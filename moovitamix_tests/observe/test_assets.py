"""The stage as Dagster runs it, on real stores: from a champion to readings, and its check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import dagster as dg
import numpy as np
import pytest

from moovitamix.observe import assets, checks, drift_reading
from moovitamix.observe.drift_features import FEATURES
from moovitamix.observe.drift_store import StoredDay, read_readings
from moovitamix.observe.metrics import model_families as families
from moovitamix.observe.metrics.read_models import read_models
from moovitamix.observe.metrics.samples import Sample
from moovitamix.recommend.als import AlsModel
from moovitamix.recommend.prune import RetentionRule, remove_old
from moovitamix.resources import Cache
from moovitamix_tests.observe.conftest import AS_OF, NEWEST
from moovitamix_tests.observe.reader import fitted
from moovitamix_tests.observe.shifts import Listened, genre_swap
from moovitamix_tests.recommend.conftest import Platform

Crown = Callable[..., int]
LoadWorld = Callable[..., None]

CHECK = ("data_drift", "drift_within_bounds")
CHECKS = dg.AssetSelection.checks_for_assets(dg.AssetKey("data_drift"))
NAMES = [feature.name for feature in FEATURES]


def run(
    platform: Platform,
    first: date = NEWEST,
    last: date | None = None,
    selection: dg.AssetSelection | None = None,
) -> dg.ExecuteInProcessResult:
    definitions = dg.Definitions(
        assets=dg.load_assets_from_modules([assets]),
        asset_checks=dg.load_asset_checks_from_modules([checks]),
        resources={
            "lake": platform.lake,
            "warehouse": platform.warehouse,
            "cache": Cache(),  # of the report alone, which is not made here
        },
        jobs=[
            dg.define_asset_job(
                "stage", selection=selection or dg.AssetSelection.assets("data_drift")
            )
        ],
    )
    days = {
        "dagster/asset_partition_range_start": first.isoformat(),
        "dagster/asset_partition_range_end": (last or first).isoformat(),
    }
    with dg.DagsterInstance.ephemeral() as instance:
        return definitions.resolve_job_def("stage").execute_in_process(instance=instance, tags=days)


def within_bounds(result: dg.ExecuteInProcessResult) -> bool:
    (evaluation,) = result.get_asset_check_evaluations()
    assert (evaluation.asset_key.to_user_string(), evaluation.check_name) == CHECK
    assert evaluation.severity == dg.AssetCheckSeverity.WARN
    return evaluation.passed


def metadata(result: dg.ExecuteInProcessResult, day: date = NEWEST) -> dict[str, Any]:
    (event,) = [
        event.materialization
        for event in result.get_asset_materialization_events()
        if event.materialization.partition == day.isoformat()
    ]
    return {name: value.value for name, value in event.metadata.items()}


def stored(platform: Platform, day: date | None = None) -> StoredDay:
    with platform.warehouse.connect() as connection:
        found = read_readings(connection, day)
    assert found is not None
    return found


def verdicts(found: StoredDay) -> dict[str, str]:
    return {one.feature: one.verdict for one in found.readings}


@pytest.fixture
def shifted(listened: Listened) -> Any:
    since = AS_OF + timedelta(days=1)
    return genre_swap(listened, since, 0.3, np.random.default_rng(1))


def test_a_day_like_the_champions_data_is_read_feature_by_feature(
    platform: Platform, listened: Listened, model: AlsModel, load_world: LoadWorld, crown: Crown
) -> None:
    load_world(listened)
    version = crown(model)
    result = run(platform)
    assert within_bounds(result)
    found = stored(platform)
    assert (found.day, found.model_version, found.as_of) == (NEWEST, version, AS_OF)
    assert [one.feature for one in found.readings] == NAMES
    assert "drifted" not in verdicts(found).values()
    assert "cannot tell" not in verdicts(found).values()
    told = metadata(result)
    for one in found.readings:
        assert told[one.feature] == one.value
        assert one.bound is not None
        assert told[f"{one.feature}_alarm"] == one.bound.alarm
        assert told[f"{one.feature}_verdict"] == one.verdict
        assert f"| {one.feature}:" in told["readings"]
    assert told["readings"].count("data:image/svg+xml;base64,") == 2


def test_a_shift_is_read_and_told_by_name(
    platform: Platform,
    listened: Listened,
    shifted: Any,
    model: AlsModel,
    load_world: LoadWorld,
    crown: Crown,
) -> None:
    load_world(listened, shifted)
    crown(model)
    result = run(platform)
    assert not within_bounds(result)
    assert verdicts(stored(platform))["genre_mix"] == "drifted"
    assert metadata(result)["verdict"] == "drifted"


def test_a_day_that_is_read_again_has_the_same_rows_also_by_a_calibration_made_anew(
    platform: Platform, listened: Listened, model: AlsModel, load_world: LoadWorld, crown: Crown
) -> None:
    load_world(listened)
    crown(model)
    lake = platform.lake.open()
    run(platform)
    first = stored(platform).readings
    run(platform)
    assert stored(platform).readings == first
    (calibration,) = [name for name in lake.names("recommend/models") if "drift" in name]
    content = lake.read_bytes(calibration)
    lake.write_bytes(calibration, content[:100])
    run(platform)
    assert stored(platform).readings == first
    assert lake.read_bytes(calibration) == content
    with platform.warehouse.connect() as connection:
        assert connection.execute("SELECT count(*) FROM drift_readings").fetchone() == (8,)


def test_the_calibration_is_what_the_next_day_of_that_age_is_judged_by(
    platform: Platform, listened: Listened, model: AlsModel, load_world: LoadWorld, crown: Crown
) -> None:
    load_world(listened)
    crown(model)
    run(platform, NEWEST - timedelta(days=1))
    lake = platform.lake.open()
    (calibration,) = [name for name in lake.names("recommend/models") if "drift" in name]
    written = lake.modified(calibration)
    run(platform)
    assert lake.modified(calibration) == written
    before, newest = stored(platform, NEWEST - timedelta(days=1)), stored(platform)
    assert [one.bound for one in before.readings] == [one.bound for one in newest.readings]


def test_a_calibration_goes_with_the_files_of_its_model(
    platform: Platform, listened: Listened, load_world: LoadWorld, crown: Crown
) -> None:
    load_world(listened)
    crown(fitted(listened.plays, AS_OF, 2), "r1")
    run(platform)
    lake = platform.lake.open()
    assert len(lake.names("recommend/models/run=r1")) == 2
    for run_id, factors in (("r2", 3), ("r3", 4)):
        crown(fitted(listened.plays, AS_OF, factors), run_id)
    remove_old(platform.warehouse, lake, RetentionRule(versions=1, age=timedelta(0)))
    assert lake.names("recommend/models/run=r1") == []
    assert len(lake.names("recommend/models/run=r3")) == 1


def test_a_range_of_days_is_read_in_one_run_each_by_itself(
    platform: Platform, listened: Listened, model: AlsModel, load_world: LoadWorld, crown: Crown
) -> None:
    load_world(listened)
    crown(model)
    one_by_one = []
    for back in (2, 1, 0):
        run(platform, NEWEST - timedelta(days=back))
        one_by_one.append(stored(platform, NEWEST - timedelta(days=back)).readings)
    result = run(platform, NEWEST - timedelta(days=2), NEWEST)
    days = [NEWEST - timedelta(days=back) for back in (2, 1, 0)]
    assert [stored(platform, day).readings for day in days] == one_by_one
    for day, readings in zip(days, one_by_one, strict=True):
        told = metadata(result, day)
        assert [told[one.feature] for one in readings] == [one.value for one in readings]


def test_a_day_that_a_later_champion_was_trained_on_keeps_its_readings(
    platform: Platform, listened: Listened, model: AlsModel, load_world: LoadWorld, crown: Crown
) -> None:
    load_world(listened)
    crown(model)
    run(platform)
    first = stored(platform)
    crown(fitted(listened.plays, NEWEST), "r2")
    result = run(platform)
    assert metadata(result)["verdict"] == "cannot tell"
    kept = stored(platform)
    assert replace(kept, read_at=first.read_at) == first
    assert kept.read_at > first.read_at, "or it would be asked for again, hour by hour"


def test_a_champion_that_cured_a_drift_ends_it_for_prometheus(
    platform: Platform,
    listened: Listened,
    shifted: Any,
    model: AlsModel,
    load_world: LoadWorld,
    crown: Crown,
) -> None:
    def figures() -> dict[str, list[float]]:
        told: dict[str, list[float]] = {}
        with platform.warehouse.connect() as connection:
            for one in read_models(connection):
                if isinstance(one, Sample):
                    told.setdefault(one.family.name, []).append(one.value)
        return {name: values for name, values in told.items() if "_drift_" in name}

    load_world(listened, shifted)
    crown(model)
    run(platform)
    before = figures()
    drifted = families.DRIFT_VERDICT.labels[0].values.index("drifted")
    assert before[families.DRIFT_VERDICT.name][drifted] > 0
    crown(fitted(listened.plays, NEWEST), "r2")
    day = families.DRIFT_DAY.name
    assert figures() == {day: before[day]}, "of the day it is known that it was read"


def test_without_a_champion_nothing_can_be_told(
    platform: Platform, listened: Listened, load_world: LoadWorld
) -> None:
    load_world(listened)
    result = run(platform)
    assert within_bounds(result)
    found = stored(platform)
    assert set(verdicts(found).values()) == {"cannot tell"}
    assert "no champion yet" in found.readings[0].reason


def test_a_day_that_is_not_published_cannot_be_told(
    platform: Platform, listened: Listened, model: AlsModel, load_world: LoadWorld, crown: Crown
) -> None:
    load_world(listened)
    crown(model)
    with platform.warehouse.connect() as connection:
        connection.execute("DELETE FROM published_days WHERE day = %s", (NEWEST,))
    run(platform)
    assert {one.reason for one in stored(platform).readings} == {"the day is not published"}


def test_where_popularity_is_served_the_models_features_cannot_be_told(
    platform: Platform, listened: Listened, model: AlsModel, load_world: LoadWorld, crown: Crown
) -> None:
    load_world(listened)
    crown(model, algorithm="popularity")
    run(platform)
    found = verdicts(stored(platform))
    assert [name for name in NAMES if found[name] == "cannot tell"] == NAMES[-2:]


def test_a_model_that_is_damaged_leaves_the_other_features(
    platform: Platform, listened: Listened, model: AlsModel, load_world: LoadWorld, crown: Crown
) -> None:
    load_world(listened)
    crown(model)
    lake = platform.lake.open()
    (file,) = [name for name in lake.names("recommend/models") if name.endswith(".npz")]
    lake.write_bytes(file, lake.read_bytes(file)[:-40])
    run(platform)
    found = stored(platform)
    assert [one.feature for one in found.readings if one.verdict == "cannot tell"] == NAMES[-2:]
    assert "cannot be loaded" in found.readings[-1].reason
    # Made without the model, it would hide the model when that is there again.
    assert not [name for name in lake.names("recommend/models") if "drift" in name]


def _let_a_feature_drift(platform: Platform) -> None:
    with platform.warehouse.connect() as connection:
        connection.execute(
            "UPDATE drift_readings SET verdict = 'drifted' WHERE feature = 'genre_mix'"
        )


FAULTS_OF = {CHECK: _let_a_feature_drift}
FAULTS = list(FAULTS_OF)


@pytest.mark.parametrize("check", FAULTS_OF, ids="-".join)
def test_a_fault_fails_its_check(
    platform: Platform, listened: Listened, load_world: LoadWorld, check: tuple[str, str]
) -> None:
    load_world(listened)
    assert within_bounds(run(platform))
    FAULTS_OF[check](platform)
    assert not within_bounds(run(platform, selection=CHECKS))


def test_the_settings_say_how_long_a_window_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert drift_reading.configured_rules().days == 7
    from moovitamix.settings import get_settings

    get_settings.cache_clear()
    monkeypatch.setenv("MOOVITAMIX_DRIFT_DAYS", "14")
    assert drift_reading.configured_rules().days == 14
