"""A small world in which every kind of user and track occurs, as objects and as rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from moovitamix.recommend.als import AlsParameters, fit_als
from moovitamix.recommend.champion import Champion
from moovitamix.recommend.matrix import INTERACTIONS, MatrixParameters, UserItemMatrix
from moovitamix.recommend.matrix_building import build_matrix
from moovitamix.serve.catalogue import Catalogue

if TYPE_CHECKING:
    from moovitamix.resources import Warehouse

AS_OF = date(2026, 11, 22)
NAMESPACE = "test"


@dataclass(frozen=True)
class World:
    """A small world in which every kind of user and track occurs.

    Users 1-60 have listens; tracks 100-139 were there when the champion was trained, 140-149 are
    newer. User 61 has only heard newer tracks. Users 70-72 have no listens: 70 has stated genres
    that have tracks, 71 one that has none, 72 none at all. Tracks 101 and 141 are withdrawn,
    track 149 was never heard.
    """

    champion: Champion
    matrix: UserItemMatrix
    catalogue: Catalogue

    NEWCOMER = 61
    WITHDRAWN = (101, 141)
    NEVER_HEARD = 149

    def heard_by(self, user: int) -> set[int]:
        row = int(np.searchsorted(self.matrix.users, user))
        return set(self.matrix.tracks[self.matrix.values[row].indices].tolist())

    def under(self, algorithm: str) -> World:
        """The same, with a champion that serves by another algorithm."""
        assert algorithm in {"als", "popularity"}
        champion = replace(self.champion, algorithm=algorithm)  # type: ignore[arg-type]
        return replace(self, champion=champion)


def told_apart(world: World) -> World:
    """The same with factors that point many ways; those of `make_world` all point the same."""
    old = {(user, track) for user in range(1, 61) for track in world.heard_by(user) if track < 140}
    model = fit_als(
        build_matrix(plays(old), world.champion.matrix_parameters, AS_OF),
        AlsParameters(factors=8, iterations=5, alpha=20.0, regularization=1.0),
    )
    return replace(world, champion=replace(world.champion, model=model))


def plays(pairs: set[tuple[int, int]]) -> pl.DataFrame:
    moment = datetime(2026, 11, 20, 12)  # noqa: DTZ001 - the warehouse's moments have no zone
    rows = [(user, track, moment) for user, track in sorted(pairs)]
    return pl.DataFrame(rows, schema=INTERACTIONS, orient="row")


def make_world() -> World:
    """The same at each call."""
    rng = np.random.default_rng(7)
    old = {
        (user, int(track))
        for user in range(1, 61)
        for track in 100 + rng.choice(40, size=8, replace=False, p=_taste(user))
    }
    new = {(user, 140 + user % 9) for user in range(1, 31)}
    newcomer = {(World.NEWCOMER, 142), (World.NEWCOMER, 143)}
    parameters = MatrixParameters()
    model = fit_als(
        build_matrix(plays(old), parameters, AS_OF), AlsParameters(factors=8, iterations=5)
    )
    catalogue = Catalogue(
        tracks=np.setdiff1d(np.arange(100, 150), World.WITHDRAWN),
        withdrawn=np.array(World.WITHDRAWN),
        track_genres=pl.DataFrame(
            {
                "genre_id": [1] * 20 + [2] * 30 + [3],
                "track_id": [*range(100, 120), *range(120, 150), 101],
            }
        ),
        favorite_genres=pl.DataFrame(
            {"user_id": [1, 70, 70, 71], "genre_id": [1, 1, 2, 4]},
            schema={"user_id": pl.Int64, "genre_id": pl.Int64},
        ),
    )
    return World(
        Champion(3, "als", False, AS_OF, model),
        build_matrix(plays(old | new | newcomer), parameters, AS_OF),
        catalogue,
    )


def _taste(user: int) -> NDArray[np.float64]:
    """Odd users like the first half of the tracks, even ones the second."""
    liked = (np.arange(40) < 20) == bool(user % 2)
    weights: NDArray[np.float64] = np.where(liked, 9.0, 1.0)
    return weights / float(weights.sum())


def load_catalogue(warehouse: Warehouse, catalogue: Catalogue) -> None:
    """The rows that `read_catalogue` makes this catalogue from."""
    moment, users = datetime(2026, 9, 1), range(1, 73)  # noqa: DTZ001 - as in plays
    tracks = sorted([*catalogue.tracks.tolist(), *catalogue.withdrawn.tolist()])
    withdrawn = set(catalogue.withdrawn.tolist())
    with warehouse.connect() as connection, connection.cursor() as cursor:
        cursor.executemany(
            """INSERT INTO tracks (id, name, artist, songwriters, duration, album, created_at,
                   updated_at, withdrawn_at, pull)
               VALUES (%s, %s, %s, '', '3 minutes', '', %s, %s, %s, 'p1')""",
            [
                (
                    t,
                    f"Track {t}",
                    f"Artist {t % 7}",
                    moment,
                    moment,
                    moment if t in withdrawn else None,
                )
                for t in tracks
            ],
        )
        cursor.executemany(
            """INSERT INTO users (id, first_name, last_name, email, gender, created_at, updated_at,
                   pull) VALUES (%s, '', '', '', '', %s, %s, 'p1')""",
            [(user, moment, moment) for user in users],
        )
        cursor.executemany(
            "INSERT INTO genres (id, name) OVERRIDING SYSTEM VALUE VALUES (%s, %s)",
            [(genre, f"genre {genre}") for genre in range(1, 5)],
        )
        cursor.executemany(
            "INSERT INTO track_genres (genre_id, track_id) VALUES (%s, %s)",
            catalogue.track_genres.rows(),
        )
        cursor.executemany(
            "INSERT INTO user_favorite_genres (user_id, genre_id) VALUES (%s, %s)",
            catalogue.favorite_genres.rows(),
        )
