"""From plays to a user-item matrix: summed by user and track, decayed, capped, weighted.

What a matrix is, and which parameters it has, is in `matrix.py`; where plays come from, in
`interactions.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from moovitamix.errors import NothingToDo
from moovitamix.recommend.feedback_weighting import share_left
from moovitamix.recommend.matrix import (
    PLAY,
    MatrixParameters,
    UserItemMatrix,
    end_of,
    fingerprint_of,
)
from moovitamix.recommend.pairs import Pairs, among
from moovitamix.recommend.weighting import (
    ONE_PLAY,
    Statistics,
    weigh_matrix,
    weigh_pairs,
    weigh_rows,
    worth,
)

_A_DAY = 86_400_000_000  # microseconds


class Plays(NamedTuple):
    """Plays as arrays, one entry a play, in any order.

    Attributes:
        users: int64 ids.
        tracks: int64 ids.
        listened_at: int64, microseconds since 1970 in UTC.
    """

    users: NDArray[np.int64]
    tracks: NDArray[np.int64]
    listened_at: NDArray[np.int64]

    @classmethod
    def of(cls, interactions: pl.DataFrame) -> Plays:
        """The plays of a frame as `matrix.INTERACTIONS`."""
        return cls(
            interactions["user_id"].to_numpy(),
            interactions["track_id"].to_numpy(),
            interactions["listened_at"].to_physical().to_numpy(),
        )


def build_matrix(
    interactions: pl.DataFrame, parameters: MatrixParameters, as_of: date
) -> UserItemMatrix:
    """The matrix of some plays. Rows that repeat are plays that repeat.

    Args:
        interactions: One row a play: user_id and track_id (i64), listened_at (datetime[us],
            UTC without a zone); with `kind` also skips and hides, see `matrix.WITH_FEEDBACK`.
            What is after the as-of day is left out.
        parameters: Weighting, decay, window, cap and support.
        as_of: The day from whose end the age of a play is counted.

    Raises:
        NothingToDo: When no play is left.
    """
    return build_in_blocks([interactions], parameters, as_of)


def build_in_blocks(
    blocks: Iterable[pl.DataFrame], parameters: MatrixParameters, as_of: date
) -> UserItemMatrix:
    """The same from plays that come in blocks: only one block and the matrix are in memory.

    Args:
        blocks: As `build_matrix` takes them; all plays of a user are in one block, and the users
            of a block are above those of the block before.
        parameters: As in `build_matrix`.
        as_of: As in `build_matrix`.

    Raises:
        NothingToDo: When no play is left.
    """
    pairs = Pairs()
    for block in blocks:
        pairs.add(*weigh_plays(block, parameters, as_of))
    values, users, tracks = pairs.settled(parameters.minimum_listeners)
    if not values.nnz:
        raise NothingToDo(
            f"There is no listen up to {as_of} to build a matrix from: "
            "load days that have listens with `moovitamix run`."
        )
    mean_plays = weigh_matrix(values, parameters.weighting)
    fingerprint = fingerprint_of(values, users, tracks, parameters)
    return UserItemMatrix(values, users, tracks, as_of, parameters, fingerprint, mean_plays)


def build_rows(
    plays: Plays,
    parameters: MatrixParameters,
    as_of: date,
    tracks: NDArray[np.int64],
    known: Statistics,
    feedback: pl.DataFrame | None = None,
) -> UserItemMatrix:
    """The rows of some users as a matrix of all would have them: to fold them in between two.

    What takes all users to know (how rare a track is, how much a user plays) is told. Nobody falls
    out for having too few plays, and no track for having too few listeners: who has come today has
    few, and a track that the model does not know has no column there anyhow.

    Args:
        plays: All of these users'.
        parameters: Weighting, decay, window and cap.
        as_of: As in `build_matrix`.
        tracks: int64, ascending: those that `known` tells of.
        known: Of the matrix of all.
        feedback: Their skips and hides, as `matrix.WITH_FEEDBACK`; None: there are none.

    Returns:
        The rows, under the tracks that these users heard; without a fingerprint.

    Raises:
        ValueError: When the weighting needs what a matrix of before it was kept does not tell.
    """
    pairs = Pairs()
    pairs.add(*_weighed(plays, feedback, replace(parameters, minimum_plays=1), as_of))
    values, users, heard = pairs.settled(1)
    listeners = np.zeros(len(heard), dtype=np.int64)
    listed = among(heard, tracks)
    listeners[listed] = known.listeners[np.searchsorted(tracks, heard[listed])]
    weigh_rows(values, parameters.weighting, replace(known, listeners=listeners))
    return UserItemMatrix(values, users, heard, as_of, parameters, "")


def weigh_plays(
    interactions: pl.DataFrame, parameters: MatrixParameters, as_of: date
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Users, tracks and values of some users' pairs, ascending; what is hidden is not among them.

    For BM25 without what takes the pairs of all users to know: see `weighting.weigh_matrix`.

    Args:
        interactions: As `build_matrix` takes them, all of the users' own.
        parameters: As in `build_matrix`.
        as_of: As in `build_matrix`.
    """
    feedback = None
    if "kind" in interactions.columns:
        feedback = interactions.filter(pl.col("kind") != PLAY)
        interactions = interactions.filter(pl.col("kind") == PLAY)
    return _weighed(Plays.of(interactions), feedback, parameters, as_of)


