"""What users did outweighs what is predicted: a configuration that lost an experiment stays out."""

from __future__ import annotations

from typing import Any

import pytest

from moovitamix.recommend import experiments, registry, training
from moovitamix.recommend.experiments import ExperimentVerdict
from moovitamix_tests.recommend.conftest import Platform
from moovitamix_tests.recommend.judging import evidence
from moovitamix_tests.recommend.test_registry import promote, register

GOOD = (0.05, 0.09)
TRIED, KEPT, OTHER = {"als": {"alpha": 5.0}}, {"als": {"alpha": 7.0}}, {"als": {"alpha": 9.0}}


def end_experiment(platform: Platform, verdict: ExperimentVerdict) -> None:
    champion, challenger = register(platform, "a", "a", KEPT), register(platform, "b", "b", TRIED)
    promote(platform, champion.version)
    with platform.warehouse.connect() as connection:
        begun = experiments.begin(
            connection,
            champion=champion.version,
            challenger=challenger.version,
            share=0.5,
            salt="s",
            by="Zoë",
        )
        experiments.conclude(
            connection, begun, verdict=verdict, reason="It is.", figures={}, by="Zoë"
        )


def settle(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, parameters: dict[str, Any]
) -> tuple[bool, str]:
    """What becomes of a later version that all predictions speak for."""
    candidate = register(platform, "later", "later", parameters)
    with platform.warehouse.connect() as connection:
        champion = registry.champion(connection)
        assert champion is not None
        registry.record_evaluation(connection, candidate.version, {}, champion.version)
    found = evidence({"champion": GOOD, "popularity": GOOD})
    monkeypatch.setattr(training, "recorded_evaluation", lambda _: found)
    _, decision = training.settle_candidate(platform.warehouse, "later")
    return decision.promoted, decision.reason


def test_a_configuration_that_lost_against_the_champions_is_not_promoted_by_predictions(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    end_experiment(platform, "champion better")
    promoted, reason = settle(platform, monkeypatch, TRIED)
    assert not promoted
    assert "experiments with users is lost experiment 1" in reason


@pytest.mark.parametrize(
    ("verdict", "candidate"),
    [
        ("champion better", OTHER),
        ("cannot tell", TRIED),
        ("challenger better", TRIED),
        ("broken off", TRIED),
    ],
)
def test_another_configuration_or_another_end_holds_nothing_back(
    platform: Platform,
    monkeypatch: pytest.MonkeyPatch,
    verdict: ExperimentVerdict,
    candidate: dict[str, Any],
) -> None:
    end_experiment(platform, verdict)
    assert settle(platform, monkeypatch, candidate)[0]


def test_what_lost_against_another_configuration_may_be_better_than_this_one(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    end_experiment(platform, "champion better")
    promote(platform, register(platform, "c", "c", OTHER).version)
    assert settle(platform, monkeypatch, TRIED)[0]
