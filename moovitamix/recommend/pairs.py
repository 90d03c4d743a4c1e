"""Pairs of users and tracks on their way to a matrix, in as little memory as will do.

What their values are is told in `matrix_building.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix


class Pairs:
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
        fresh = np.unique(tracks[~among(tracks, self._tracks)])
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


def among(ids: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.bool_]:
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