def _weighed(
    plays: Plays, feedback: pl.DataFrame | None, parameters: MatrixParameters, as_of: date
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    users, tracks, summed = _sum_plays(plays, parameters, as_of)
    values = weigh_pairs(summed / ONE_PLAY, parameters.weighting)
    if feedback is None or feedback.is_empty():
        return users, tracks, values
    left = share_left(users, tracks, summed, feedback, parameters, as_of)
    kept = left > 0
    return users[kept], tracks[kept], (values * left).astype(np.float32)[kept]


def _sum_plays(
    plays: Plays, parameters: MatrixParameters, as_of: date
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Users, tracks and what each pair was played, in fixed point; ascending by user and track."""
    until = _microseconds(end_of(as_of))
    taken = plays.listened_at < until
    if parameters.window_days is not None:
        taken &= plays.listened_at >= until - parameters.window_days * _A_DAY
    if not taken.all():
        plays = Plays(*(column[taken] for column in plays))
    keys = _Keys(plays.users, plays.tracks)
    order = days = None
    if parameters.daily_cap is not None:
        days = plays.listened_at // _A_DAY
        order = np.lexsort((days, keys.of_plays))
    elif parameters.half_life_days is not None:
        order = np.argsort(keys.of_plays)
    found = np.sort(keys.of_plays) if order is None else keys.of_plays[order]
    starts = _starts(found, *([] if days is None else [days[order]]))
    found, counts = found[starts], np.diff(starts, append=len(found))
    summed = counts * ONE_PLAY
    if parameters.half_life_days is not None:
        moments = pl.DataFrame({"listened_at": plays.listened_at}).cast(pl.Datetime("us"))
        play = moments.select(worth(parameters.half_life_days, end_of(as_of))).to_series()
        summed = _sums(play.to_numpy()[order], starts)
    if parameters.daily_cap is not None:
        counted = np.minimum(counts, parameters.daily_cap)
        # The share that counts, by whole plays first: in 64 bits, and the same in any order.
        summed = np.where(counted < counts, summed // counts * counted, summed)
        starts = _starts(found)
        found, counts, summed = found[starts], _sums(counted, starts), _sums(summed, starts)
    users, tracks = keys.pairs(found)
    if parameters.minimum_plays > 1 and len(users):
        starts = _starts(users)
        of_user = np.repeat(_sums(counts, starts), np.diff(starts, append=len(users)))
        kept = of_user >= parameters.minimum_plays
        users, tracks, summed = users[kept], tracks[kept], summed[kept]
    return users, tracks, summed


class _Keys:
    """Pairs of ids as single numbers, in the order of the pairs: these are sorted much faster."""

    def __init__(self, users: NDArray[np.int64], tracks: NDArray[np.int64]) -> None:
        self._users, of_users = _numbered(users)
        self._tracks, of_tracks = _numbered(tracks)
        self.of_plays: NDArray[np.int64] = of_users * len(self._tracks) + of_tracks

    def pairs(self, keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The users and the tracks of keys."""
        users, tracks = np.divmod(keys, max(len(self._tracks), 1))
        return self._users[users], self._tracks[tracks]


def _numbered(ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    distinct = np.unique(ids)
    return distinct, np.searchsorted(distinct, ids)


def _microseconds(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1)) // timedelta(microseconds=1)  # noqa: DTZ001 - UTC


def _starts(*sorted_by: NDArray[Any]) -> NDArray[np.int64]:
    """Where rows that are equal in all columns begin."""
    begins = np.zeros(len(sorted_by[0]), dtype=bool)
    begins[:1] = True
    for column in sorted_by:
        begins[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(begins)


def _sums(values: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.add.reduceat(values, starts) if len(starts) else values
