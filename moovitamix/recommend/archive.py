"""Arrays and a JSON header in one file: no pickle, and any damage is found when it is read.

What the arrays mean is the business of those who pack them (`matrix_file.py`, `als.py`).
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from typing import IO, Any

import numpy as np

from moovitamix.errors import StoreUnavailable
from moovitamix.recommend import npy
from moovitamix.recommend.npy import Array

_HEADER = "header"
_ENDING = ".npy"

# What reading a file comes to whose bytes are not those that were written.
_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    NotImplementedError,
    RuntimeError,
    OverflowError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
)


class DamagedArtifact(StoreUnavailable):
    """A file of the lake does not hold what was once written to it: make it again."""


def digest(header: Mapping[str, Any], arrays: Mapping[str, Array]) -> str:
    """The sha256 of a header and of arrays, the same on every platform.

    Args:
        header: JSON-able; the order of its keys does not matter.
        arrays: Numeric arrays; dtype, shape and content count, memory layout does not.
    """
    found = hashlib.sha256(json.dumps(header, sort_keys=True, allow_nan=False).encode())
    for name in sorted(arrays):
        array = arrays[name]
        found.update(f"|{name}:{npy.dtype_of(array).str}:{npy.shape_of(array)}|".encode())
        for piece in npy.pieces(array):
            found.update(piece)
    return found.hexdigest()


def write(
    stream: IO[bytes], kind: str, header: Mapping[str, Any], arrays: Mapping[str, Array]
) -> None:
    """Write one npz file of arrays and header, with the digest of both, array by array.

    Args:
        stream: Open for writing; it need not be seekable.
        kind: What the file is, checked when it is read: "user-item matrix".
        header: JSON-able.
        arrays: Numeric arrays under names other than "header".
    """
    sealed = {"kind": kind, "digest": digest(header, arrays), "header": dict(header)}
    text = np.frombuffer(json.dumps(sealed, sort_keys=True).encode(), dtype=np.uint8)
    with zipfile.ZipFile(stream, "w") as file:
        for name, array in {_HEADER: text, **arrays}.items():
            with file.open(f"{name}{_ENDING}", "w", force_zip64=True) as member:
                npy.write(member, array)


def read(
    stream: IO[bytes], kind: str, narrow: Mapping[str, np.dtype[Any]] | None = None
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The header and the arrays of a file made by `write`, read array by array.

    Args:
        stream: Open for reading, seekable.
        kind: As it was written.
        narrow: By name, the types to have integers in, where their values fit.

    Raises:
        DamagedArtifact: When the file is of another kind, cut short or changed.
    """
    try:
        with zipfile.ZipFile(stream) as file:
            found = {
                member.filename.removesuffix(_ENDING): _read(file, member, narrow or {})
                for member in file.infolist()
            }
        sealed = json.loads(_plain(found.pop(_HEADER)).tobytes())
        header = dict(sealed["header"])
        intact = sealed["kind"] == kind and sealed["digest"] == digest(header, found)
    except _DAMAGE as error:
        raise damaged(kind, str(error) or type(error).__name__) from error
    if not intact:
        raise damaged(kind, "its digest is not that of its content")
    return header, {name: _plain(array) for name, array in found.items()}


def pack(kind: str, header: Mapping[str, Any], arrays: Mapping[str, Array]) -> bytes:
    """What `write` writes, in memory."""
    buffer = io.BytesIO()
    write(buffer, kind, header, arrays)
    return buffer.getvalue()


def unpack(kind: str, content: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The same as `read`, from memory.

    Raises:
        DamagedArtifact: When the file is of another kind, cut short or changed.
    """
    return read(io.BytesIO(content), kind)


def peek(stream: IO[bytes], name: str) -> np.ndarray:
    """One array of a file made by `write`, without the others, and whatever its kind.

    Args:
        stream: Open for reading, seekable.
        name: Of the array.

    Raises:
        DamagedArtifact: When it cannot be read.
    """
    try:
        with zipfile.ZipFile(stream) as file:
            return _plain(_read(file, file.getinfo(f"{name}{_ENDING}"), {}))
    except _DAMAGE as error:
        raise damaged("archive", str(error) or type(error).__name__) from error


def _read(
    file: zipfile.ZipFile, member: zipfile.ZipInfo, narrow: Mapping[str, np.dtype[Any]]
) -> Array:
    with file.open(member) as stream:
        name = member.filename.removesuffix(_ENDING)
        return npy.read(stream, member.file_size, narrow.get(name))


def _plain(array: Array) -> np.ndarray:
    return array.array if isinstance(array, npy.Widened) else array


def damaged(kind: str, why: str) -> DamagedArtifact:
    """The error that tells of a damaged file of some kind, and what to do about it."""
    return DamagedArtifact(
        f"The stored {kind} is damaged: {why}. "
        "Restore the lake's file, or make it again by the job `retrain`."
    )
