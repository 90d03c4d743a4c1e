"""Each check of the stage, as the graph runs it on real stores, fails for its own fault alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import dagster as dg
import numpy as np
import pytest

from moovitamix.recommend import artifacts
from moovitamix_tests.recommend.conftest import Platform, tasteful_plays
from moovitamix_tests.recommend.test_assets import Load, only, run

Fault = Callable[[Platform], object]

RUN = "0d7a3f6e-5a35-4bb0-9f21-9f9d3c1a7e55"
CHECKS = dg.AssetSelection.all_asset_checks()


def _lose_a_users_features(platform: Platform) -> None:
    with platform.warehouse.connect() as connection:
        connection.execute("INSERT INTO users VALUES (999, 'a', 'b', 'c', 'd', now(), now(), 'p')")


def _cut_the_matrix_short(platform: Platform) -> None:
    lake = platform.lake.open()
    name = artifacts.current_matrix(lake).name
    lake.write_bytes(name, lake.read_bytes(name)[:-40])


def _lose_most_plays(platform: Platform) -> None:
    with platform.warehouse.connect() as connection:
        connection.execute("DELETE FROM listen_history WHERE user_id % 3 > 0")
    run(platform, only("user_item_matrix"))


def _make_a_factor_infinite(platform: Platform) -> None:
    lake = platform.lake.open()
    with platform.warehouse.connect() as connection:
        row = connection.execute("SELECT artifact FROM model_versions").fetchone()
    assert row is not None
    model = artifacts.load_model(lake, row[0])
    broken = model.item_factors.copy()
    broken[0, 0] = np.inf
    artifacts.store_model(lake, RUN, replace(model, item_factors=broken))
    # The champion's is another's, and sound.
    other = artifacts.store_model(lake, "other", model)
    with platform.warehouse.connect() as connection:
        connection.execute(
            """INSERT INTO model_versions (status, provisional, algorithm, as_of, pull,
                   matrix_fingerprint, parameters, metrics, criteria, artifact, code_version,
                   run_id, created_at, promoted_at)
               SELECT 'candidate', provisional, algorithm, as_of, pull, matrix_fingerprint,
                   parameters, metrics, criteria, %s, code_version, 'other', created_at,
                   promoted_at FROM model_versions""",
            (other,),
        )
        connection.execute("UPDATE model_versions SET status = 'retired' WHERE status = 'champion'")
        connection.execute("UPDATE model_versions SET status = 'champion' WHERE run_id = 'other'")


def _judge_by_three_users(platform: Platform) -> None:
    with platform.warehouse.connect() as connection:
        connection.execute("UPDATE model_versions SET metrics = jsonb_set(metrics, '{users}', '3')")


def _register_another_matrix(platform: Platform) -> None:
    with platform.warehouse.connect() as connection:
        connection.execute("UPDATE model_versions SET matrix_fingerprint = 'other'")


FAULTS_OF: dict[tuple[str, str], Fault] = {
    ("user_features", "complete"): _lose_a_users_features,
    ("user_item_matrix", "sound"): _cut_the_matrix_short,
    ("user_item_matrix", "like_the_last"): _lose_most_plays,
    ("als_model", "sound"): _make_a_factor_infinite,
    ("model_evaluation", "enough_users"): _judge_by_three_users,
    ("champion_model", "as_registered"): _register_another_matrix,
}
FAULTS = list(FAULTS_OF)


@pytest.mark.parametrize("check", FAULTS_OF, ids="-".join)
def test_a_fault_fails_its_check_and_no_other(
    platform: Platform, load: Load, check: tuple[str, str]
) -> None:
    load(tasteful_plays())
    assert run(platform, run_id=RUN).success
    FAULTS_OF[check](platform)
    judged = run(platform, CHECKS, raises=False, run_id=RUN)
    found = {
        (one.asset_key.to_user_string(), one.check_name): one.passed
        for one in judged.get_asset_check_evaluations()
    }
    assert set(found) == set(FAULTS)
    assert {name for name, passed in found.items() if not passed} == {check}
