"""Empty stores for each test, worlds that were listened to, and champions of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import polars as pl
import pytest

from moovitamix.recommend import artifacts, registry
from moovitamix.recommend.als import AlsModel
from moovitamix.recommend.configuration import Configuration
from moovitamix.recommend.gate import Decision
from moovitamix_tests.observe.reader import fitted
from moovitamix_tests.observe.shifts import FIRST_DAY, Listened, world
from moovitamix_tests.recommend.conftest import Platform, load, platform

__all__ = ["load", "platform"]

# The champion's last day, and the newest: seven weeks, and a week that it has not seen.
AS_OF = FIRST_DAY + timedelta(days=48)
NEWEST = AS_OF + timedelta(days=7)


def small_world(seed: int) -> Listened:
    """Enough to tell by, in a tenth of a second."""
    return world(seed, days=56, users=900, tracks=900, listens_a_day=800)


@pytest.fixture(scope="session")
def listened() -> Listened:
    """A world in which nothing happens."""
    return small_world(3)


@pytest.fixture(scope="session")
def model(listened: Listened) -> AlsModel:
    """Its champion."""
    return fitted(listened.plays, AS_OF, factors=32)


@pytest.fixture
def load_world(platform: Platform, load: Callable[..., None]) -> Callable[..., None]:
    """Put a world into the warehouse, with its genres, all of its days published."""

    def put(listened: Listened, plays: pl.DataFrame | None = None) -> None:
        load(listened.plays if plays is None else plays, as_of=NEWEST)
        days = [FIRST_DAY + timedelta(days=number) for number in range(56)]
        with platform.warehouse.connect() as connection:
            connection.cursor().executemany(
                """INSERT INTO published_days (day, pull, run_id) VALUES (%s, 'p', 'r')
                   ON CONFLICT DO NOTHING""",
                [(day,) for day in days],
            )
            cursor = connection.cursor()
            cursor.executemany(
                "INSERT INTO genres (name) VALUES (%s) ON CONFLICT DO NOTHING",
                [(name,) for name in listened.genres["genre"].unique()],
            )
            cursor.executemany(
                """INSERT INTO track_genres (track_id, genre_id)
                   SELECT tracks.id, genres.id FROM tracks, genres
                   WHERE tracks.id = %s AND genres.name = %s""",
                listened.genres.rows(),
            )

    return put


@pytest.fixture
def crown(platform: Platform) -> Callable[..., int]:
    """Register a model and make it the champion."""

    def crown(model: AlsModel, run_id: str = "r1", algorithm: str = "als") -> int:
        artifact = artifacts.store_model(platform.lake.open(), run_id, model)
        with platform.warehouse.connect() as connection:
            version = registry.register(
                connection,
                run_id=run_id,
                as_of=model.as_of,
                pull="p",
                matrix_fingerprint=model.matrix_fingerprint,
                parameters=Configuration(model.matrix_parameters, model.parameters).to_json(),
                artifact=artifact,
            ).version
            registry.promote(
                connection,
                version,
                Decision(
                    verdict="better than popularity",
                    algorithm="popularity" if algorithm == "popularity" else "als",
                    provisional=False,
                    reason="",
                ),
            )
        return version

    return crown
