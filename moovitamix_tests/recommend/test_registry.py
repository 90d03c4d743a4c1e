"""The registry has one champion at most, whatever happens at once or again."""

from __future__ import annotations

import threading
from datetime import date
from typing import Any

import psycopg
import pytest

from moovitamix import __version__
from moovitamix.errors import NothingToDo
from moovitamix.recommend import registry
from moovitamix.recommend.gate import Decision
from moovitamix.recommend.registry import ModelVersion
from moovitamix_tests.recommend.conftest import Platform

BETTER = Decision("better than popularity", "als", provisional=False, reason="It is.")
WORSE = Decision("worse than popularity", "popularity", provisional=True, reason="It is not.")


def register(
    platform: Platform,
    run_id: str,
    fingerprint: str = "f",
    parameters: dict[str, Any] | None = None,
) -> ModelVersion:
    with platform.warehouse.connect() as connection:
        return registry.register(
            connection,
            run_id=run_id,
            as_of=date(2026, 11, 22),
            pull="p",
            matrix_fingerprint=fingerprint,
            parameters=parameters or {"als": {"factors": 8}},
            artifact=f"recommend/models/run={run_id}",
        )


def promote(platform: Platform, version: int, decision: Decision = BETTER) -> ModelVersion:
    with platform.warehouse.connect() as connection:
        return registry.promote(connection, version, decision)


def statuses(platform: Platform) -> list[str]:
    with platform.warehouse.connect() as connection:
        return [version.status for version in reversed(registry.history(connection))]


def test_a_version_is_registered_as_a_candidate_with_all_that_made_it(platform: Platform) -> None:
    version = register(platform, "a")
    assert (version.status, version.run_id, version.matrix_fingerprint) == ("candidate", "a", "f")
    assert version.parameters == {"als": {"factors": 8}}
    assert version.code_version == __version__
    assert version.as_of == date(2026, 11, 22)


def test_a_run_that_registers_again_gets_its_first_version_back(platform: Platform) -> None:
    first = register(platform, "a")
    assert register(platform, "a", fingerprint="changed") == first
    assert statuses(platform) == ["candidate"]


def test_a_run_that_registers_twice_at_once_has_one_version(platform: Platform) -> None:
    register(platform, "first, so that the tables are there")
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(register(platform, "a").version))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len(set(found)) == 1


def test_promotion_retires_the_old_champion_and_records_why(platform: Platform) -> None:
    one, two = register(platform, "a"), register(platform, "b")
    promote(platform, one.version)
    promoted = promote(platform, two.version, WORSE)
    assert statuses(platform) == ["retired", "champion"]
    assert (promoted.algorithm, promoted.provisional) == ("popularity", True)
    assert (promoted.verdict, promoted.reason) == ("worse than popularity", "It is not.")
    with platform.warehouse.connect() as connection:
        assert registry.champion(connection) == promoted
        retired = registry.history(connection)[-1]
    assert retired.retired_at is not None


def test_promoting_the_champion_again_changes_no_dates(platform: Platform) -> None:
    version = register(platform, "a").version
    first = promote(platform, version)
    assert promote(platform, version) == first


def test_promotions_at_once_leave_one_champion(platform: Platform) -> None:
    versions = [register(platform, run).version for run in "abcdef"]
    failures: list[BaseException] = []

    def go(version: int) -> None:
        try:
            promote(platform, version)
        except psycopg.Error as error:
            failures.append(error)

    threads = [threading.Thread(target=go, args=(version,)) for version in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(statuses(platform)) == ["champion", *["retired"] * 5]


def test_a_promotion_that_fails_leaves_the_old_champion(platform: Platform) -> None:
    version = register(platform, "a").version
    promote(platform, version)
    with pytest.raises(NothingToDo, match="moovitamix models list"):
        promote(platform, version + 1000)
    assert statuses(platform) == ["champion"]


def test_a_verdict_without_promotion_leaves_the_candidate_one(platform: Platform) -> None:
    version = register(platform, "a").version
    with platform.warehouse.connect() as connection:
        registry.record_verdict(connection, version, BETTER)
        (found,) = registry.history(connection)
    assert (found.status, found.verdict) == ("candidate", "better than popularity")


def test_figures_are_kept_as_recorded(platform: Platform) -> None:
    version = register(platform, "a").version
    with platform.warehouse.connect() as connection:
        metrics = {"users": 3, "figures": {"als": [0.5]}}
        registry.record_evaluation(connection, version, metrics, against=7)
        (found,) = registry.history(connection)
    assert found.metrics == {"users": 3, "figures": {"als": [0.5]}}
    assert found.judged_against == 7


def test_a_run_judges_its_own_version_and_another_run_the_newest_candidate(
    platform: Platform,
) -> None:
    one, two = register(platform, "a"), register(platform, "b")
    with platform.warehouse.connect() as connection:
        assert registry.under_judgement(connection, "a").version == one.version
        assert registry.under_judgement(connection, "c").version == two.version


def test_with_no_newer_candidate_it_is_the_champion_that_is_judged_again(
    platform: Platform,
) -> None:
    register(platform, "a")
    promoted = promote(platform, register(platform, "b").version)
    with platform.warehouse.connect() as connection:
        assert registry.under_judgement(connection, "c") == promoted


def test_without_any_candidate_there_is_nothing_to_judge(platform: Platform) -> None:
    with (
        platform.warehouse.connect() as connection,
        pytest.raises(NothingToDo, match="retrain"),
    ):
        registry.under_judgement(connection, "a")


def test_there_is_no_champion_before_the_first_promotion(platform: Platform) -> None:
    register(platform, "a")
    with platform.warehouse.connect() as connection:
        assert registry.champion(connection) is None
