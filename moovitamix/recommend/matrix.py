"""The user-item matrix: who heard which track, and how much that counts; and parts of one.

How plays become one is in `matrix_building.py`, how it becomes a file in `matrix_file.py`. Nothing
here knows of a model: alpha, factors and regularization are in `als.py`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Any, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from moovitamix.errors import SettingsError
from moovitamix.recommend import archive
from moovitamix.recommend.npy import Array, Widened
from moovitamix.recommend.weighting import Weighting

# What a row of interactions tells: a play, or what takes from the value of the pair's plays.
PLAY, SKIP, HIDE = 0, 1, 2

INTERACTIONS = pl.Schema(
    {"user_id": pl.Int64(), "track_id": pl.Int64(), "listened_at": pl.Datetime("us")}
)
# With skips and hides among the plays; a frame without `kind` holds plays alone.
WITH_FEEDBACK = pl.Schema({**INTERACTIONS, "kind": pl.Int8()})


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixParameters:
    """How plays become values. The defaults and why: `docs/model.md`.

    Attributes:
        weighting: From (decayed) plays to the value: see `weighting.py`.
        half_life_days: After so many days a play counts half; None: it counts for ever.
        window_days: Only plays of the last so many days are taken, and what was last heard
            before them is as if never heard; None: all of them.
        daily_cap: Of the plays of a user, a track and a day together at most so many count, each
            of them alike: against loops and bots; None: all of them.
        minimum_listeners: Tracks heard by fewer users fall out.
        skip_weight: How many plays a skip outweighs: of p plays and s skips the pair keeps
            p / (p + skip_weight · s) of its value; 0: skips are not looked at.
        minimum_plays: Users with fewer plays that count (not decayed, whatever the track) fall
            out, and with them who has no track left.
    """

    weighting: Weighting = "log1p"
    half_life_days: float | None = None
    window_days: int | None = None
    daily_cap: int | None = None
    minimum_listeners: int = 1
    minimum_plays: int = 1
    skip_weight: float = 1.0

    def __post_init__(self) -> None:
        if self.weighting not in get_args(Weighting):
            raise SettingsError(
                f"There is no weighting {self.weighting!r}: "
                f"use one of {', '.join(get_args(Weighting))}."
            )
        if self.half_life_days is not None and not self.half_life_days > 0:
            raise SettingsError("half_life_days must be above 0, or None for no decay.")
        if self.window_days is not None and self.window_days < 1:
            raise SettingsError("window_days must be at least 1, or None for all days.")
        if self.daily_cap is not None and self.daily_cap < 1:
            raise SettingsError("daily_cap must be at least 1, or None for no cap.")
        if self.minimum_listeners < 1 or self.minimum_plays < 1:
            raise SettingsError("minimum_listeners and minimum_plays must be at least 1.")
        if not 0 <= self.skip_weight < np.inf:
            raise SettingsError("skip_weight must be at least 0, and 0 for no weight.")

    def header(self) -> dict[str, Any]:
        """What a fingerprint is taken over: a parameter added later only where it does something.

        So a matrix has the fingerprint that it had before the parameter was known.
        """
        fields = asdict(self)
        for name, unused in _ADDED_LATER.items():
            if fields[name] == unused:
                del fields[name]
        return fields


# Parameters that files written before them do not name, and the values that change nothing of what
# is in those: they do nothing, or weigh skips, of which there were none.
_ADDED_LATER = {
    "daily_cap": None,
    "minimum_listeners": 1,
    "minimum_plays": 1,
    "skip_weight": 1.0,
}


@dataclass(frozen=True, eq=False)
class UserItemMatrix:
    """Weighted plays by user and track, before the model's alpha.

    Attributes:
        values: CSR, float32, [len(users), len(tracks)], indices sorted, all stored values > 0.
        users: int64 ids of the rows, ascending.
        tracks: int64 ids of the columns, ascending.
        as_of: The last day whose plays are in it.
        parameters: How it was made.
        fingerprint: sha256 of ids, values and parameters.
        mean_plays: Of a user, where the weighting goes by it (see `weighting.weigh_rows`); None
            too where the file is older than that.
    """

    values: csr_matrix
    users: NDArray[np.int64]
    tracks: NDArray[np.int64]
    as_of: date
    parameters: MatrixParameters
    fingerprint: str
    mean_plays: float | None = None

    @property
    def tells_mean(self) -> bool:
        """Whether it tells what its weighting needs to weigh further rows."""
        return self.parameters.weighting != "bm25" or self.mean_plays is not None


def end_of(day: date) -> datetime:
    """The first moment after a day, in UTC without a zone."""
    return datetime.combine(day, time()) + timedelta(days=1)


def arrays(
    values: csr_matrix, users: NDArray[np.int64], tracks: NDArray[np.int64]
) -> dict[str, Array]:
    """A matrix as named arrays; in files of types that do not depend on the platform."""
    wide, real = np.dtype(np.int64), np.dtype(np.float32)
    return {
        "users": Widened(users, wide),
        "tracks": Widened(tracks, wide),
        "indptr": Widened(values.indptr, wide),
        "indices": Widened(values.indices, wide),
        "values": Widened(values.data, real),
    }


def fingerprint_of(
    values: csr_matrix,
    users: NDArray[np.int64],
    tracks: NDArray[np.int64],
    parameters: MatrixParameters,
) -> str:
    """The sha256 of a matrix' ids, values and parameters."""
    return archive.digest(parameters.header(), arrays(values, users, tracks))


