"""Where matrices, models and features name users: found, and erased. Which files: `artifacts.py`.

Figures of an evaluation, and the registry, are about all users together and name none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from moovitamix.errors import NothingToDo
from moovitamix.ingest.named import Named, named_by_id
from moovitamix.recommend import archive, artifacts
from moovitamix.recommend.als import decode_model, encode_model, forget_users
from moovitamix.recommend.matrix import without_users

if TYPE_CHECKING:
    from moovitamix.ingest.lake import LakeStore

_FEATURES, _MATRICES, _MODELS = (
    "recommend/user_features",
    "recommend/matrix",
    "recommend/models",
)


@dataclass
class Rewritten:
    """What an erasure has changed.

    Attributes:
        features: Files.
        matrices: Files.
        models: Files.
        fingerprints: Of the current matrix, from what it was to what it is now.
    """

    features: int = 0
    matrices: int = 0
    models: int = 0
    fingerprints: dict[str, str] = field(default_factory=dict)


def erase_from_artifacts(lake: LakeStore, ids: Sequence[int]) -> Rewritten:
    """Take some users out of all files, which stay whole and valid. May be repeated.

    A file that is damaged cannot be searched and is of no use: it is removed. A matrix in which
    nobody is left is removed too.
    """
    users = np.array(ids, dtype=np.int64)
    done = Rewritten()
    for name in _files(lake, _FEATURES, ".parquet"):
        features = lake.read_parquet([name])
        rest = features.filter(~pl.col("user_id").is_in(list(ids)))
        if rest.height < features.height:
            lake.write_parquet(name, rest)
            done.features += 1
    for name in _files(lake, _MATRICES, ".npz"):
        done.matrices += _erase_from_matrix(lake, name, users, done)
    for name in _files(lake, _MODELS, ".npz"):
        done.models += _erase_from_model(lake, name, users)
    return done


def _erase_from_matrix(
    lake: LakeStore, name: str, users: NDArray[np.int64], done: Rewritten
) -> bool:
    try:
        matrix = artifacts.load_matrix(lake, name)
    except archive.DamagedArtifact:
        lake.remove(name)
        return True
    if not np.isin(matrix.users, users).any():
        return False
    pointer = None
    with suppress(NothingToDo):
        pointer = artifacts.current_matrix(lake)
    rest = without_users(matrix, users)
    if pointer is not None and pointer.name == name:
        if len(rest.users):
            artifacts.store_matrix(lake, rest, pointer.pull)
            done.fingerprints[matrix.fingerprint] = rest.fingerprint
        else:
            artifacts.withdraw_matrix(lake)
    # One that is not current is read for a challenger at most (`serve/http/challenger.py`), and
    # made anew for it by the next publication: not worth a new name.
    lake.remove(name)
    return True


def _erase_from_model(lake: LakeStore, name: str, users: NDArray[np.int64]) -> bool:
    try:
        model = decode_model(lake.read_bytes(name))
    except archive.DamagedArtifact:
        lake.remove(name)
        return True
    if not np.isin(model.users, users).any():
        return False
    lake.write_bytes(name, encode_model(forget_users(model, users)))
    return True


def named_in_artifacts(lake: LakeStore) -> Iterator[Named]:
    """Everybody whom the files name, a file at a time; none where one is damaged."""
    for name in _files(lake, _FEATURES, ".parquet"):
        yield named_by_id(_FEATURES, lake.read_parquet([name], columns=["user_id"])["user_id"])
    for folder in (_MATRICES, _MODELS):
        for name in _files(lake, folder, ".npz"):
            with suppress(archive.DamagedArtifact), lake.open(name) as stream:
                users = archive.peek(stream, "users")
                yield named_by_id(folder, pl.Series(users, dtype=pl.Int64))


def _files(lake: LakeStore, folder: str, ending: str) -> list[str]:
    return [name for name in lake.names(folder) if name.endswith(ending)]
