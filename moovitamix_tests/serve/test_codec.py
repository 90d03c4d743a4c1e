"""The bytes of a cached list: everything comes back, and every damage is found."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from moovitamix.serve.codec import (
    MAX_ENTRIES,
    DamagedValue,
    decode_list,
    encode_block,
    encode_groups,
    encode_list,
)

ids_of_any_width = st.one_of(
    hnp.arrays(np.int64, st.integers(0, 120), elements=st.integers(0, 2**31 - 1)),
    hnp.arrays(np.int64, st.integers(0, 120), elements=st.integers(-(2**63), 2**63 - 1)),
)
finite_floats = st.floats(width=32, allow_nan=False, allow_infinity=False)


@st.composite
def scored_lists(
    draw: st.DrawFn, *, min_size: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    ids = draw(ids_of_any_width.filter(lambda found: len(found) >= min_size))
    scores = draw(hnp.arrays(np.float32, ids.shape, elements=finite_floats))
    return ids, scores


@given(scored_lists())
def test_an_exact_list_comes_back_as_it_was(
    listed: tuple[NDArray[np.int64], NDArray[np.float32]],
) -> None:
    ids, scores = listed
    found = decode_list(encode_list(ids, scores, exact=True))
    np.testing.assert_array_equal(found.ids, ids)
    np.testing.assert_array_equal(found.scores, scores)
    assert (found.ids.dtype.str, found.scores.dtype.str) == ("<i8", "<f4")


@given(scored_lists())
def test_a_compact_list_keeps_ids_and_order_and_three_digits_of_the_scores(
    listed: tuple[NDArray[np.int64], NDArray[np.float32]],
) -> None:
    ids, scores = listed
    found = decode_list(encode_list(ids, scores))
    np.testing.assert_array_equal(found.ids, ids)
    np.testing.assert_allclose(found.scores, scores, rtol=1e-3, atol=1e-7)


@given(ids_of_any_width)
def test_ids_without_scores_come_back(ids: NDArray[np.int64]) -> None:
    owners, values = encode_groups(np.full(len(ids), 5), ids)
    assert owners.tolist() == [5] * len(values)
    found = [decode_list(value) for value in values]
    np.testing.assert_array_equal(np.concatenate([ids[:0], *(one.ids for one in found)]), ids)
    assert not any(one.scores.any() for one in found)


@given(scored_lists(), st.data())
def test_every_truncation_is_found(
    listed: tuple[NDArray[np.int64], NDArray[np.float32]], data: st.DataObject
) -> None:
    value = encode_list(*listed)
    kept = data.draw(st.integers(0, len(value) - 1))
    with pytest.raises(DamagedValue, match="Publish again"):
        decode_list(value[:kept])


@given(scored_lists(min_size=1), st.data())
def test_every_altered_byte_is_found(
    listed: tuple[NDArray[np.int64], NDArray[np.float32]], data: st.DataObject
) -> None:
    value = bytearray(encode_list(*listed))
    position = data.draw(st.integers(0, len(value) - 1))
    value[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(DamagedValue):
        decode_list(bytes(value))


@given(st.binary(max_size=40))
def test_arbitrary_bytes_are_found_damaged_or_are_what_we_write(value: bytes) -> None:
    try:
        found = decode_list(value)
    except DamagedValue:
        return
    assert len(found.ids) == int.from_bytes(value[2:4], "little")


def test_a_column_of_lists_is_encoded_owner_by_owner() -> None:
    owners, ids = np.array([3, 3, 3, 9]), np.array([6, 5, 4, 2**40])
    scores = np.array([0.5, 0.1, 0.0, 1234567.0], dtype=np.float32)
    found, values = encode_groups(owners, ids, scores)
    assert found.tolist() == [3, 9]
    assert [decode_list(value).ids.tolist() for value in values] == [[6, 5, 4], [2**40]]
    np.testing.assert_array_equal(
        np.concatenate([decode_list(value).scores for value in values]), scores
    )


def test_bytes_behind_a_list_are_found() -> None:
    value = encode_list(np.array([1, 2]), np.array([0.5, 0.25]))
    with pytest.raises(DamagedValue, match="truncated or altered"):
        decode_list(value + b"\0")


@given(
    st.integers(0, 6),
    st.integers(0, 9),
    st.randoms(use_true_random=False),
    st.booleans(),
)
def test_a_block_is_encoded_as_its_lists_are(
    lists: int, width: int, rng: random.Random, exact: bool
) -> None:
    ids = np.array([[rng.randint(1, 10**6) for _ in range(width)] for _ in range(lists)])
    ids = ids.reshape(lists, width).astype(np.int64)
    scores = np.array([[rng.random() for _ in range(width)] for _ in range(lists)])
    scores = scores.reshape(lists, width).astype(np.float32)
    lengths = np.array([rng.randint(0, width) for _ in range(lists)], dtype=np.int64)
    scores[np.arange(width) >= lengths[:, None]] = -np.inf
    values = encode_block(ids, scores, lengths, exact=exact)
    assert values == [
        encode_list(ids[row, :length], scores[row, :length], exact=exact)
        for row, length in enumerate(lengths)
    ]


def test_ids_take_eight_bytes_only_where_one_needs_them() -> None:
    half = np.array([0.5, 0.25])
    small = encode_list(np.array([2**31 - 1, 1]), half)
    large = encode_list(np.array([2**31, 1]), half)
    assert (len(small), len(large)) == (8 + 2 * 6, 8 + 2 * 10)


def test_scores_too_large_for_two_bytes_take_four() -> None:
    ids = np.array([7, 8])
    scores = np.array([1_000_000.0, 3.0], dtype=np.float32)
    np.testing.assert_array_equal(decode_list(encode_list(ids, scores)).scores, scores)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 1e300])
def test_a_score_that_is_not_finite_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        encode_list(np.array([1, 2]), np.array([0.5, wrong]))


def test_a_list_too_long_for_its_count_is_refused() -> None:
    too_many = np.arange(MAX_ENTRIES + 1)
    with pytest.raises(ValueError, match="at most 65535"):
        encode_list(too_many, too_many.astype(np.float32))
    with pytest.raises(ValueError, match="at most 65535"):
        encode_groups(np.zeros_like(too_many), too_many)


def test_ids_and_scores_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        encode_list(np.array([1, 2]), np.array([0.5]))
