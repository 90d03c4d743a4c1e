"""Made-up listening of whole worlds, and shifts of a stated size put into their newest days.

A world is the demonstration source's. What is found in it is the business of the tests and of
`benchmarks/drift.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

import numpy as np
import polars as pl

from moovitamix.embedded.demo_source.world import DemoParameters, DemoWorld
from moovitamix.recommend.matrix import INTERACTIONS

FIRST_DAY = date(2026, 9, 1)
_NEW = 1 << 40


@dataclass(frozen=True)
class Listened:
    """What a world holds.

    Attributes:
        plays: user_id, track_id, listened_at.
        genres: track_id, genre.
    """

    plays: pl.DataFrame
    genres: pl.DataFrame


Shift = Callable[[Listened, date, float, np.random.Generator], pl.DataFrame]


def world(
    seed: int, *, days: int, users: int = 3_000, tracks: int = 4_000, listens_a_day: int = 1_650
) -> Listened:
    """All that is heard in so many days from `FIRST_DAY` on."""
    made = DemoWorld(
        DemoParameters(
            seed=seed,
            first_day=FIRST_DAY,
            days=days,
            users=users,
            tracks=tracks,
            listens=listens_a_day * days,
        )
    )
    end = datetime.combine(FIRST_DAY, time()) + timedelta(days=days)
    heard = made.listens(0, made.count_listens(end), end)
    plays = (
        pl.DataFrame(
            {
                "user_id": [record.user_id for record in heard],
                "track_id": [record.items for record in heard],
                "listened_at": [record.created_at for record in heard],
            }
        )
        .explode("track_id")
        .with_columns(pl.col("listened_at").str.slice(0, 26).str.to_datetime(time_unit="us"))
        .cast(INTERACTIONS)
        .filter(pl.col("listened_at") < end)
    )
    named = made.tracks(0, made.count_tracks(end), end)
    genres = (
        pl.DataFrame(
            {
                "track_id": [track.id for track in named],
                "genre": [track.genres.split(", ") for track in named],
            }
        )
        .explode("genre")
        .cast({"track_id": pl.Int64})
    )
    # Tracks that a new catalogue brings have the genres of those in whose place they are.
    renamed = genres.with_columns(pl.col("track_id") + _NEW)
    return Listened(plays, pl.concat([genres, renamed]))


def apart(plays: pl.DataFrame, since: date) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What was heard before a day, and from it on."""
    is_past = pl.col("listened_at") < datetime.combine(since, time())
    return plays.filter(is_past), plays.filter(~is_past)


def _some(
    plays: pl.DataFrame, share: float, chance: np.random.Generator
) -> tuple[pl.DataFrame, pl.DataFrame]:
    chosen = pl.Series(chance.random(plays.height) < share)
    return plays.filter(chosen), plays.filter(~chosen)


def genre_swap(
    listened: Listened, since: date, share: float, chance: np.random.Generator
) -> pl.DataFrame:
    """Of the plays, a share goes to the genre that is heard least, by its tracks' popularity."""
    past, new = apart(listened.plays, since)
    by_genre = past.join(listened.genres, on="track_id")
    least = by_genre["genre"].value_counts().sort("count", "genre")["genre"][0]
    there = by_genre.filter(pl.col("genre") == least)["track_id"].to_numpy()
    moved, kept = _some(new, share, chance)
    drawn = pl.Series("track_id", chance.choice(there, moved.height))
    return pl.concat([past, kept, moved.with_columns(drawn)])


def activity(
    listened: Listened, since: date, factor: float, chance: np.random.Generator
) -> pl.DataFrame:
    """Everybody listens so many times as much, to what they heard in these days."""
    past, new = apart(listened.plays, since)
    whole = int(factor)
    more, _ = _some(new, factor - whole, chance)
    return pl.concat([past, *[new] * whole, more])


def new_catalogue(
    listened: Listened, since: date, share: float, chance: np.random.Generator
) -> pl.DataFrame:
    """Of the plays, a share goes to tracks that did not exist, each in an old one's place."""
    past, new = apart(listened.plays, since)
    moved, kept = _some(new, share, chance)
    return pl.concat([past, kept, moved.with_columns(pl.col("track_id") + _NEW)])


def popularity_flip(
    listened: Listened, since: date, share: float, chance: np.random.Generator
) -> pl.DataFrame:
    """Of the plays, a share goes from the n-th of a genre's tracks to the n-th from its end."""
    past, new = apart(listened.plays, since)
    first_genre = listened.genres.group_by("track_id").agg(pl.col("genre").min())
    ranked = (
        past.group_by("track_id")
        .len()
        .join(first_genre, on="track_id")
        .with_columns(place=pl.col("len").rank("ordinal", descending=True).over("genre"))
        .with_columns(mirrored=pl.len().over("genre") + 1 - pl.col("place").cast(pl.Int64))
    )
    mirror = ranked.join(
        ranked.select("genre", pl.col("place").cast(pl.Int64), other="track_id"),
        left_on=["genre", "mirrored"],
        right_on=["genre", "place"],
    ).select("track_id", "other")
    moved, kept = _some(new, share, chance)
    flipped = moved.join(mirror, on="track_id", how="left").with_columns(
        track_id=pl.coalesce("other", "track_id")
    )
    return pl.concat([past, kept, flipped.select(past.columns)])


def stale_model(
    listened: Listened, since: date, share: float, chance: np.random.Generator
) -> pl.DataFrame:
    """A share of the users has another's taste: they swap what they hear, nothing else changes."""
    past, new = apart(listened.plays, since)
    users = new["user_id"].unique().sort().to_numpy()
    chosen = chance.permutation(users)[: int(len(users) * share)]
    swapped = pl.DataFrame(
        {"user_id": chosen, "other": np.roll(chosen, 1)}, schema_overrides={"user_id": pl.Int64}
    )
    moved = new.join(swapped, on="user_id", how="left").with_columns(
        user_id=pl.coalesce("other", "user_id")
    )
    return pl.concat([past, moved.select(past.columns)])


SHIFTS: dict[str, Shift] = {
    "genre swap": genre_swap,
    "activity": activity,
    "new catalogue": new_catalogue,
    "popularity flip": popularity_flip,
    "stale model": stale_model,
}
