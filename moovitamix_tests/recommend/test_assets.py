"""The stage as Dagster runs it: on real stores, from plays to the champion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest

from moovitamix.errors import NothingToDo
from moovitamix.ingest.lake import LakeStore
from moovitamix.recommend import als, artifacts, assets, checks, registry, succession
from moovitamix.recommend.archive import DamagedArtifact
from moovitamix.recommend.champion import load_champion
from moovitamix.recommend.choice import configuration_of
from moovitamix.recommend.configuration import Configuration
from moovitamix.recommend.gate import Decision
from moovitamix.recommend.matrix import INTERACTIONS, MatrixParameters
from moovitamix.recommend.matrix_building import build_matrix
from moovitamix.recommend.top_n import score_users
from moovitamix.recommend.tuning import space
from moovitamix_tests.recommend.conftest import AS_OF, Platform, random_plays, tasteful_plays

Load = Callable[..., None]


def run(
    platform: Platform,
    selection: dg.AssetSelection | None = None,
    *,
    raises: bool = True,
    run_id: str | None = None,
    tuning: dict[str, Any] | None = None,
) -> dg.ExecuteInProcessResult:
    definitions = dg.Definitions(
        assets=dg.load_assets_from_modules([assets]),
        asset_checks=dg.load_asset_checks_from_modules([checks]),
        resources={"lake": platform.lake, "warehouse": platform.warehouse},
        jobs=[dg.define_asset_job("stage", selection=selection or dg.AssetSelection.all())],
    )
    with dg.DagsterInstance.ephemeral() as instance:
        return definitions.resolve_job_def("stage").execute_in_process(
            instance=instance,
            raise_on_error=raises,
            run_id=run_id,
            run_config={"ops": {"als_model": {"config": tuning}}} if tuning else None,
        )


def only(asset: str) -> dg.AssetSelection:
    return dg.AssetSelection.assets(asset)


def outcomes(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {
        evaluation.check_name: evaluation.passed
        for evaluation in result.get_asset_check_evaluations()
    }


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    (event,) = [
        event
        for event in result.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey(asset)
    ]
    return {name: value.value for name, value in event.materialization.metadata.items()}


def statuses(platform: Platform) -> list[str]:
    with platform.warehouse.connect() as connection:
        return [version.status for version in reversed(registry.history(connection))]


def test_the_stage_makes_a_champion_that_is_served_from_its_artifact(
    platform: Platform, load: Load
) -> None:
    load(tasteful_plays(), silent_users=3)
    result = run(platform)
    assert result.success
    assert set(outcomes(result).values()) == {True}
    assert metadata(result, "user_features")["dagster/row_count"] == 243
    assert metadata(result, "user_features")["users_without_plays"] == 3
    assert metadata(result, "champion_model")["verdict"] == "better than popularity"
    assert metadata(result, "model_evaluation")["discovery_candidate_ndcg"] > 0.3

    lake = platform.lake.open()
    champion = load_champion(platform.warehouse, lake)
    matrix = artifacts.load_current_matrix(lake)
    assert champion.matrix_parameters == matrix.parameters
    assert champion.model.matrix_fingerprint == matrix.fingerprint
    assert len(next(score_users(champion.model, matrix, 10)).ids) == 240


def test_whatever_of_users_is_on_its_way_to_the_lake_keeps_erasures_waiting(
    platform: Platform, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(tasteful_plays(users=6, tracks=16, plays=40))
    replace_file, could_erase = LakeStore._replace, []

    def watched(store: LakeStore, name: str, write: Callable[[str], object]) -> None:
        with platform.warehouse.connect() as connection:
            key = f"{platform.warehouse.schema_name}:people"
            query = "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))"
            could_erase.append((name, connection.execute(query, (key,)).fetchone()))
        replace_file(store, name, write)

    monkeypatch.setattr(LakeStore, "_replace", watched)
    run(platform)
    assert len(could_erase) == 5, "features and matrix with their pointers, and the model"
    assert {free for _, free in could_erase} == {(False,)}


def test_the_reference_source_is_promoted_provisionally(platform: Platform, load: Load) -> None:
    load(random_plays())
    result = run(platform)
    assert result.success
    assert set(outcomes(result).values()) == {True}
    assert metadata(result, "model_evaluation")["split"] == "per-user hold-out"
    settled = metadata(result, "champion_model")
    assert (settled["verdict"], settled["algorithm"]) == ("cannot tell", "als")
    assert settled["provisional"]


def test_a_handful_of_plays_is_served_provisionally_and_warned_about(
    platform: Platform, load: Load
) -> None:
    load(tasteful_plays(users=6, tracks=16, plays=40))
    result = run(platform)
    assert result.success
    failed = {name for name, passed in outcomes(result).items() if not passed}
    assert failed == {"enough_users"}
    assert metadata(result, "champion_model")["verdict"] == "cannot tell"


def test_the_same_configuration_on_the_same_data_stays_a_candidate(
    platform: Platform, load: Load
) -> None:
    load(tasteful_plays())
    run(platform)
    second = run(platform)
    assert statuses(platform) == ["champion", "candidate"]
    settled = metadata(second, "champion_model")
    assert (settled["verdict"], settled["promoted"]) == ("nothing new", False)
    assert settled["reason"].startswith("The champion stays")
    with platform.warehouse.connect() as connection:
        candidate = registry.history(connection)[0]
    assert candidate.metrics["users"] > 200
    assert candidate.reason == settled["reason"]


def test_newer_data_for_the_champions_configuration_is_promoted_unless_pinned(
    platform: Platform, load: Load
) -> None:
    load(tasteful_plays())
    run(platform)
    with platform.warehouse.connect() as connection:
        connection.execute("DELETE FROM listen_history WHERE id % 50 = 0")
    refreshed = metadata(run(platform), "champion_model")
    assert (refreshed["verdict"], refreshed["promoted"]) == ("sound", True)
    assert statuses(platform) == ["retired", "champion"]
    assert "data:image/svg+xml;base64," in refreshed["why"]

    with platform.warehouse.connect() as connection:
        assert succession.roll_back(connection, "Zoë", "Odd lists.").status == "champion"
        connection.execute("DELETE FROM listen_history WHERE id % 49 = 0")
    held_back = metadata(run(platform), "champion_model")
    assert (held_back["verdict"], held_back["promoted"]) == ("pinned", False)
    assert "moovitamix models unpin" in held_back["reason"]
    assert "Zoë" not in str(held_back)
    assert statuses(platform) == ["champion", "retired", "candidate"]


def test_a_tuned_configuration_is_fitted_registered_and_refreshed(
    platform: Platform, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuned = Configuration(MatrixParameters(weighting="sqrt"), als.AlsParameters(factors=24))
    monkeypatch.setattr(space, "starts", lambda first: [first, tuned])
    # The poor first configuration is a champion's: there is something to be found.
    load(tasteful_plays())
    run(platform)
    with platform.warehouse.connect() as connection:
        connection.execute(
            """UPDATE model_versions SET parameters = jsonb_set(jsonb_set(parameters::jsonb,
                   '{als,factors}', '1'), '{found}', '{}')"""
        )
    result = run(platform, tuning={"trials": 2})
    assert result.success
    assert metadata(result, "als_model")["found_by"] == "tuning"
    with platform.warehouse.connect() as connection:
        candidate, champion = registry.history(connection)
    assert candidate.parameters["matrix"]["weighting"] == "sqrt"
    assert candidate.parameters["found"]["tuning"]["trials"] == 2
    assert candidate.parameters["found"]["champion"] == champion.version
    model = artifacts.load_model(platform.lake.open(), candidate.artifact)
    assert model.matrix_parameters == tuned.matrix
    # The current matrix stays as the champion needs it, until another one is promoted.
    assert artifacts.load_current_matrix(platform.lake.open()).parameters == MatrixParameters()

    with platform.warehouse.connect() as connection:
        decision = Decision("better than popularity", "als", provisional=False, reason="It won.")
        registry.promote(connection, candidate.version, decision)
    refreshed = run(platform)
    assert metadata(refreshed, "als_model")["found_by"] == "refresh"
    assert artifacts.load_current_matrix(platform.lake.open()).parameters == tuned.matrix
    with platform.warehouse.connect() as connection:
        newest = registry.history(connection)[0]
    # Also where thin data has lowered it, the regularization asked for is what is passed on.
    assert configuration_of(newest) == configuration_of(candidate)


def test_a_run_that_is_done_again_registers_nothing_new(platform: Platform, load: Load) -> None:
    load(tasteful_plays())
    run_id = "5f3c2c1e-0000-4000-8000-000000000001"
    run(platform, run_id=run_id)
    with platform.warehouse.connect() as connection:
        before = registry.history(connection)
    again = run(platform, run_id=run_id)
    assert again.success
    with platform.warehouse.connect() as connection:
        assert registry.history(connection) == before
    assert metadata(again, "champion_model")["version"] == before[0].version


def test_settling_again_in_a_later_run_changes_nothing(platform: Platform, load: Load) -> None:
    load(tasteful_plays())
    run(platform)
    with platform.warehouse.connect() as connection:
        before = registry.history(connection)
    assert run(platform, only("champion_model")).success
    with platform.warehouse.connect() as connection:
        assert registry.history(connection) == before


def test_a_run_killed_between_artifact_and_registry_starts_over(
    platform: Platform, load: Load
) -> None:
    load(tasteful_plays())
    run_id = "5f3c2c1e-0000-4000-8000-000000000002"
    run(platform, run_id=run_id)
    with platform.warehouse.connect() as connection:
        connection.execute("DELETE FROM model_versions")
    assert run(platform, run_id=run_id).success
    assert statuses(platform) == ["champion"]


def test_without_a_published_day_the_error_names_the_command(platform: Platform) -> None:
    with pytest.raises(NothingToDo, match="moovitamix run"):
        run(platform, only("user_item_matrix"))


def test_before_anything_was_made_loading_says_what_makes_it(platform: Platform) -> None:
    lake = platform.lake.open()
    with pytest.raises(NothingToDo, match="moovitamix run"):
        artifacts.load_current_matrix(lake)
    with pytest.raises(NothingToDo, match="moovitamix run"):
        load_champion(platform.warehouse, lake)


def test_plays_after_the_newest_published_day_are_not_in_the_matrix(
    platform: Platform, load: Load
) -> None:
    late = pl.DataFrame(
        {"user_id": [11], "track_id": [-7]}, schema_overrides={"user_id": pl.Int64}
    ).with_columns(listened_at=pl.lit("2026-11-23").str.to_datetime(time_unit="us"))
    load(pl.concat([tasteful_plays(), late.cast(INTERACTIONS)]))
    run(platform, only("user_item_matrix"))
    assert -7 not in artifacts.load_current_matrix(platform.lake.open()).tracks


def test_a_matrix_that_is_damaged_fails_its_check(platform: Platform, load: Load) -> None:
    load(tasteful_plays())
    run(platform, only("user_item_matrix"))
    lake = platform.lake.open()
    pointer = artifacts.current_matrix(lake)
    lake.write_bytes(pointer.name, lake.read_bytes(pointer.name)[:-40])
    with pytest.raises(DamagedArtifact):
        artifacts.load_current_matrix(lake)
    # The check alone: the asset would make the matrix anew.
    check = dg.AssetSelection.checks_for_assets(dg.AssetKey("user_item_matrix"))
    found = outcomes(run(platform, check, raises=False))
    assert found == {"sound": False, "like_the_last": True}


def test_a_matrix_that_has_lost_most_of_its_users_warns(platform: Platform, load: Load) -> None:
    load(tasteful_plays())
    assert outcomes(run(platform, only("user_item_matrix")))["like_the_last"], "it is the first"
    with platform.warehouse.connect() as connection:
        connection.execute("DELETE FROM listen_history WHERE user_id % 3 > 0")
    for _ in ("made", "made again of the same plays"):
        found = outcomes(run(platform, only("user_item_matrix")))
        assert found == {"sound": True, "like_the_last": False}


def test_a_matrix_that_is_written_but_not_made_current_leaves_the_old_one(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = (build_matrix(tasteful_plays(seed=s), MatrixParameters(), AS_OF) for s in (1, 2))
    lake = platform.lake.open()
    artifacts.store_matrix(lake, old, "p")
    write = LakeStore.write_bytes

    def die_at_the_pointer(store: LakeStore, name: str, content: bytes) -> None:
        if name.endswith(".json"):
            raise KeyboardInterrupt
        write(store, name, content)

    monkeypatch.setattr(LakeStore, "write_bytes", die_at_the_pointer)
    with pytest.raises(KeyboardInterrupt):
        artifacts.store_matrix(lake, new, "p")
    assert artifacts.load_current_matrix(lake).fingerprint == old.fingerprint


def test_a_model_that_is_not_sound_is_not_promoted(
    platform: Platform, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    from moovitamix.recommend import training

    fit = als.fit_als

    def fit_badly(*arguments: Any) -> Any:
        model = fit(*arguments)
        return replace(model, item_factors=np.full_like(model.item_factors, np.nan))

    monkeypatch.setattr(training, "fit_als", fit_badly)
    load(tasteful_plays())
    result = run(platform, raises=False)
    assert not result.success
    assert not outcomes(result)["sound"]
    assert statuses(platform) == ["candidate"]


def test_a_champion_whose_artifact_is_gone_is_found_out(platform: Platform, load: Load) -> None:
    load(tasteful_plays())
    run(platform)
    lake = platform.lake.open()
    lake.remove("recommend/models")
    with pytest.raises(DamagedArtifact, match="is gone"):
        load_champion(platform.warehouse, lake)
    check = dg.AssetSelection.checks_for_assets(dg.AssetKey("champion_model"))
    found = outcomes(run(platform, check, raises=False))
    assert found == {"as_registered": False}


def test_a_champion_whose_artifact_is_another_models_is_found_out(
    platform: Platform, load: Load
) -> None:
    load(tasteful_plays())
    run(platform)
    with platform.warehouse.connect() as connection:
        connection.execute("UPDATE model_versions SET matrix_fingerprint = 'other'")
    with pytest.raises(DamagedArtifact, match="not that of"):
        load_champion(platform.warehouse, platform.lake.open())


def test_popularity_is_served_under_a_version_that_lost_to_it(
    platform: Platform, load: Load
) -> None:
    load(tasteful_plays())
    run(platform)
    lost = Decision("worse than popularity", "popularity", provisional=True, reason="It lost.")
    with platform.warehouse.connect() as connection:
        registry.promote(connection, registry.history(connection)[0].version, lost)
    champion = load_champion(platform.warehouse, platform.lake.open())
    assert (champion.algorithm, champion.provisional) == ("popularity", True)


def test_no_metadata_holds_a_personal_value(platform: Platform, load: Load) -> None:
    load(tasteful_plays())
    with platform.warehouse.connect() as connection:
        connection.execute("UPDATE users SET first_name = 'Xanthippe', email = 'x@ample.org'")
    result = run(platform)
    for event in result.get_asset_materialization_events():
        text = str({k: v.value for k, v in event.materialization.metadata.items()})
        assert "Xanthippe" not in text
        assert "ample.org" not in text
