"""What a live answer costs: processor time of whole answers while Redis is down.

A world at random, with names; users are asked for by turns under each query, as `tiers.py` is asked
by the routes, and the JSON is made too. Turns without any new release, and with places that are
kept for some, alternate.
"""

from __future__ import annotations

import asyncio
import time
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser, Namespace
from datetime import date
from typing import cast

import numpy as np
from scipy.sparse import csr_matrix

from moovitamix.errors import StoreUnavailable
from moovitamix.recommend.als import AlsModel, AlsParameters
from moovitamix.recommend.blend import BlendParameters
from moovitamix.recommend.champion import Champion
from moovitamix.recommend.matrix import MatrixParameters, UserItemMatrix
from moovitamix.recommend.new_releases import NewReleases, ReleaseParameters
from moovitamix.serve.http.asking import Ask
from moovitamix.serve.http.live import LiveModel
from moovitamix.serve.http.reads import ListReader
from moovitamix.serve.http.tiers import Tiers
from moovitamix.serve.http.tracks import tell_tracks
from moovitamix.serve.http.world import Counts, World
from moovitamix.serve.publish import LIST_LENGTH

AS_OF = date(2026, 11, 22)
GENRES, ARTISTS = 20, 2_000
REMOVED = 50

QUERIES = {
    "20": Ask(),
    "100": Ask(limit=100),
    "20, repeats": Ask(repeats=True),
    "20, 3 excluded": Ask(exclude=frozenset((17, 170, 1_700))),
    "20 of a genre": Ask(genres=("genre 3",)),
    "20, 1 an artist": Ask(per_artist=1),
}


def main() -> None:
    """Measure and print."""
    parser = ArgumentParser(description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter)
    parser.add_argument("--tracks", type=int, nargs="+", default=[20_000, 100_000])
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--users", type=int, default=2_000)
    parser.add_argument("--heard", type=int, default=50)
    parser.add_argument("--releases", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--answers", type=int, default=60, help="of a round, for each query")
    asked = parser.parse_args()
    for tracks in asked.tracks:
        plain = make_world(asked, tracks, 0)
        kept = make_world(asked, tracks, asked.releases)
        print(f"{tracks:,} tracks: least ms of processor time, no place kept / kept, times as long")
        for name, ask in QUERIES.items():
            turns = [
                (answer(plain, ask, asked.answers), answer(kept, ask, asked.answers))
                for _ in range(asked.rounds)
            ]
            without, kept_for = (min(turn) for turn in zip(*turns, strict=True))
            print(f"{name:>16}  {without:6.2f}  {kept_for:6.2f}  {kept_for / without:5.2f}")


def answer(world: World, ask: Ask, answers: int) -> float:
    """Milliseconds of processor time that an answer took, of all threads."""
    tiers = Tiers(cast("ListReader", None), world)  # it is down: nothing is asked of it
    down = StoreUnavailable("Redis")

    async def run() -> float:
        await tiers.from_read(1, ask, down)
        began = time.process_time()
        for user in range(1, answers + 1):
            found = await tiers.from_read(user, ask, down)
            assert found.tier == "live fold-in", found.tier
        return (time.process_time() - began) / answers * 1e3

    try:
        return asyncio.run(run())
    finally:
        tiers.close()


def make_world(asked: Namespace, tracks: int, releases: int) -> World:
    """The same each time, but for the releases, whose ids come after those of the tracks."""
    rng = np.random.default_rng(1)
    ids = np.arange(1, tracks + 1, dtype=np.int64)
    heard = np.sort(rng.integers(0, tracks, (asked.users, asked.heard)), axis=1)
    values = csr_matrix(
        (
            np.ones(heard.size, dtype=np.float32),
            heard.ravel(),
            np.arange(asked.users + 1) * asked.heard,
        ),
        shape=(asked.users, tracks),
    )
    values.sum_duplicates()
    users = np.arange(1, asked.users + 1, dtype=np.int64)
    matrix = UserItemMatrix(values, users, ids, AS_OF, MatrixParameters(), "random")
    model = AlsModel(
        user_factors=np.zeros((0, asked.factors), dtype=np.float32),
        item_factors=rng.normal(0, 0.1, (tracks, asked.factors)).astype(np.float32),
        users=np.empty(0, dtype=np.int64),
        tracks=ids,
        parameters=AlsParameters(factors=asked.factors),
        matrix_parameters=matrix.parameters,
        matrix_fingerprint=matrix.fingerprint,
        as_of=AS_OF,
    )
    champion = Champion(1, "als", False, AS_OF, model, BlendParameters(own_plays=0.5))
    live = LiveModel(champion, matrix, matrix).prepare()
    if releases:
        directions = rng.normal(0, 1, (releases, asked.factors)).astype(np.float32)
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        new = NewReleases(
            np.arange(tracks + 1, tracks + 1 + releases, dtype=np.int64),
            directions,
            np.arange(releases) % 3 == 0,
            ReleaseParameters(),
        )
        live = live.renewed(new, LIST_LENGTH)
    every = [
        (track, f"Track {track}", f"Artist {track % ARTISTS}")
        for track in range(1, tracks + 1 + asked.releases)
    ]
    genres = [(genre, f"genre {genre}") for genre in range(1, GENRES + 1)]
    of_genre = np.array([(track % GENRES + 1, track) for track, _, _ in every])
    world = World()
    world.tracks = tell_tracks(every, genres, of_genre[np.lexsort(of_genre.T[::-1])])
    world.counts = Counts(ids, np.ones(tracks, dtype=np.float32))
    world.removed = frozenset(rng.choice(ids, REMOVED, replace=False).tolist())
    world.live = live
    world.rank()
    return world


if __name__ == "__main__":
    main()
