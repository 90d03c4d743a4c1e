"""Where matrices, models and features are in the lake, and how they are found again.

How they become bytes is told in `matrix_file.py` and `als.py`; which model counts, in
`registry.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import TYPE_CHECKING

import polars as pl

from moovitamix.errors import NothingToDo
from moovitamix.recommend import archive
from moovitamix.recommend.als import AlsModel, decode_model, encode_model
from moovitamix.recommend.matrix import UserItemMatrix
from moovitamix.recommend.matrix_file import read_matrix, write_matrix

if TYPE_CHECKING:
    from moovitamix.ingest.lake import LakeStore

MATRICES = "recommend/matrix"
FEATURES = "recommend/user_features"
MODELS = "recommend/models"

_MATRIX_POINTER = f"{MATRICES}/current.json"
_FEATURES_POINTER = f"{FEATURES}/current.json"


@dataclass(frozen=True, slots=True)
class Pointer:
    """What is current: written last, so that what it names is there.

    Attributes:
        name: The file in the lake.
        as_of: The last day of its data.
        pull: The newest pull in its data.
        fingerprint: Of its content; empty where the content has none.
        size: Users, tracks and pairs of a matrix; empty for what has none, or is older than this.
        former: The size of the matrix of other content that was current before.
    """

    name: str
    as_of: date
    pull: str
    fingerprint: str = ""
    size: dict[str, int] = field(default_factory=dict)
    former: dict[str, int] = field(default_factory=dict)


def store_matrix(lake: LakeStore, matrix: UserItemMatrix, pull: str) -> Pointer:
    """Write a matrix, then make it the current one: a reader gets the old one or the new one.

    The name holds its fingerprint, for a day whose matrix is made anew has another content.
    """
    name = keep_matrix(lake, matrix)
    former: dict[str, int] = {}
    with suppress(NothingToDo):
        last = current_matrix(lake)
        former = last.former if last.fingerprint == matrix.fingerprint else last.size
    users, tracks = matrix.values.shape
    size = {"users": users, "tracks": tracks, "pairs": int(matrix.values.nnz)}
    pointer = Pointer(name, matrix.as_of, pull, matrix.fingerprint, size, former)
    _write_pointer(lake, _MATRIX_POINTER, pointer)
    return pointer


def keep_matrix(lake: LakeStore, matrix: UserItemMatrix) -> str:
    """Write a matrix and leave the current one current; its file."""
    name = matrix_name(matrix.as_of, matrix.fingerprint)
    lake.write_stream(name, lambda stream: write_matrix(stream, matrix))
    return name


def matrix_name(as_of: date, fingerprint: str) -> str:
    """The file of the matrix of a day with this fingerprint."""
    return f"{MATRICES}/as_of={as_of}/{_short(fingerprint)}.npz"


def current_matrix(lake: LakeStore) -> Pointer:
    """Which matrix is current.

    Raises:
        NothingToDo: When none has been made.
    """
    return _read_pointer(lake, _MATRIX_POINTER, "user_item_matrix")


def load_current_matrix(lake: LakeStore) -> UserItemMatrix:
    """The current matrix.

    Raises:
        NothingToDo: When none has been made.
        DamagedArtifact: When its file is gone, damaged or not the one that was made current.
    """
    return load_pointed(lake, current_matrix(lake))


def load_pointed(lake: LakeStore, pointer: Pointer) -> UserItemMatrix:
    """The matrix that was current when its pointer was read.

    Raises:
        DamagedArtifact: When its file is gone, damaged or not the one that was made current.
    """
    matrix = load_matrix(lake, pointer.name)
    if matrix.fingerprint != pointer.fingerprint:
        raise archive.damaged("user-item matrix", f"{pointer.name} is not what was made current")
    return matrix


def load_matrix(lake: LakeStore, name: str) -> UserItemMatrix:
    """The matrix in a file, current or not.

    Raises:
        DamagedArtifact: When the file is gone or damaged.
    """
    try:
        with lake.open(name) as stream:
            return read_matrix(stream)
    except FileNotFoundError as error:
        raise archive.damaged("user-item matrix", f"{name} is gone") from error


def withdraw_matrix(lake: LakeStore) -> None:
    """Let no matrix be the current one."""
    lake.remove(_MATRIX_POINTER)


def store_model(lake: LakeStore, run_id: str, model: AlsModel) -> str:
    """Write the model of a run. Returns its folder, to be registered as its artifact."""
    folder = f"{MODELS}/run={run_id}"
    lake.write_bytes(f"{folder}/als.npz", encode_model(model))
    return folder


def load_model(lake: LakeStore, artifact: str) -> AlsModel:
    """The model in a folder that `store_model` returned.

    Raises:
        DamagedArtifact: When its file is gone or damaged.
    """
    try:
        return decode_model(lake.read_bytes(f"{artifact}/als.npz"))
    except FileNotFoundError as error:
        raise archive.damaged("ALS model", f"{artifact}/als.npz is gone") from error


def store_features(lake: LakeStore, features: pl.DataFrame, as_of: date, pull: str) -> Pointer:
    """Write the features of users, then make them the current ones."""
    pointer = Pointer(f"{FEATURES}/as_of={as_of}.parquet", as_of, pull)
    lake.write_parquet(pointer.name, features)
    _write_pointer(lake, _FEATURES_POINTER, pointer)
    return pointer


def load_current_features(lake: LakeStore) -> pl.DataFrame:
    """The current features of users; columns as in `features.py`.

    Raises:
        NothingToDo: When none have been made.
    """
    return lake.read_parquet([_read_pointer(lake, _FEATURES_POINTER, "user_features").name])


def current_names(lake: LakeStore) -> set[str]:
    """The files that are current, and those that say so."""
    names = set()
    for pointer in (_MATRIX_POINTER, _FEATURES_POINTER):
        if lake.exists(pointer):
            names |= {pointer, _read_pointer(lake, pointer, pointer).name}
    return names


def is_matrix_of(name: str, fingerprints: Iterable[str]) -> bool:
    """Whether a file is a matrix with one of these fingerprints."""
    ends = tuple(f"/{_short(fingerprint)}.npz" for fingerprint in fingerprints)
    return name.startswith(f"{MATRICES}/") and name.endswith(ends)


def _short(fingerprint: str) -> str:
    return fingerprint[:16]


def _write_pointer(lake: LakeStore, name: str, pointer: Pointer) -> None:
    fields = {**asdict(pointer), "as_of": pointer.as_of.isoformat()}
    lake.write_bytes(name, json.dumps(fields, indent=2).encode())


def _read_pointer(lake: LakeStore, name: str, asset: str) -> Pointer:
    if not lake.exists(name):
        raise NothingToDo(f"There is no {asset} yet: make it with `moovitamix run`.")
    fields = json.loads(lake.read_bytes(name))
    return Pointer(**{**fields, "as_of": date.fromisoformat(fields["as_of"])})
