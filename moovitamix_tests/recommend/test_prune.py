"""Old files go, what is or may be served stays, and the registry forgets no version."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moovitamix.ingest.lake import LakeStore
from moovitamix.recommend import artifacts, experiments, prune, registry, succession
from moovitamix.recommend.als import AlsModel, AlsParameters, fit_als
from moovitamix.recommend.matrix import MatrixParameters, UserItemMatrix
from moovitamix.recommend.matrix_building import build_matrix
from moovitamix.recommend.prune import RetentionRule, outdated
from moovitamix_tests.recommend.conftest import AS_OF, Platform, tasteful_plays
from moovitamix_tests.recommend.judging import model_version
from moovitamix_tests.recommend.test_registry import BETTER

NOW = datetime(2026, 11, 22, tzinfo=UTC)
NOTHING = RetentionRule(versions=1, age=timedelta(0))


@given(st.lists(st.integers(0, 60), max_size=12), st.integers(1, 5), st.integers(0, 60))
@settings(max_examples=100)
def test_the_newest_the_young_and_the_protected_are_kept_and_no_other(
    ages: list[int], versions: int, days: int
) -> None:
    history = [
        model_version(number, created_at=NOW - timedelta(days=age))
        for number, age in enumerate(sorted(ages, reverse=True), start=1)
    ][::-1]
    gone = outdated(history, RetentionRule(versions, timedelta(days=days)), protected=[1], now=NOW)
    expected = {
        one.version
        for place, one in enumerate(history)
        if place >= versions and NOW - one.created_at > timedelta(days=days) and one.version != 1
    }
    assert {one.version for one in gone} == expected


def test_the_challenger_of_an_experiment_keeps_its_files_until_it_ends(
    platform: Platform, store: LakeStore
) -> None:
    with platform.warehouse.connect() as connection:
        begun = experiments.begin(
            connection, champion=6, challenger=2, share=0.5, salt="s", by="Zoë"
        )
    prune.remove_old(platform.warehouse, store, NOTHING)
    with platform.warehouse.connect() as connection:
        artifact = registry.find(connection, 2).artifact
    assert artifacts.load_model(store, artifact)
    with platform.warehouse.connect() as connection:
        assert registry.find(connection, 3).artifact_removed_at is not None
        experiments.conclude(
            connection, begun, verdict="cannot tell", reason="", figures={}, by="Zoë"
        )
    prune.remove_old(platform.warehouse, store, NOTHING)
    assert not store.exists(f"{artifact}/als.npz")


@pytest.fixture(scope="module")
def matrices() -> list[UserItemMatrix]:
    plays = tasteful_plays(users=40, tracks=24, plays=600)
    return [build_matrix(plays[n * 5 :], MatrixParameters(), AS_OF) for n in range(6)]


@pytest.fixture(scope="module")
def model(matrices: list[UserItemMatrix]) -> AlsModel:
    return fit_als(matrices[0], AlsParameters(factors=4, iterations=1))


@pytest.fixture
def store(platform: Platform, matrices: list[UserItemMatrix], model: AlsModel) -> LakeStore:
    """Six versions of a matrix each, all promoted in turn but the fifth, and two months old."""
    lake = platform.lake.open()
    with platform.warehouse.connect() as connection:
        for number, matrix in enumerate(matrices, start=1):
            artifacts.store_matrix(lake, matrix, "p")
            artifacts.store_features(lake, tasteful_plays(plays=9), date(2026, 11, number), "p")
            registered = registry.register(
                connection,
                run_id=f"run-{number}",
                as_of=AS_OF,
                pull="p",
                matrix_fingerprint=matrix.fingerprint,
                parameters={},
                artifact=artifacts.store_model(lake, f"run-{number}", model),
            )
            if number != 5:
                registry.promote(connection, registered.version, BETTER)
        connection.execute("UPDATE model_versions SET created_at = created_at - interval '60 days'")
    grow_old(lake)
    return lake


def grow_old(lake: LakeStore) -> None:
    sixty_days_ago = datetime.now(UTC).timestamp() - 60 * 86_400
    for name in lake.names("recommend"):
        os.utime(Path(lake.url.removeprefix("file://")) / name, (sixty_days_ago, sixty_days_ago))


def runs(lake: LakeStore) -> list[str]:
    return [name.split("/")[2] for name in lake.names(artifacts.MODELS)]


def test_the_champion_its_predecessor_and_what_is_current_stay_whatever_the_rule(
    platform: Platform, store: LakeStore, matrices: list[UserItemMatrix]
) -> None:
    prune.remove_old(platform.warehouse, store, NOTHING)
    assert runs(store) == ["run=run-4", "run=run-6"]
    kept = {matrices[3].fingerprint[:16], matrices[5].fingerprint[:16], "current"}
    assert {Path(name).stem for name in store.names(artifacts.MATRICES)} == kept
    assert artifacts.load_current_matrix(store).fingerprint == matrices[5].fingerprint
    assert store.names(artifacts.FEATURES) == [
        "recommend/user_features/as_of=2026-11-06.parquet",
        "recommend/user_features/current.json",
    ]
    with platform.warehouse.connect() as connection:
        history = registry.history(connection)
        assert len(history) == 6
        assert [one.artifact_removed_at is None for one in reversed(history)] == [
            *(False, False, False, True, False, True)
        ]
        before = succession.roll_back(connection, "Zoë")
    assert artifacts.load_model(store, before.artifact).users.size


def test_young_files_and_the_newest_versions_stay(platform: Platform, store: LakeStore) -> None:
    before = store.names("recommend")
    rule = RetentionRule(versions=1, age=timedelta(days=90))
    assert prune.remove_old(platform.warehouse, store, rule) == 0
    rule = RetentionRule(versions=6, age=timedelta(0))
    removed = prune.remove_old(platform.warehouse, store, rule)
    assert removed == 5  # features that are not current; each matrix is that of a kept version
    assert len(runs(store)) == 6
    assert len(store.names("recommend")) == len(before) - 5


def test_a_removal_that_was_killed_is_completed_by_the_next(
    platform: Platform, store: LakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(_lake: LakeStore, _name: str) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(LakeStore, "remove", die)
        with pytest.raises(Killed):
            prune.remove_old(platform.warehouse, store, NOTHING)
    assert len(runs(store)) == 6
    prune.remove_old(platform.warehouse, store, NOTHING)
    assert runs(store) == ["run=run-4", "run=run-6"]


def test_files_that_nobody_has_registered_go_when_no_training_can_be_at_them(
    platform: Platform, store: LakeStore, model: AlsModel
) -> None:
    artifacts.store_model(store, "killed", model)
    grow_old(store)
    artifacts.store_model(store, "under-way", model)
    prune.remove_old(platform.warehouse, store, NOTHING)
    assert runs(store) == ["run=run-4", "run=run-6", "run=under-way"]
