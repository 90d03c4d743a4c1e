"""Features tell what the warehouse holds of each user, as of a day."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime

import polars as pl

from moovitamix.recommend.features import read_user_features
from moovitamix.recommend.matrix import INTERACTIONS
from moovitamix.recommend.soundness import feature_faults
from moovitamix_tests.recommend.conftest import AS_OF, Platform

moment = datetime.fromisoformat


def add_genres(platform: Platform) -> None:
    with platform.warehouse.connect() as connection:
        connection.execute("INSERT INTO genres (name) VALUES ('jazz'), ('pop'), ('ska'), ('folk')")
        for table, rows in (
            ("track_genres", [(10, "jazz"), (10, "pop"), (20, "ska"), (30, "folk")]),
            ("user_favorite_genres", [(1, "ska"), (1, "folk"), (2, "pop")]),
        ):
            connection.cursor().executemany(
                f"INSERT INTO {table} SELECT %s, id FROM genres WHERE name = %s",  # noqa: S608
                rows,
            )


def test_features_of_a_listener_and_of_who_never_listened(
    platform: Platform, load: Callable[..., None]
) -> None:
    plays = pl.DataFrame(
        [
            (1, 10, moment("2026-11-20T23:59:59.999999")),
            (1, 10, moment("2026-11-20T08:00")),
            (1, 20, moment("2026-11-18T08:00")),
            (1, 30, moment("2026-11-22T23:59:59")),
            (1, 30, moment("2026-11-23T00:00")),  # after the day
            (2, 30, moment("2026-11-23T00:00")),  # after the day
        ],
        schema=INTERACTIONS,
        orient="row",
    )
    load(plays, silent_users=1)
    add_genres(platform)
    found = read_user_features(platform.warehouse, AS_OF)
    silent: dict[str, object] = {
        "plays": 0,
        "distinct_tracks": 0,
        "active_days": 0,
        "last_listen": None,
        "days_since_last_listen": None,
        "top_genres": [],
    }
    assert found.to_dicts() == [
        {"user_id": -1, **silent, "favorite_genres": []},
        {
            "user_id": 1,
            "plays": 4,
            "distinct_tracks": 3,
            "active_days": 3,
            "last_listen": moment("2026-11-22T23:59:59"),
            "days_since_last_listen": 0,
            "favorite_genres": ["folk", "ska"],
            # Three at most; ska and folk are equal, and follow the alphabet.
            "top_genres": ["jazz", "pop", "folk"],
        },
        {"user_id": 2, **silent, "favorite_genres": ["pop"]},
    ]
    assert feature_faults(found, 3) == []


def test_days_are_counted_back_from_the_day_asked_for(
    platform: Platform, load: Callable[..., None]
) -> None:
    load(pl.DataFrame([(1, 10, moment("2026-11-20T23:00"))], schema=INTERACTIONS, orient="row"))
    found = read_user_features(platform.warehouse, date(2026, 11, 22))
    assert found["days_since_last_listen"].to_list() == [2]
