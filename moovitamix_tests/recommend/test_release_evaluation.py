"""An evaluation shows what the places for new releases would have found, and nobody asks it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest

from moovitamix.recommend.als import AlsParameters
from moovitamix.recommend.evaluate import evaluate
from moovitamix.recommend.evaluation import Evaluation, EvaluationRules
from moovitamix.recommend.figures import table
from moovitamix.recommend.matrix import INTERACTIONS, MatrixParameters, end_of
from moovitamix.recommend.new_releases import NO_RELEASES, ReleaseParameters
from moovitamix_tests.recommend.conftest import AS_OF, random_plays, tasteful_plays

QUICK = AlsParameters(factors=16, iterations=5, regularization=30.0)
RULES = EvaluationRules(resamples=50)
SHARE = ReleaseParameters(first=5, every=5)


def fresh_plays() -> pl.DataFrame:
    """In the last days, users hear a new track of their own group; track 10,007 is heard before."""
    late = end_of(AS_OF) - timedelta(days=2)
    early = end_of(AS_OF) - timedelta(days=20)
    rows = [(user, 10_000 + (user - 11) % 8, late) for user in range(11, 111)]
    rows += [(user, 10_007, early) for user in (18, 26)]
    return pl.DataFrame(rows, schema=INTERACTIONS, orient="row")


def features(plays: pl.DataFrame) -> pl.DataFrame:
    """Of all tracks on the last day; 10,006 came out within the days that are judged by."""
    ages = {10_006: 3, **dict.fromkeys([*range(10_000, 10_006), 10_007], 30)}
    rows = [
        (
            track,
            f"artist {track % 10_000 if track >= 10_000 else (track - 5) // 3 % 8}",
            ["pop"],
            ages.get(track, 500),
            99,  # by now: what counts is how many had by the cut-off
        )
        for track in plays["track_id"].unique().sort().to_list()
    ]
    return pl.DataFrame(
        rows, schema=["track_id", "artist", "genres", "age_days", "listeners"], orient="row"
    )


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    plays = pl.concat([tasteful_plays(), fresh_plays()])
    return evaluate(
        plays,
        AS_OF,
        MatrixParameters(),
        QUICK,
        RULES,
        tracks=features(plays),
        releases=SHARE,
    )


def test_releases_of_the_past_are_judged_by_who_heard_them_next(evaluation: Evaluation) -> None:
    found = evaluation.releases
    assert found is not None
    # 10,006 was not out at the cut-off, 10,007 had two listeners, who are no discoverers.
    assert (found.unheard, found.few) == (6, 1)
    fans = [user for user in range(11, 111) if (user - 11) % 8 != 6 and user not in (18, 26)]
    assert (found.pairs, found.users) == (len(fans), len(fans))
    assert found.recall["with places"].value > 0.9
    assert found.recall["without"].value < 0.2


def test_the_figures_are_told_and_survive_the_registry(evaluation: Evaluation) -> None:
    assert evaluation.releases is not None
    told = table(evaluation)
    assert evaluation.releases.sentence() in told
    assert "New releases: 6 that nobody had heard and 1 that few had" in told
    stored = json.loads(json.dumps(evaluation.to_json()))
    assert Evaluation.from_json(stored) == evaluation
    del stored["releases"]
    assert Evaluation.from_json(stored) == replace(evaluation, releases=None)


def test_what_decides_is_the_same_with_and_without_places(evaluation: Evaluation) -> None:
    plays = pl.concat([tasteful_plays(), fresh_plays()])
    without = evaluate(
        plays, AS_OF, MatrixParameters(), QUICK, RULES, tracks=features(plays), releases=NO_RELEASES
    )
    assert without == replace(evaluation, releases=None)


def test_releases_that_nobody_went_on_to_hear_are_counted() -> None:
    plays = tasteful_plays()
    known = features(pl.concat([plays, fresh_plays()]))
    found = evaluate(
        plays, AS_OF, MatrixParameters(), QUICK, RULES, tracks=known, releases=SHARE
    ).releases
    assert found is not None
    assert (found.unheard, found.few, found.pairs, found.recall) == (7, 0, 0, {})
    assert found.sentence().endswith("0 pairs of 0 users who went on to hear them.")


def test_a_hold_out_by_user_has_no_day_on_which_a_track_is_new() -> None:
    plays = random_plays()
    rows = features(plays)
    found = evaluate(plays, AS_OF, MatrixParameters(), QUICK, RULES, tracks=rows, releases=SHARE)
    assert found.split == "per-user hold-out"
    assert found.releases is None
