"""Arrays come back from a stream as they went in, or as an error, in pieces and in narrow types."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from moovitamix.recommend import npy
from moovitamix.recommend.npy import Widened

numbers = st.sampled_from([np.int64, np.int32, np.float32, np.float64, np.uint8]).flatmap(
    lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=1, max_dims=2, min_side=0))
)


def written(array: npy.Array) -> bytes:
    stream = io.BytesIO()
    npy.write(stream, array)
    return stream.getvalue()


def read(content: bytes, narrow: type[np.generic] | None = None) -> npy.Array:
    dtype = None if narrow is None else np.dtype(narrow)
    return npy.read(io.BytesIO(content), len(content), dtype)


@given(numbers)
def test_an_array_is_written_as_numpy_does_and_comes_back(array: np.ndarray) -> None:
    by_numpy = io.BytesIO()
    np.save(by_numpy, np.ascontiguousarray(array))
    assert written(array) == by_numpy.getvalue()
    back = read(written(array))
    assert isinstance(back, np.ndarray)
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 9), max_size=20))
def test_whole_numbers_have_the_narrow_type_where_all_of_them_fit(values: list[int]) -> None:
    wide = np.array(values, dtype=np.int64)
    back = read(written(wide), np.int32)
    fits = all(-(2**31) <= value < 2**31 for value in values)
    assert isinstance(back, Widened) == fits
    np.testing.assert_array_equal(back.array if isinstance(back, Widened) else back, wide)
    assert written(back) == written(wide)


def test_a_value_that_does_not_fit_after_many_that_did_widens_them_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(npy, "_PIECE", 4)
    wide = np.array([1, -2, 3, 4, 5, 6, 2**40, 8, 9], dtype=np.int64)
    np.testing.assert_array_equal(read(written(wide), np.int32), wide)


@given(st.data())
def test_an_array_that_is_cut_short_or_goes_on_is_an_error(data: st.DataObject) -> None:
    content = written(np.arange(9))
    cut = content[: data.draw(st.integers(0, len(content) - 1))]
    for other in (cut, content + b"\0"):
        with pytest.raises((ValueError, EOFError)):
            read(other)
    with pytest.raises((ValueError, EOFError)):
        npy.read(io.BytesIO(cut), len(content))


def test_objects_are_never_read() -> None:
    pickled = io.BytesIO()
    np.save(pickled, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="numbers"):
        read(pickled.getvalue())