def select_users(matrix: UserItemMatrix, users: NDArray[np.int64]) -> UserItemMatrix:
    """The rows of some users of the matrix, under all its columns.

    Args:
        matrix: Any matrix.
        users: int64 ids, ascending, all of them in `matrix.users`.
    """
    values = matrix.values[np.searchsorted(matrix.users, users)]
    return replace(
        matrix,
        values=values,
        users=users,
        fingerprint=fingerprint_of(values, users, matrix.tracks, matrix.parameters),
    )


def without_users(matrix: UserItemMatrix, users: NDArray[np.int64]) -> UserItemMatrix:
    """The matrix without some users, and without the tracks that only they have heard.

    Args:
        matrix: Any matrix.
        users: int64 ids; those that are not in the matrix make no difference.
    """
    values = matrix.values[~np.isin(matrix.users, users)]
    heard = np.diff(values.tocsc().indptr) > 0
    values = csr_matrix(values[:, heard])
    values.sort_indices()
    left, tracks = matrix.users[~np.isin(matrix.users, users)], matrix.tracks[heard]
    return replace(
        matrix,
        values=values,
        users=left,
        tracks=tracks,
        fingerprint=fingerprint_of(values, left, tracks, matrix.parameters),
    )


def in_columns(matrix: UserItemMatrix, tracks: NDArray[np.int64]) -> csr_matrix:
    """The matrix' values under other columns; plays of tracks not among them fall away.

    Args:
        matrix: Any matrix.
        tracks: int64 ids, ascending: the columns of the result.

    Returns:
        CSR, float32, [len(matrix.users), len(tracks)], indices sorted.
    """
    if np.array_equal(matrix.tracks, tracks):
        return matrix.values
    place = np.searchsorted(tracks, matrix.tracks)
    known = place < len(tracks)
    known[known] = tracks[place[known]] == matrix.tracks[known]
    columns = place[matrix.values.indices]
    kept = known[matrix.values.indices]
    indptr = np.concatenate(([0], np.cumsum(kept)))[matrix.values.indptr]
    return csr_matrix(
        (matrix.values.data[kept], columns[kept], indptr), shape=(len(matrix.users), len(tracks))
    )


def rows_of(
    matrix: UserItemMatrix, users: NDArray[np.int64], tracks: NDArray[np.int64]
) -> csr_matrix:
    """A matrix' values of some users under some columns; who is not in it has an empty row."""
    known = np.flatnonzero(np.isin(users, matrix.users))
    taken = csr_matrix(
        (
            np.ones(len(known), dtype=np.float32),
            (known, np.searchsorted(matrix.users, users[known])),
        ),
        shape=(len(users), len(matrix.users)),
    )
    rows = (taken @ in_columns(matrix, tracks)).tocsr()
    rows.sort_indices()
    return rows
