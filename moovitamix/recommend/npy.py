"""One array at a time to and from a stream in the `.npy` format, never as a second copy in memory.

NumPy's own reader and writer take 16 MB pieces and the type that the array has; here pieces are
small, and an array may have a narrower type in memory than in the file. What a file of several
arrays holds is told in `archive.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

# Values a piece: half a megabyte of int64.
_PIECE = 1 << 16


@dataclass(frozen=True, eq=False, slots=True)
class Widened:
    """An array that has another type in files and digests than in memory.

    Attributes:
        array: Of a type that its values allow.
        dtype: That of the file.
    """

    array: NDArray[Any]
    dtype: np.dtype[Any]


Array = np.ndarray | Widened


def dtype_of(array: Array) -> np.dtype[Any]:
    """The type that an array has in a file: little-endian."""
    return array.dtype.newbyteorder("<")


def shape_of(array: Array) -> tuple[int, ...]:
    """The shape of an array."""
    return array.array.shape if isinstance(array, Widened) else array.shape


def pieces(array: Array) -> Iterator[memoryview]:
    """An array's bytes as they are in a file, in C order; none where it is empty."""
    values = array.array if isinstance(array, Widened) else array
    flat, dtype = np.ascontiguousarray(values).reshape(-1), dtype_of(array)
    for start in range(0, len(flat), _PIECE):
        yield flat[start : start + _PIECE].astype(dtype, copy=False).data


def write(stream: IO[bytes], array: Array) -> None:
    """Write an array as `numpy.save` would."""
    shape, dtype = shape_of(array), dtype_of(array)
    header = {"descr": npy_format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    npy_format.write_array_header_1_0(stream, header)
    for piece in pieces(array):
        stream.write(piece)


def read(stream: IO[bytes], size: int, narrow: np.dtype[Any] | None = None) -> Array:
    """Read an array, to the end of the stream.

    Args:
        stream: At the beginning of what `write` or `numpy.save` wrote.
        size: How many bytes it holds.
        narrow: The type to have the array in, unless a value does not fit into it.

    Returns:
        The array; `Widened` where its type is not that of the file.

    Raises:
        ValueError: When it is not an array of numbers, or of another size than it says.
        EOFError: When it ends before the array does.
    """
    version = npy_format.read_magic(stream)
    if version == (1, 0):
        shape, fortran, dtype = npy_format.read_array_header_1_0(stream)
    else:
        shape, fortran, dtype = npy_format.read_array_header_2_0(stream)
    count = prod(shape)
    if dtype.hasobject or (fortran and len(shape) > 1):
        raise ValueError("an array is not of numbers in C order")
    if stream.tell() + count * dtype.itemsize != size:
        raise ValueError("an array has another size than it says")
    values = np.empty(count, dtype=dtype if narrow is None else narrow)
    for start in range(0, count, _PIECE):
        piece = np.frombuffer(_exactly(stream, min(_PIECE, count - start) * dtype.itemsize), dtype)
        if values.dtype != dtype and not _fits(piece, values.dtype):
            values = values.astype(dtype)
        values[start : start + len(piece)] = piece
    if stream.read(1):  # at its end a member of a zip file compares its checksum
        raise ValueError("an array has another size than it says")
    shaped = values.reshape(shape)
    return shaped if shaped.dtype == dtype else Widened(shaped, dtype)


def _exactly(stream: IO[bytes], size: int) -> bytes:
    found = stream.read(size)
    if len(found) != size:
        raise EOFError("it is cut short")
    return found


def _fits(piece: NDArray[Any], dtype: np.dtype[Any]) -> bool:
    bounds = np.iinfo(dtype)
    return bool(bounds.min <= piece.min() and piece.max() <= bounds.max)
