"""Pairs of user and track that no list of the user may hold, whatever the matrix knows of them.

What has been heard is in the matrix. Why a pair is left out (it was hidden) is told elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix


@dataclass(frozen=True, eq=False, slots=True)
class LeftOut:
    """Some pairs.

    Attributes:
        users: int64, ascending, one for each pair.
        tracks: int64, the track of each pair.
    """

    users: NDArray[np.int64]
    tracks: NDArray[np.int64]

    @classmethod
    def of(cls, pairs: pl.DataFrame) -> LeftOut:
        """Those of a frame of `user_id` and `track_id`, in any order."""
        if pairs.is_empty():
            return NOTHING
        ordered = pairs.select("user_id", "track_id").unique().sort("user_id", "track_id")
        return cls(ordered["user_id"].to_numpy(), ordered["track_id"].to_numpy())

    def rows(self, users: NDArray[np.int64], tracks: NDArray[np.int64]) -> csr_matrix:
        """The pairs of some users under some columns.

        Args:
            users: int64 ids, in the order of the rows, ascending.
            tracks: int64 ids, ascending: the columns.

        Returns:
            CSR, float32, [len(users), len(tracks)]: 1 where a pair is left out.
        """
        shape = (len(users), len(tracks))
        if not len(self.users) or not len(users) or not len(tracks):
            return csr_matrix(shape, dtype=np.float32)
        near = slice(
            np.searchsorted(self.users, users[0]), np.searchsorted(self.users, users[-1], "right")
        )
        row = np.minimum(np.searchsorted(users, self.users[near]), len(users) - 1)
        column = np.minimum(np.searchsorted(tracks, self.tracks[near]), len(tracks) - 1)
        known = (users[row] == self.users[near]) & (tracks[column] == self.tracks[near])
        ones = np.ones(np.count_nonzero(known), dtype=np.float32)
        return csr_matrix((ones, (row[known], column[known])), shape=shape)

    def of_user(self, user: int) -> NDArray[np.int64]:
        """int64: the tracks of one user."""
        first = np.searchsorted(self.users, user)
        return self.tracks[first : np.searchsorted(self.users, user, "right")]


NOTHING = LeftOut(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
