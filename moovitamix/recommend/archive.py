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
from typing import Any

import numpy as np

from moovitamix.errors import StoreUnavailable

_HEADER = "header"


class DamagedArtifact(StoreUnavailable):
    """A file of the lake does not hold what was once written to it: make it again."""


def digest(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """The sha256 of a header and of arrays, the same on every platform.

    Args:
        header: JSON-able; the order of its keys does not matter.
        arrays: Numeric arrays; dtype, shape and content count, memory layout does not.
    """
    found = hashlib.sha256(json.dumps(header, sort_keys=True, allow_nan=False).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        found.update(f"|{name}:{little.dtype.str}:{array.shape}|".encode())
        found.update(little.data if little.size else b"")
    return found.hexdigest()


def pack(kind: str, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """One npz file of arrays and header, with the digest of both.

    Args:
        kind: What the file is, checked when it is read: "user-item matrix".
        header: JSON-able.
        arrays: Numeric arrays under names other than "header".
    """
    sealed = {"kind": kind, "digest": digest(header, arrays), "header": dict(header)}
    text = np.frombuffer(json.dumps(sealed, sort_keys=True).encode(), dtype=np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{_HEADER: text}, **arrays)
    return buffer.getvalue()


def unpack(kind: str, content: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The header and the arrays of a file made by `pack`.

    Raises:
        DamagedArtifact: When the file is of another kind, cut short or changed.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        sealed = json.loads(arrays.pop(_HEADER).tobytes())
        header = dict(sealed["header"])
        intact = sealed["kind"] == kind and sealed["digest"] == digest(header, arrays)
    except (
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
    ) as error:
        raise damaged(kind, str(error) or type(error).__name__) from error
    if not intact:
        raise damaged(kind, "its digest is not that of its content")
    return header, arrays


def peek(content: bytes, name: str) -> np.ndarray:
    """One array of a file made by `pack`, without the others, and whatever its kind.

    Raises:
        DamagedArtifact: When it cannot be read.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            found: np.ndarray = file[name]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise damaged("archive", str(error) or type(error).__name__) from error
    return found


def damaged(kind: str, why: str) -> DamagedArtifact:
    """The error that tells of a damaged file of some kind, and what to do about it."""
    return DamagedArtifact(
        f"The stored {kind} is damaged: {why}. "
        "Restore the lake's file, or make it again by the job `retrain`."
    )
