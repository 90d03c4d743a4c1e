"""Plays by day, and windows of some days of them: the frames of the warehouse as arrays.

What is measured on a window is told in `drift_shape.py`; which windows are compared, in
`drift_null.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

Integers = NDArray[np.int64]
Values = NDArray[np.float64]

_EPOCH = date(1970, 1, 1)


def day_number(day: date) -> int:
    """A day as a number of days since 1970."""
    return (day - _EPOCH).days


def day_of(number: int) -> date:
    """The day with a number."""
    return _EPOCH + timedelta(days=number)


@dataclass(frozen=True, eq=False, slots=True)
class History:
    """All plays, by day, user and track; users, tracks and genres by position.

    Attributes:
        users: int64 ids, ascending.
        tracks: int64 ids, ascending.
        genres: Names, ascending; the last is that of tracks without one.
        shares: CSR float64 [tracks, genres]: each track's plays divided evenly among its genres.
        day: int64 [rows], ascending: days since 1970.
        user: int64 [rows]: positions.
        track: int64 [rows]: positions.
        plays: int64 [rows].
        first_of_user: int64 [users]: the first day on which each was heard of.
        first_of_track: int64 [tracks].
    """

    users: Integers
    tracks: Integers
    genres: list[str]
    shares: csr_matrix
    day: Integers
    user: Integers
    track: Integers
    plays: Integers
    first_of_user: Integers
    first_of_track: Integers

    def is_whole(self, start: int, days: int) -> bool:
        """Whether there are plays on each of some days."""
        first, last = np.searchsorted(self.day, [start, start + days])
        return len(np.unique(self.day[first:last])) == days

    def window(self, start: int, days: int) -> Window:
        """The plays of some days, from the day with this number on."""
        first, last = np.searchsorted(self.day, [start, start + days])
        users, rows = np.unique(self.user[first:last], return_inverse=True)
        tracks, columns = np.unique(self.track[first:last], return_inverse=True)
        plays = csr_matrix(
            (self.plays[first:last].astype(np.float64), (rows, columns)),
            shape=(len(users), len(tracks)),
        )
        return Window(self, start, days, users, tracks, plays)


@dataclass(frozen=True, eq=False, slots=True)
class Window:
    """What was heard on some days in a row.

    Attributes:
        history: That it is a part of.
        start: Its first day.
        days: Its length.
        users: int64: positions of who listened.
        tracks: int64: positions of what was heard.
        plays: CSR float64 [users, tracks], values above 0.
    """

    history: History
    start: int
    days: int
    users: Integers
    tracks: Integers
    plays: csr_matrix

    def plays_of_users(self) -> Values:
        """How much each user heard, [users]."""
        total: Values = np.asarray(self.plays.sum(axis=1)).ravel()
        return total


def history_of(interactions: pl.DataFrame, genres: pl.DataFrame) -> History:
    """Plays by day.

    Args:
        interactions: user_id, track_id, listened_at; see `recommend.matrix.INTERACTIONS`.
        genres: track_id (i64) and genre (str), a row for each genre of a track; tracks that
            nobody heard are left out.
    """
    frame = (
        interactions.group_by(
            pl.col("listened_at").dt.date().cast(pl.Int32).cast(pl.Int64).alias("day"),
            "user_id",
            "track_id",
        )
        .agg(plays=pl.len().cast(pl.Int64))
        .sort("day", "user_id", "track_id")
    )
    day = frame["day"].to_numpy()
    users, user = np.unique(frame["user_id"].to_numpy(), return_inverse=True)
    tracks, track = np.unique(frame["track_id"].to_numpy(), return_inverse=True)
    names, shares = _genre_shares(tracks, genres)
    return History(
        users=users,
        tracks=tracks,
        genres=names,
        shares=shares,
        day=day,
        user=user,
        track=track,
        plays=frame["plays"].to_numpy(),
        first_of_user=_first(day, user, len(users)),
        first_of_track=_first(day, track, len(tracks)),
    )


def _first(day: Integers, position: Integers, count: int) -> Integers:
    first = np.full(count, np.iinfo(np.int64).max, dtype=np.int64)
    np.minimum.at(first, position, day)
    return first


def _genre_shares(tracks: Integers, genres: pl.DataFrame) -> tuple[list[str], Any]:
    known = genres.filter(pl.col("track_id").is_in(tracks)).unique()
    names = known["genre"].unique().sort().to_list()
    rows = np.searchsorted(tracks, known["track_id"].to_numpy())
    columns = np.searchsorted(np.array(names, dtype=str), known["genre"].to_numpy().astype(str))
    bare = np.setdiff1d(np.arange(len(tracks)), rows)
    rows = np.concatenate([rows, bare])
    columns = np.concatenate([columns, np.full(len(bare), len(names))])
    each = np.bincount(rows, minlength=len(tracks))
    shares = csr_matrix(
        (1 / each[rows], (rows, columns)), shape=(len(tracks), len(names) + 1), dtype=np.float64
    )
    return [*names, "no genre"], shares
