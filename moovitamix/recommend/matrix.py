"""The user-item matrix: who heard which track, and how much that counts.

Nothing here knows of a model: alpha, factors and regularization are in `als.py`. Where the matrix
is kept is told in `artifacts.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Any, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from moovitamix.errors import NothingToDo, SettingsError
from moovitamix.recommend import archive
from moovitamix.recommend.weighting import Weighting, weigh_matrix, weigh_pairs

KIND = "user-item matrix"

_PAIR = ["user_id", "track_id"]

# Plays are summed in fixed point: the sum, and so the fingerprint, is the same in any row order.
_ONE_PLAY = 1 << 32

INTERACTIONS = pl.Schema(
    {"user_id": pl.Int64(), "track_id": pl.Int64(), "listened_at": pl.Datetime("us")}
)


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
        minimum_plays: Users with fewer plays that count (not decayed, whatever the track) fall
            out, and with them who has no track left.
    """

    weighting: Weighting = "log1p"
    half_life_days: float | None = None
    window_days: int | None = None
    daily_cap: int | None = None
    minimum_listeners: int = 1
    minimum_plays: int = 1

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

    def header(self) -> dict[str, Any]:
        """What a fingerprint is taken over: a parameter added later only where it does something.

        So a matrix has the fingerprint that it had before the parameter was known.
        """
        fields = asdict(self)
        for name, unused in _ADDED_LATER.items():
            if fields[name] == unused:
                del fields[name]
        return fields


# Parameters that files written before them do not name, and the values at which they do nothing.
_ADDED_LATER = {"daily_cap": None, "minimum_listeners": 1, "minimum_plays": 1}


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
    """

    values: csr_matrix
    users: NDArray[np.int64]
    tracks: NDArray[np.int64]
    as_of: date
    parameters: MatrixParameters
    fingerprint: str


def end_of(day: date) -> datetime:
    """The first moment after a day, in UTC without a zone."""
    return datetime.combine(day, time()) + timedelta(days=1)


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
    users, sizes, tracks, plays = [], [], [], []
    for block in blocks:
        pairs = _sum_plays(block, parameters, as_of)
        found, size = np.unique(pairs["user_id"].to_numpy(), return_counts=True)
        users.append(found)
        sizes.append(size)
        tracks.append(pairs["track_id"].to_numpy())
        counted = pairs["play"].to_numpy() / _ONE_PLAY
        plays.append(weigh_pairs(counted, parameters.weighting))
    catalogue = _distinct(tracks)
    columns = np.empty(sum(map(len, tracks)), dtype=np.int32)
    filled = 0
    while tracks:  # each block of ids is let go of when it has become columns
        block_tracks = tracks.pop(0)
        columns[filled : filled + len(block_tracks)] = np.searchsorted(catalogue, block_tracks)
        filled += len(block_tracks)
    indptr = np.concatenate(([0], np.cumsum(_joined(sizes, np.int64))))
    ids = _joined(users, np.int64)
    values = csr_matrix(
        (_joined(plays, np.float32), columns, indptr), shape=(len(ids), len(catalogue))
    )
    values, ids, catalogue = _supported(values, ids, catalogue, parameters.minimum_listeners)
    if not values.nnz:
        raise NothingToDo(
            f"There is no listen up to {as_of} to build a matrix from: "
            "load days that have listens with `moovitamix run`."
        )
    weigh_matrix(values, parameters.weighting)
    fingerprint = _fingerprint(values, ids, catalogue, parameters)
    return UserItemMatrix(values, ids, catalogue, as_of, parameters, fingerprint)


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


def _distinct(tracks: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """All ids, ascending; block by block, so that no array holds all that repeats."""
    found = np.empty(0, dtype=np.int64)
    for block in tracks:
        found = np.union1d(found, block)
    return found


def _joined(parts: list[NDArray[Any]], dtype: type[np.generic]) -> NDArray[Any]:
    return np.concatenate([np.empty(0, dtype=dtype), *parts])


def _supported(
    values: csr_matrix, users: NDArray[np.int64], tracks: NDArray[np.int64], listeners: int
) -> tuple[csr_matrix, NDArray[np.int64], NDArray[np.int64]]:
    """Without the tracks that fewer users heard, and without the users who have none left."""
    if listeners == 1:
        return values, users, tracks
    kept = np.bincount(values.indices, minlength=len(tracks)) >= listeners
    values = values[:, kept]
    left = np.diff(values.indptr) > 0
    return values[left], users[left], tracks[kept]


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
        fingerprint=_fingerprint(values, users, matrix.tracks, matrix.parameters),
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
        fingerprint=_fingerprint(values, left, tracks, matrix.parameters),
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


def encode_matrix(matrix: UserItemMatrix) -> bytes:
    """A matrix as one file: arrays and a JSON header, no pickle."""
    header = {
        "as_of": matrix.as_of.isoformat(),
        "parameters": matrix.parameters.header(),
        "fingerprint": matrix.fingerprint,
    }
    return archive.pack(KIND, header, _arrays(matrix.values, matrix.users, matrix.tracks))


def decode_matrix(content: bytes) -> UserItemMatrix:
    """The matrix of a file made by `encode_matrix`.

    Raises:
        DamagedArtifact: When the file is damaged, or its shapes or fingerprint do not agree.
    """
    header, arrays = archive.unpack(KIND, content)
    try:
        users, tracks = arrays["users"], arrays["tracks"]
        values = csr_matrix(
            (arrays["values"], arrays["indices"], arrays["indptr"]),
            shape=(len(users), len(tracks)),
        )
        values.check_format(full_check=True)
        parameters = MatrixParameters(**header["parameters"])
        as_of = date.fromisoformat(header["as_of"])
        fingerprint = _fingerprint(values, users, tracks, parameters)
    except (KeyError, TypeError, ValueError, IndexError, SettingsError) as error:
        raise archive.damaged(KIND, str(error)) from error
    if fingerprint != header.get("fingerprint"):
        raise archive.damaged(KIND, "its fingerprint is not that of its content")
    return UserItemMatrix(values, users, tracks, as_of, parameters, fingerprint)


def _arrays(
    values: csr_matrix, users: NDArray[np.int64], tracks: NDArray[np.int64]
) -> dict[str, NDArray[Any]]:
    """The matrix as named arrays, of types that do not depend on the platform."""
    return {
        "users": users.astype(np.int64, copy=False),
        "tracks": tracks.astype(np.int64, copy=False),
        "indptr": values.indptr.astype(np.int64),
        "indices": values.indices.astype(np.int64),
        "values": values.data.astype(np.float32, copy=False),
    }


def _fingerprint(
    values: csr_matrix,
    users: NDArray[np.int64],
    tracks: NDArray[np.int64],
    parameters: MatrixParameters,
) -> str:
    return archive.digest(parameters.header(), _arrays(values, users, tracks))
