"""An evaluation tells a good model from popularity, and the gate acts on what it tells."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from moovitamix.recommend import figures, gate
from moovitamix.recommend.als import AlsParameters
from moovitamix.recommend.evaluation import Evaluation, EvaluationRules, evaluate
from moovitamix.recommend.matrix import INTERACTIONS, MatrixParameters
from moovitamix.recommend.metrics import Figure
from moovitamix.recommend.training import judged
from moovitamix_tests.recommend.conftest import AS_OF, random_plays, tasteful_plays

RULES = EvaluationRules(resamples=300)
QUICK = AlsParameters(factors=16, regularization=30.0)


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return evaluate(tasteful_plays(), AS_OF, MatrixParameters(), QUICK, RULES)


def judge_first(evaluation: Evaluation) -> gate.Decision:
    return gate.judge_first(judged(evaluation))


def with_difference(evaluation: Evaluation, low: float, high: float) -> Evaluation:
    return replace(evaluation, difference=Figure((low + high) / 2, low, high))


def test_users_with_tastes_are_predicted_better_than_by_popularity(evaluation: Evaluation) -> None:
    assert evaluation.split == "temporal"
    assert evaluation.cut_off == "2026-11-16T00:00:00"
    assert evaluation.users > 200
    decision = judge_first(evaluation)
    assert (decision.verdict, decision.algorithm) == ("better than popularity", "als")
    assert not decision.provisional


def test_every_figure_has_an_interval_around_it(evaluation: Evaluation) -> None:
    for measured in evaluation.figures.values():
        assert list(measured) == ["ndcg", "recall", "map", "precision", "coverage"]
        for figure in measured.values():
            assert 0 <= figure.low <= figure.value <= figure.high <= 1


def test_the_difference_is_that_of_the_two_ndcgs(evaluation: Evaluation) -> None:
    als, popularity = (evaluation.figures[name]["ndcg"].value for name in ("als", "popularity"))
    assert evaluation.difference is not None
    assert evaluation.difference.value == pytest.approx(als - popularity)


def test_an_evaluation_is_the_same_when_done_again(evaluation: Evaluation) -> None:
    shuffled = tasteful_plays().sample(fraction=1, shuffle=True, seed=1)
    assert evaluate(shuffled, AS_OF, MatrixParameters(), QUICK, RULES) == evaluation


def test_an_evaluation_survives_json(evaluation: Evaluation) -> None:
    assert Evaluation.from_json(json.loads(json.dumps(evaluation.to_json()))) == evaluation


def test_random_plays_of_one_record_a_user_cannot_tell_and_are_served_provisionally() -> None:
    evaluation = evaluate(random_plays(), AS_OF, MatrixParameters(), QUICK, RULES)
    decision = judge_first(evaluation)
    assert evaluation.split == "per-user hold-out"
    assert evaluation.users > 900
    assert (decision.verdict, decision.algorithm) == ("cannot tell", "als")
    assert decision.provisional
    assert "per-user hold-out" in decision.reason


def test_plays_without_any_taste_but_fashion_are_better_served_by_popularity() -> None:
    chance = np.random.default_rng(4)
    size = 12_000
    plays = pl.DataFrame(
        {
            "user_id": chance.integers(0, 300, size),
            "track_id": (400 * chance.random(size) ** 3).astype(np.int64),
            "listened_at": tasteful_plays(plays=size)["listened_at"],
        }
    ).cast(INTERACTIONS)
    thin = replace(QUICK, factors=64, regularization=1.0)
    decision = judge_first(evaluate(plays, AS_OF, MatrixParameters(), thin, RULES))
    assert (decision.verdict, decision.algorithm) == ("worse than popularity", "popularity")


def test_with_nobody_to_judge_by_nothing_is_told_and_nothing_fails() -> None:
    alone = random_plays().group_by("user_id").head(1)
    evaluation = evaluate(alone, AS_OF, MatrixParameters(), QUICK, RULES)
    assert (evaluation.users, evaluation.figures, evaluation.difference) == (0, {}, None)
    assert judge_first(evaluation).verdict == "cannot tell"
    assert Evaluation.from_json(json.loads(json.dumps(evaluation.to_json()))) == evaluation
    assert figures.table(evaluation).startswith("No user")


@pytest.mark.parametrize(
    ("low", "high", "verdict", "algorithm", "provisional"),
    [
        (0.001, 0.02, "better than popularity", "als", False),
        (0.0, 0.02, "cannot tell", "als", True),
        (-0.01, 0.02, "cannot tell", "als", True),
        (-0.02, 0.0, "cannot tell", "als", True),
        (-0.02, -0.001, "worse than popularity", "popularity", True),
    ],
)
def test_the_paired_interval_decides(
    evaluation: Evaluation, low: float, high: float, verdict: str, algorithm: str, provisional: bool
) -> None:
    decision = judge_first(with_difference(evaluation, low, high))
    assert (decision.verdict, decision.algorithm, decision.provisional) == (
        verdict,
        algorithm,
        provisional,
    )


@pytest.mark.parametrize(("low", "high"), [(0.1, 0.2), (-0.2, -0.1)])
def test_too_few_users_tell_nothing(evaluation: Evaluation, low: float, high: float) -> None:
    few = replace(with_difference(evaluation, low, high), users=49)
    decision = judge_first(few)
    assert decision.verdict == "cannot tell"
    assert "fewer than 50 users" in decision.reason


def test_a_reason_is_a_sentence_with_the_figures(evaluation: Evaluation) -> None:
    als = evaluation.figures["als"]["ndcg"].value
    assert f"NDCG@10 is {als:.4f} for the candidate" in judge_first(evaluation).reason


def test_the_table_holds_every_figure(evaluation: Evaluation) -> None:
    table = figures.table(evaluation)
    for measured in evaluation.figures.values():
        for figure in measured.values():
            assert str(figure) in table
    assert str(evaluation.difference) in table
