"""A training's steps agree on the data they are about, also when it changes between them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest

from moovitamix.recommend import artifacts, registry, training
from moovitamix.recommend.choice import choose
from moovitamix.recommend.evaluation import EvaluationRules
from moovitamix.recommend.interactions import read_interactions
from moovitamix.recommend.matrix import MatrixParameters
from moovitamix.recommend.matrix_building import build_matrix
from moovitamix.recommend.registry import ModelVersion
from moovitamix.recommend.tuning.outcome import Budget
from moovitamix_tests.recommend.conftest import AS_OF, Platform, tasteful_plays

Load = Callable[..., None]


def make_matrix(platform: Platform, as_of: date, pull: str = "p") -> None:
    plays = read_interactions(platform.warehouse, as_of)
    matrix = build_matrix(plays, MatrixParameters(), as_of)
    artifacts.store_matrix(platform.lake.open(), matrix, pull)


def train(platform: Platform, as_of: date) -> ModelVersion:
    """The version of a training up to a day, judged and settled."""
    lake, run_id = platform.lake.open(), f"up to {as_of}"
    make_matrix(platform, as_of)
    training.fit_candidate(platform.warehouse, lake, run_id, Budget())
    training.evaluate_candidate(platform.warehouse, lake, run_id, EvaluationRules())
    training.settle_candidate(platform.warehouse, run_id)
    with platform.warehouse.connect() as connection:
        version = registry.of_run(connection, run_id)
    assert version is not None
    return version


def test_a_matrix_made_during_the_search_is_registered_with_its_own_pull(
    platform: Platform, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(tasteful_plays(plays=4_000))
    make_matrix(platform, AS_OF - timedelta(days=1), "older")

    def choose_while_the_day_is_loaded(*arguments: Any) -> Any:
        make_matrix(platform, AS_OF, "newer")
        return choose(*arguments)

    monkeypatch.setattr(training, "choose", choose_while_the_day_is_loaded)
    version = training.fit_candidate(platform.warehouse, platform.lake.open(), "run", Budget())
    assert (version.as_of, version.pull) == (AS_OF, "newer")


@pytest.mark.parametrize(
    ("age", "judged_days", "compared"), [(2, 7, False), (4, 4, True), (7, 7, True)]
)
def test_a_refresh_is_compared_with_production_on_the_days_that_neither_has_seen(
    platform: Platform, load: Load, age: int, judged_days: int, compared: bool
) -> None:
    load(tasteful_plays())
    assert train(platform, AS_OF - timedelta(days=age)).status == "champion"
    refresh = train(platform, AS_OF)
    evaluation = training.recorded_evaluation(refresh)
    assert evaluation.rules.test_days == judged_days
    assert evaluation.fresh_days == min(age, 7)
    assert ("production" in evaluation.figures["discovery"]) == compared
    assert (refresh.verdict in {"no worse than production", "cannot tell from production"}) == (
        compared
    )


def test_a_champion_whose_thin_data_lowered_its_regularization_is_no_other_configuration(
    platform: Platform, load: Load
) -> None:
    load(tasteful_plays())
    young = train(platform, AS_OF - timedelta(days=26))
    refresh = train(platform, AS_OF)
    assert young.parameters["als"] != refresh.parameters["als"]
    assert "champion" not in training.recorded_evaluation(refresh).figures["discovery"]


def test_too_few_listeners_on_the_fresh_days_are_not_made_into_a_hold_out(
    platform: Platform, load: Load
) -> None:
    plays = tasteful_plays()
    is_last = plays["listened_at"].dt.date() > AS_OF - timedelta(days=4)
    load(plays.filter(~is_last | (plays["user_id"] < 40)))
    train(platform, AS_OF - timedelta(days=4))
    evaluation = training.recorded_evaluation(train(platform, AS_OF))
    assert (evaluation.split, evaluation.rules.test_days) == ("temporal", 7)
