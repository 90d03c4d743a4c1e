"""The demonstration world holds tastes that a recommender can learn."""

from datetime import date, datetime, timedelta

import numpy as np
import scipy.sparse as sp
from implicit.als import AlternatingLeastSquares
from threadpoolctl import threadpool_limits

from moovitamix.embedded.demo_source.vocabulary import TASTES
from moovitamix.embedded.demo_source.world import DemoParameters, DemoWorld

FIRST_DAY = date(2026, 9, 24)
START = datetime.fromisoformat("2026-09-24")


def test_stated_genres_go_with_what_is_heard() -> None:
    world = DemoWorld(
        DemoParameters(first_day=FIRST_DAY, days=20, users=400, tracks=500, listens=8_000)
    )
    now = START + timedelta(days=20)
    users = {user.id: user for user in world.users(0, world.count_users(now), now)}
    genres = {
        track.id: set(track.genres.split(", "))
        for track in world.tracks(0, world.count_tracks(now), now)
    }
    heard = [
        bool(genres[track] & set(users[listen.user_id].favorite_genres.split(", ")))
        for listen in world.listens(0, world.count_listens(now), now)
        for track in listen.items
    ]
    by_chance = np.mean(
        [
            bool(track & set(user.favorite_genres.split(", ")))
            for user in users.values()
            for track in list(genres.values())[::10]
        ]
    )
    assert np.mean(heard) > 3 * by_chance
    assert {"Hip Hop", "R&B", "Drum & Bass"} <= {taste.genre for taste in TASTES}
    assert any("," in user.favorite_genres for user in users.values())


def test_tastes_are_latent_so_that_als_clearly_beats_popularity_on_new_tracks() -> None:
    parameters = DemoParameters(
        first_day=FIRST_DAY, days=40, users=1_000, tracks=1_200, listens=35_000
    )
    end, cut = START + timedelta(days=40), (START + timedelta(days=33)).isoformat()
    world = DemoWorld(parameters)
    pairs = [
        (listen.user_id, track, listen.created_at < cut)
        for listen in world.listens(0, world.count_listens(end), end)
        for track in listen.items
    ]
    users, rows = np.unique([user for user, _, _ in pairs], return_inverse=True)
    tracks, columns = np.unique([track for _, track, _ in pairs], return_inverse=True)
    past = np.array([is_past for _, _, is_past in pairs])

    def plays(chosen: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> sp.csr_matrix:
        ones = np.ones(int(chosen.sum()), dtype=np.float32)
        return sp.csr_matrix(
            (ones, (rows[chosen], columns[chosen])), shape=(len(users), len(tracks))
        )

    train, test = plays(past), plays(~past)
    heard, new = train.toarray() > 0, test.toarray() > 0
    new &= ~heard
    judged = np.flatnonzero(new.any(axis=1) & heard.any(axis=1))

    train.data = np.log1p(train.data)
    with threadpool_limits(1, "blas"):
        als = AlternatingLeastSquares(
            factors=32, alpha=5, regularization=30, iterations=10, random_state=1, num_threads=1
        )
        als.fit(train, show_progress=False)
    scores = {
        "als": als.user_factors @ als.item_factors.T,
        "popularity": np.tile(heard.sum(axis=0).astype(np.float32), (len(users), 1)),
    }
    discounts = 1 / np.log2(np.arange(2, 12))

    def ndcg(of: str) -> float:
        ranked = np.argsort(-np.where(heard, -np.inf, scores[of])[judged], axis=1)[:, :10]
        hits = np.take_along_axis(new[judged], ranked, axis=1)
        best = np.cumsum(discounts)[np.minimum(new[judged].sum(axis=1), 10) - 1]
        return float(((hits * discounts).sum(axis=1) / best).mean())

    assert len(judged) > 250
    assert ndcg("popularity") > 0.02
    assert ndcg("als") > 2 * ndcg("popularity")
