"""From plays to a user-item matrix: summed by user and track, decayed, capped, weighted.

What a matrix is, and which parameters it has, is in `matrix.py`; where plays come from, in
`interactions.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from moovitamix.errors import NothingToDo
from moovitamix.recommend.matrix import MatrixParameters, UserItemMatrix, end_of, fingerprint_of
from moovitamix.recommend.weighting import weigh_matrix, weigh_pairs

_PAIR = ["user_id", "track_id"]

# Plays are summed in fixed point: the sum, and so the fingerprint, is the same in any row order.
_ONE_PLAY = 1 << 32


def build_matrix(
    interactions: pl.DataFrame, parameters: MatrixParameters, as_of: date
) -> UserItemMatrix:
    """The matrix of some plays. Rows that repeat are plays that repeat.

    Args:
        interactions: One row a play: user_id and track_id (i64), listened_at (datetime[us],
            UTC without a zone). Plays after the as-of day are left out.
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
    pairs = _Pairs()
    for block in blocks:
        summed = _sum_plays(block, parameters, as_of)
        plays = weigh_pairs(summed["play"].to_numpy() / _ONE_PLAY, parameters.weighting)
        pairs.add(summed["user_id"].to_numpy(), summed["track_id"].to_numpy(), plays)
    values, users, tracks = pairs.settled(parameters.minimum_listeners)
    if not values.nnz:
        raise NothingToDo(
            f"There is no listen up to {as_of} to build a matrix from: "
            "load days that have listens with `moovitamix run`."
        )
    weigh_matrix(values, parameters.weighting)
    fingerprint = fingerprint_of(values, users, tracks, parameters)
    return UserItemMatrix(values, users, tracks, as_of, parameters, fingerprint)


def _sum_plays(
    interactions: pl.DataFrame, parameters: MatrixParameters, as_of: date
) -> pl.DataFrame:
    """What each pair of user and track was played, in fixed point, ascending by user and track."""
    until = end_of(as_of)
    taken = pl.col("listened_at") < until
    if parameters.window_days is not None:
        taken &= pl.col("listened_at") >= until - timedelta(days=parameters.window_days)
    play = pl.lit(_ONE_PLAY, dtype=pl.Int64)
    if parameters.half_life_days is not None:
        age = (until - pl.col("listened_at")).dt.total_microseconds() / 86_400_000_000
        decayed = (-age / parameters.half_life_days).cast(pl.Float64) * np.log(2)
        play = (decayed.exp() * _ONE_PLAY).round().clip(lower_bound=1).cast(pl.Int64)
    rows = interactions.lazy().filter(taken).with_columns(play=play)
    summed = [pl.col("play").sum(), pl.len().alias("count")]
    if parameters.daily_cap is None:
        rows = rows.group_by(_PAIR).agg(summed)
    else:
        day = pl.col("listened_at").dt.date().alias("day")
        counted = pl.col("count").clip(upper_bound=parameters.daily_cap)
        # The share that counts, by whole plays first: in 64 bits, and the same in any order.
        mean = pl.col("play") // pl.col("count")
        rows = (
            rows.group_by(*_PAIR, day)
            .agg(summed)
            .select(
                *_PAIR,
                play=pl.when(counted < pl.col("count")).then(mean * counted).otherwise("play"),
                count=counted,
            )
            .group_by(_PAIR)
            .agg(pl.col("play").sum(), pl.col("count").sum())
        )
    if parameters.minimum_plays > 1:
        rows = rows.filter(pl.col("count").sum().over("user_id") >= parameters.minimum_plays)
    return rows.select(*_PAIR, "play").sort(_PAIR).collect()


class _Pairs:
    """Pairs as they come, in arrays that grow: 8 bytes a pair, and in the end no other copy.

    Tracks are numbered as they come, for it is known at the end only which there are.
    """

    def __init__(self) -> None:
        self._users: list[NDArray[np.int64]] = []
        self._sizes: list[NDArray[np.int64]] = []
        # Bytes, which grow by an eighth at a time and where they are: an array would be copied.
        self._columns = bytearray()
        self._values = bytearray()
        self._tracks = np.empty(0, dtype=np.int64)  # ascending, and beside it their numbers
        self._numbers = np.empty(0, dtype=np.int32)

    def add(
        self, users: NDArray[np.int64], tracks: NDArray[np.int64], values: NDArray[np.float32]
    ) -> None:
        """Take pairs ascending by user and track, of users above those before."""
        found, sizes = np.unique(users, return_counts=True)
        self._users.append(found)
        self._sizes.append(sizes)
        self._columns += self._numbered(tracks).data
        self._values += np.ascontiguousarray(values).data

    def _numbered(self, tracks: NDArray[np.int64]) -> NDArray[np.int32]:
        fresh = np.setdiff1d(tracks, self._tracks)
        if len(fresh):
            place = np.searchsorted(self._tracks, fresh)
            first = len(self._tracks)
            numbers = np.arange(first, first + len(fresh), dtype=np.int32)
            self._tracks = np.insert(self._tracks, place, fresh)
            self._numbers = np.insert(self._numbers, place, numbers)
        return self._numbers[np.searchsorted(self._tracks, tracks)]

    def settled(self, listeners: int) -> tuple[csr_matrix, NDArray[np.int64], NDArray[np.int64]]:
        """The matrix, its users and its tracks; nothing can be added to it any more.

        Without the tracks that fewer users heard, and without the users who have none left.
        """
        columns = np.frombuffer(self._columns, dtype=np.int32)
        values = np.frombuffer(self._values, dtype=np.float32)
        heard = np.zeros(len(self._tracks), dtype=np.int64)
        for piece in _pieces(len(columns)):
            heard += np.bincount(columns[piece], minlength=len(heard))
        kept = heard[self._numbers] >= listeners
        place = np.full(len(kept), -1, dtype=np.int32)
        place[self._numbers[kept]] = np.arange(np.count_nonzero(kept), dtype=np.int32)
        users = np.concatenate([np.empty(0, dtype=np.int64), *self._users])
        offsets = np.concatenate([[0], *self._sizes]).cumsum()
        offsets = _move(columns, values, offsets, place)
        left = np.diff(offsets) > 0
        users, offsets = users[left], np.concatenate((offsets[:1], offsets[1:][left]))
        tracks, count = self._tracks[kept], offsets[-1]
        shape = (len(users), len(tracks))
        return csr_matrix((values[:count], columns[:count], offsets), shape=shape), users, tracks


# Pairs that are worked on at once: what it takes beside the matrix is small, whatever its size.
_PIECE = 1 << 16


def _pieces(count: int) -> Iterator[slice]:
    for start in range(0, count, _PIECE):
        yield slice(start, min(start + _PIECE, count))


def _move(
    columns: NDArray[np.int32],
    values: NDArray[np.float32],
    offsets: NDArray[np.int64],
    place: NDArray[np.int32],
) -> NDArray[np.int64]:
    """Give columns other numbers, in place, and close up where one has none (-1).

    Returns:
        The offsets of the rows after it.
    """
    moved = offsets.copy()
    count = 0
    for piece in _pieces(len(columns)):
        numbers = place[columns[piece]]
        kept = numbers >= 0
        before = count + np.concatenate(([0], kept.cumsum()))
        here = slice(*np.searchsorted(offsets, (piece.start, piece.stop + 1)))
        moved[here] = before[offsets[here] - piece.start]
        stop = int(before[-1])
        columns[count:stop] = numbers[kept]
        values[count:stop] = values[piece][kept]
        count = stop
    return moved
