"""An empty warehouse and lake for each test, and plays. The servers are the top-level one's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from moovitamix.recommend.matrix import INTERACTIONS
from moovitamix.resources import Lake, Warehouse

AS_OF = date(2026, 11, 22)


def tasteful_plays(
    users: int = 240, tracks: int = 160, plays: int = 9_000, seed: int = 7
) -> pl.DataFrame:
    """Plays over 30 days up to `AS_OF`, of users who keep to one of eight groups of tracks."""
    chance = np.random.default_rng(seed)
    user = chance.integers(0, users, plays)
    anywhere = chance.random(plays) < 0.1
    group = np.where(anywhere, chance.integers(0, 8, plays), user % 8)
    track = group + 8 * chance.integers(0, tracks // 8, plays)
    return _plays(user, track, chance.random(plays), days=30)


def random_plays(users: int = 1_000, tracks: int = 1_000, seed: int = 3) -> pl.DataFrame:
    """The reference source's shape: one record of five random tracks a user, without any taste."""
    chance = np.random.default_rng(seed)
    user = np.repeat(np.arange(users), 5)
    track = chance.integers(0, tracks, users * 5)
    return _plays(user, track, np.repeat(chance.random(users), 5), days=60)


def _plays(user: np.ndarray, track: np.ndarray, when: np.ndarray, *, days: int) -> pl.DataFrame:
    start = datetime(AS_OF.year, AS_OF.month, AS_OF.day, tzinfo=UTC) - timedelta(days=days - 1)
    micros = int(start.timestamp() * 1e6) + (when * days * 86_400e6).astype(np.int64)
    return pl.DataFrame(
        {"user_id": user + 11, "track_id": track * 3 + 5, "listened_at": micros}
    ).cast(INTERACTIONS)


@dataclass(frozen=True)
class Platform:
    """The stores of one test."""

    warehouse: Warehouse
    lake: Lake


@pytest.fixture
def platform(warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Platform:
    """Empty stores. Nothing is tuned unless a test asks for it: that would take its time."""
    monkeypatch.setenv("MOOVITAMIX_TUNE", "0")
    return Platform(warehouse, Lake(url=(tmp_path / "lake").as_uri()))


@pytest.fixture
def load(platform: Platform) -> Callable[..., None]:
    """Put plays into the warehouse, with the users, tracks and genres they need."""

    def load(plays: pl.DataFrame, *, as_of: date = AS_OF, silent_users: int = 0) -> None:
        users = [*plays["user_id"].unique(), *(-1 - n for n in range(silent_users))]
        with platform.warehouse.connect() as connection:
            cursor = connection.cursor()
            cursor.executemany(
                """INSERT INTO users VALUES (%s, 'a', 'b', 'c', 'd', now(), now(), 'p')
                   ON CONFLICT DO NOTHING""",
                [(user,) for user in users],
            )
            cursor.executemany(
                """INSERT INTO tracks (id, name, artist, songwriters, duration, album, created_at,
                                       updated_at, pull)
                   VALUES (%s, 'a', 'b', 'c', '3 minutes', 'd', now(), now(), 'p')
                   ON CONFLICT DO NOTHING""",
                [(track,) for track in plays["track_id"].unique()],
            )
            with cursor.copy(
                "COPY listen_history (user_id, track_id, listened_at, recorded_at, nth) FROM STDIN"
            ) as copy:
                for nth, (user, track, when) in enumerate(plays.iter_rows()):
                    copy.write_row((user, track, when, when, nth % 30_000))
            cursor.execute(
                """INSERT INTO published_days (day, pull, run_id) VALUES (%s, 'p', 'r')
                   ON CONFLICT DO NOTHING""",
                (as_of,),
            )

    return load
