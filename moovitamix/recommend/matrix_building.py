"""From plays to a user-item matrix: summed by user and track, decayed, capped, weighted.

What a matrix is, and which parameters it has, is in `matrix.py`; where plays come from, in
`interactions.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from moovitamix.errors import NothingToDo
from moovitamix.recommend.feedback_weighting import share_left
from moovitamix.recommend.matrix import (
    PLAY,
    MatrixParameters,
    UserItemMatrix,
    end_of,
    fingerprint_of,
)
from moovitamix.recommend.weighting import ONE_PLAY, weigh_matrix, weigh_pairs, worth


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
    pairs = _Pairs()
    for block in blocks:
        pairs.add(*weigh_plays(block, parameters, as_of))
    values, users, tracks = pairs.settled(parameters.minimum_listeners)
    if not values.nnz:
        raise NothingToDo(
            f"There is no listen up to {as_of} to build a matrix from: "
            "load days that have listens with `moovitamix run`."
        )
    weigh_matrix(values, parameters.weighting)
    fingerprint = fingerprint_of(values, users, tracks, parameters)
    return UserItemMatrix(values, users, tracks, as_of, parameters, fingerprint)


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
    users, tracks, plays = _sum_plays(interactions, parameters, as_of)
    values = weigh_pairs(plays / ONE_PLAY, parameters.weighting)
    if feedback is None or feedback.is_empty():
        return users, tracks, values
    left = share_left(users, tracks, plays, feedback, parameters, as_of)
    kept = left > 0
    return users[kept], tracks[kept], (values * left).astype(np.float32)[kept]


def _sum_plays(
    interactions: pl.DataFrame, parameters: MatrixParameters, as_of: date
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Users, tracks and what each pair was played, in fixed point; ascending by user and track."""
    until = end_of(as_of)
    taken = pl.col("listened_at") < until
    if parameters.window_days is not None:
        taken &= pl.col("listened_at") >= until - timedelta(days=parameters.window_days)
    rows = interactions.filter(taken)
    keys = _Keys(rows["user_id"].to_numpy(), rows["track_id"].to_numpy())
    order = days = None
    if parameters.daily_cap is not None:
        days = rows["listened_at"].dt.epoch("d").to_numpy()
        order = np.lexsort((days, keys.of_plays))
    elif parameters.half_life_days is not None:
        order = np.argsort(keys.of_plays)
    found = np.sort(keys.of_plays) if order is None else keys.of_plays[order]
    starts = _starts(found, *([] if days is None else [days[order]]))
    found, counts = found[starts], np.diff(starts, append=len(found))
    plays = counts * ONE_PLAY
    if parameters.half_life_days is not None:
        play = worth(parameters.half_life_days, until)
        plays = _sums(rows.select(play).to_series().to_numpy()[order], starts)
    if parameters.daily_cap is not None:
        counted = np.minimum(counts, parameters.daily_cap)
        # The share that counts, by whole plays first: in 64 bits, and the same in any order.
        plays = np.where(counted < counts, plays // counts * counted, plays)
        starts = _starts(found)
        found, counts, plays = found[starts], _sums(counted, starts), _sums(plays, starts)
    users, tracks = keys.pairs(found)
    if parameters.minimum_plays > 1 and len(users):
        starts = _starts(users)
        of_user = np.repeat(_sums(counts, starts), np.diff(starts, append=len(users)))
        kept = of_user >= parameters.minimum_plays
        users, tracks, plays = users[kept], tracks[kept], plays[kept]
    return users, tracks, plays


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


def _starts(*sorted_by: NDArray[Any]) -> NDArray[np.int64]:
    """Where rows that are equal in all columns begin."""
    begins = np.zeros(len(sorted_by[0]), dtype=bool)
    begins[:1] = True
    for column in sorted_by:
        begins[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(begins)


def _sums(values: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.add.reduceat(values, starts) if len(starts) else values


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
        fresh = np.unique(tracks[~_among(tracks, self._tracks)])
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


def _among(ids: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which ids are among known ones, ascending; without a table of both, as `np.isin` makes."""
    if not len(known):
        return np.zeros(len(ids), dtype=bool)
    place = np.minimum(np.searchsorted(known, ids), len(known) - 1)
    found: NDArray[np.bool_] = known[place] == ids
    return found


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
