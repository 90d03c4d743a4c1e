"""A list that is folded in is nearly the one that a model fitted anew would give.

The short form of `benchmarks/fold_in.py`, which also judges the lists by what is heard after them.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

import numpy as np
import polars as pl

from moovitamix.recommend.als import AlsModel
from moovitamix.recommend.champion import Champion
from moovitamix.recommend.matrix import UserItemMatrix
from moovitamix.recommend.matrix_building import Plays, build_matrix
from moovitamix.serve.catalogue import Catalogue
from moovitamix.serve.codec import decode_list
from moovitamix.serve.fold import Folding, Known
from moovitamix.serve.rankings import Rankings
from moovitamix_tests.observe.reader import fitted
from moovitamix_tests.observe.shifts import FIRST_DAY, world

FIRST = 20
# Of a refit's first 20; 97.6 % in the benchmark's worlds, 97.8 % in this one.
LEAST_SHARED = 0.95
# The fit, and the day after it, on which somebody listens.
FITTED = FIRST_DAY + timedelta(days=48)
BETWEEN = FITTED + timedelta(days=1)

Lists = dict[int, set[int]]


def published(
    model: AlsModel, matrix: UserItemMatrix, catalogue: Catalogue, users: list[int]
) -> Lists:
    """The lists of a publication, by user."""
    rankings = Rankings(
        champion=Champion(1, "als", False, model.as_of, model),
        matrix=matrix,
        catalogue=catalogue,
        list_length=FIRST,
    ).of_users(np.intersect1d(users, matrix.users))
    return {
        user: set(tracks[:length].tolist())
        for _, block in rankings.users()
        for user, tracks, length in zip(
            block.ids.tolist(), block.tracks, block.lengths.tolist(), strict=True
        )
    }


def shared(lists: Lists, refit: Lists) -> float:
    """The mean share of a refit's list that another way gives too."""
    return float(np.mean([len(lists.get(user, set()) & of) / FIRST for user, of in refit.items()]))


def test_a_list_that_is_folded_in_is_nearly_that_of_a_model_fitted_anew() -> None:
    plays = world(31, days=50, users=900, tracks=900, listens_a_day=800).plays
    day = pl.col("listened_at").dt.date()
    before, after = plays.filter(day <= FITTED), plays.filter(day <= BETWEEN)
    users = after.filter(day == BETWEEN)["user_id"].unique().to_list()
    catalogue = Catalogue(
        tracks=after["track_id"].unique().sort().to_numpy(),
        withdrawn=np.empty(0, np.int64),
        track_genres=pl.DataFrame(schema={"genre_id": pl.Int64, "track_id": pl.Int64}),
        favorite_genres=pl.DataFrame(schema={"user_id": pl.Int64, "genre_id": pl.Int64}),
    )
    model, anew = fitted(before, FITTED), fitted(after, BETWEEN)
    matrix = build_matrix(before, model.matrix_parameters, FITTED)
    whole = build_matrix(after, model.matrix_parameters, BETWEEN)
    own = Plays.of(after.filter(pl.col("user_id").is_in(users)))
    folding = Folding.prepare(Champion(1, "als", False, FITTED, model), matrix, catalogue, None)
    evening = datetime.combine(BETWEEN, time(23, 59, 59), UTC)
    made = folding.lists(Known(own, np.ones(len(own.users), bool), {}), evening, FIRST)
    folded = {one.user: set(decode_list(one.value).ids.tolist()) for one in made if one.kind == "u"}
    refit = published(anew, whole, catalogue, users)
    as_it_was = published(model, matrix, catalogue, users)
    assert len(refit) > 90
    assert shared(folded, refit) >= LEAST_SHARED
    # What is left of the way when nobody is folded in, of which this is less than half.
    assert 1 - shared(folded, refit) < (1 - shared(as_it_was, refit)) / 2
