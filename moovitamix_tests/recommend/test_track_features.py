"""Features of tracks tell what the warehouse holds of each, as of a day."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from moovitamix.recommend.matrix import INTERACTIONS
from moovitamix.recommend.track_features import folded, read_track_features, track_features
from moovitamix_tests.recommend.conftest import AS_OF, Platform

moment = datetime.fromisoformat


def test_features_of_heard_tracks_and_of_one_that_nobody_has_heard(
    platform: Platform, load: Callable[..., None]
) -> None:
    load(
        pl.DataFrame(
            [
                (1, 10, moment("2026-11-20T23:59:59.999999")),
                (1, 10, moment("2026-11-21T08:00")),
                (2, 10, moment("2026-11-19T08:00")),
                (2, 20, moment("2026-11-22T23:59:59")),
                (3, 20, moment("2026-11-23T00:00")),  # after the day
                (3, 30, moment("2026-11-23T00:00")),  # after the day
            ],
            schema=INTERACTIONS,
            orient="row",
        )
    )
    with platform.warehouse.connect() as connection:
        cursor = connection.cursor()
        cursor.executemany(
            "UPDATE tracks SET artist = %s, created_at = %s WHERE id = %s",
            [
                ("  Earth,\n Wind & FIRE ", moment("2026-11-22T00:00"), 10),
                ("Bao Oliveira", moment("2020-11-22T12:00"), 20),
                ("Bao Oliveira", moment("2026-11-23T00:00"), 30),
            ],
        )
        cursor.execute("INSERT INTO genres (name) VALUES ('drum & bass'), ('pop')")
        cursor.executemany(
            "INSERT INTO track_genres SELECT %s, id FROM genres WHERE name = %s",
            [(10, "pop"), (10, "drum & bass"), (30, "pop")],
        )
    assert read_track_features(platform.warehouse, AS_OF).to_dicts() == [
        {
            "track_id": 10,
            "artist": "earth, wind & fire",
            "genres": ["drum & bass", "pop"],
            "age_days": 0,
            "listeners": 2,  # three plays, of two genres, are still two users
            "days_since_last_listen": 1,
        },
        {
            "track_id": 20,
            "artist": "bao oliveira",
            "genres": [],
            "age_days": 6 * 365 + 1,
            "listeners": 1,
            "days_since_last_listen": 0,
        },
        {
            "track_id": 30,
            "artist": "bao oliveira",
            "genres": ["pop"],
            "age_days": -1,
            "listeners": 0,
            "days_since_last_listen": None,
        },
    ]


@given(st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)))  # noqa: DTZ001 - UTC without a zone
def test_age_is_counted_in_calendar_days(created: datetime) -> None:
    micros = int(created.replace(tzinfo=UTC).timestamp()) * 1_000_000
    found = track_features(
        pl.DataFrame(
            {
                "track_id": [1],
                "artist": ["a"],
                "genres": [""],
                "created_at": [micros],
                "listeners": [0],
                "last_listen": pl.Series([None], dtype=pl.Int64),
            }
        ),
        date(2026, 11, 22),
    )
    assert found["age_days"].item() == (date(2026, 11, 22) - created.date()).days


@given(st.text())
def test_a_folded_name_has_one_spelling(name: str) -> None:
    def fold(text: str) -> str:
        return str(pl.select(folded(pl.lit(text))).item())

    assert fold(fold(name)) == fold(name) == fold(f"  {name}\t")
