"""The champion on a day it has not seen: the same figures as the evaluation's, and ranks."""

from __future__ import annotations

from datetime import datetime, time, timedelta

import numpy as np
import polars as pl
import pytest

from moovitamix.observe import drift_measures as measures
from moovitamix.observe.drift_model import days_with_hindsight, judge_day
from moovitamix.recommend.als import AlsModel
from moovitamix.recommend.contest import Rival
from moovitamix.recommend.evaluate import evaluate
from moovitamix.recommend.evaluation import EvaluationRules
from moovitamix.recommend.matrix import MatrixParameters
from moovitamix.recommend.rankers import PRODUCTION
from moovitamix_tests.observe.conftest import AS_OF, NEWEST
from moovitamix_tests.observe.reader import fitted
from moovitamix_tests.observe.shifts import FIRST_DAY, Listened


def test_quality_is_what_the_evaluation_says_of_production_on_that_day(
    listened: Listened, model: AlsModel
) -> None:
    rules = EvaluationRules(test_days=1, resamples=10, ease_tracks=0)
    rival = Rival(MatrixParameters(), model.parameters, model)
    evaluation = evaluate(
        listened.plays, NEWEST, MatrixParameters(), model.parameters, rules, champion=rival
    )
    judged = judge_day(model, listened.plays, NEWEST)
    assert len(judged.ndcg) == evaluation.users
    figure = evaluation.figures["discovery"][PRODUCTION]["ndcg"]
    assert judged.ndcg.mean() == pytest.approx(figure.value)


def test_what_is_played_stands_higher_than_what_is_drawn(
    listened: Listened, model: AlsModel
) -> None:
    chance = np.random.default_rng(1)
    midnight = datetime.combine(NEWEST, time())
    past = listened.plays.filter(pl.col("listened_at") < midnight)
    new = listened.plays.filter(pl.col("listened_at") >= midnight)
    drawn = new.with_columns(track_id=pl.Series(chance.choice(model.tracks, new.height)))
    played, random = (
        judge_day(model, pl.concat([past, day]), NEWEST).rank_shares()[:, 0] for day in (new, drawn)
    )
    # Of what is drawn, the share itself is even from 0 to 1, so its mean is a half.
    assert random @ 10.0**measures.LOG_RANKS == pytest.approx(0.5, abs=0.05)
    assert played @ measures.LOG_RANKS < random @ measures.LOG_RANKS - 0.5


def test_later_plays_make_no_difference(listened: Listened, model: AlsModel) -> None:
    day = NEWEST - timedelta(days=3)
    early = listened.plays.filter(pl.col("listened_at").dt.date() <= day)
    known, all_of_it = judge_day(model, early, day), judge_day(model, listened.plays, day)
    assert np.array_equal(known.ndcg, all_of_it.ndcg)
    assert (known.ranks != all_of_it.ranks).nnz == 0


def test_a_day_without_known_listeners_judges_nobody(listened: Listened, model: AlsModel) -> None:
    judged = judge_day(model, listened.plays, NEWEST + timedelta(days=30))
    assert (judged.listeners, len(judged.ndcg)) == (0, 0)


def test_hindsight_sees_only_the_champions_data_and_as_long_before_as_the_gap(
    listened: Listened, model: AlsModel
) -> None:
    judged = list(days_with_hindsight(model, listened.plays, days=7, gap=1))
    assert len(judged) == 21
    fit = fitted(listened.plays, AS_OF - timedelta(days=14), factors=32)
    first = judge_day(fit, listened.plays, AS_OF - timedelta(days=6))
    assert np.array_equal(judged[0].ndcg, first.ndcg)
    past = listened.plays.filter(pl.col("listened_at").dt.date() <= AS_OF)
    again = list(days_with_hindsight(model, past, days=7, gap=1))
    assert [day.ndcg.tolist() for day in again] == [day.ndcg.tolist() for day in judged]


def test_a_short_past_allows_fewer_fits(listened: Listened, model: AlsModel) -> None:
    short = listened.plays.filter(pl.col("listened_at").dt.date() >= FIRST_DAY + timedelta(days=21))
    assert len(list(days_with_hindsight(model, short, days=7, gap=0))) == 14
    assert list(days_with_hindsight(model, short.clear(), days=7, gap=0)) == []
