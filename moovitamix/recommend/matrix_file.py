"""The file of a user-item matrix.

Which file is the current one is told in `artifacts.py`.
"""

from __future__ import annotations

from datetime import date
from typing import IO, Any

import numpy as np
from scipy.sparse import csr_matrix

from moovitamix.errors import SettingsError
from moovitamix.recommend import archive
from moovitamix.recommend.matrix import MatrixParameters, UserItemMatrix, arrays, fingerprint_of

KIND = "user-item matrix"


# Columns and offsets take 64 bits in the file and, where they fit, 32 in memory.
_NARROW = {"indices": np.dtype(np.int32), "indptr": np.dtype(np.int32)}


def write_matrix(stream: IO[bytes], matrix: UserItemMatrix) -> None:
    """Write a matrix as one file: arrays and a JSON header, no pickle, no second copy in memory."""
    header: dict[str, Any] = {
        "as_of": matrix.as_of.isoformat(),
        "parameters": matrix.parameters.header(),
        "fingerprint": matrix.fingerprint,
    }
    if matrix.mean_plays is not None:
        header["mean_plays"] = matrix.mean_plays
    archive.write(stream, KIND, header, arrays(matrix.values, matrix.users, matrix.tracks))


def read_matrix(stream: IO[bytes]) -> UserItemMatrix:
    """The matrix of a file made by `write_matrix`.

    Args:
        stream: Open for reading, seekable.

    Raises:
        DamagedArtifact: When the file is damaged, or its shapes or fingerprint do not agree.
    """
    header, found = archive.read(stream, KIND, _NARROW)
    try:
        users, tracks = found["users"], found["tracks"]
        values = csr_matrix(
            (found["values"], found["indices"], found["indptr"]),
            shape=(len(users), len(tracks)),
        )
        values.check_format(full_check=True)
        parameters = MatrixParameters(**header["parameters"])
        as_of = date.fromisoformat(header["as_of"])
        fingerprint = fingerprint_of(values, users, tracks, parameters)
        mean_plays = None if header.get("mean_plays") is None else float(header["mean_plays"])
    except (KeyError, TypeError, ValueError, IndexError, SettingsError) as error:
        raise archive.damaged(KIND, str(error)) from error
    if fingerprint != header.get("fingerprint"):
        raise archive.damaged(KIND, "its fingerprint is not that of its content")
    return UserItemMatrix(values, users, tracks, as_of, parameters, fingerprint, mean_plays)
