"""Plays become a matrix, and a matrix becomes a file and comes back."""

from __future__ import annotations

import gc
import io
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime, timedelta
from tempfile import NamedTemporaryFile

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moovitamix.errors import NothingToDo, SettingsError
from moovitamix.recommend.archive import DamagedArtifact, pack
from moovitamix.recommend.matrix import (
    INTERACTIONS,
    MatrixParameters,
    UserItemMatrix,
    in_columns,
    select_users,
)
from moovitamix.recommend.matrix_building import build_in_blocks, build_matrix
from moovitamix.recommend.matrix_file import KIND, read_matrix, write_matrix

moment = datetime.fromisoformat

DAY = date(2026, 11, 22)
NOON = moment("2026-11-22T12:00")
PLAIN = MatrixParameters(weighting="binary")


def encode_matrix(matrix: UserItemMatrix) -> bytes:
    stream = io.BytesIO()
    write_matrix(stream, matrix)
    return stream.getvalue()


def decode_matrix(content: bytes) -> UserItemMatrix:
    return read_matrix(io.BytesIO(content))


def frame(*rows: tuple[int, int, datetime]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=INTERACTIONS, orient="row")


ids = st.integers(min_value=-(2**63), max_value=2**63 - 1)
moments = st.datetimes(min_value=moment("2020-01-01"), max_value=NOON)
plays = st.lists(
    st.tuples(st.sampled_from([1, 2, 3]) | ids, st.sampled_from([1, 2]) | ids, moments),
    min_size=1,
    max_size=30,
)
settings_of_matrix = st.builds(
    MatrixParameters,
    weighting=st.sampled_from(["log1p", "sqrt", "binary", "bm25"]),
    half_life_days=st.none() | st.floats(min_value=0.01, max_value=1e4),
    daily_cap=st.none() | st.integers(1, 3),
)


def test_repeated_plays_count_and_are_weighted_by_the_logarithm() -> None:
    matrix = build_matrix(
        frame((2, 30, NOON), (2, 30, NOON), (1, 10, NOON)), MatrixParameters(), DAY
    )
    assert matrix.users.tolist() == [1, 2]
    assert matrix.tracks.tolist() == [10, 30]
    np.testing.assert_allclose(matrix.values.toarray(), [[np.log(2), 0], [0, np.log(3)]], rtol=1e-6)


@pytest.mark.parametrize(("weighting", "value"), [("sqrt", 2.0), ("binary", 1.0)])
def test_other_weightings_are_the_root_of_plays_and_one(weighting: str, value: float) -> None:
    parameters = MatrixParameters(weighting=weighting)  # type: ignore[arg-type]
    matrix = build_matrix(frame(*[(1, 1, NOON)] * 4), parameters, DAY)
    assert matrix.values.toarray().item() == value


def test_a_play_counts_half_after_its_half_life() -> None:
    midnight = moment("2026-11-23")
    matrix = build_matrix(
        frame((1, 1, midnight - timedelta(days=30))),
        MatrixParameters(weighting="sqrt", half_life_days=30),
        DAY,
    )
    np.testing.assert_allclose(matrix.values.toarray().item(), np.sqrt(0.5), rtol=1e-6)


def test_a_play_of_long_ago_keeps_a_value_above_zero() -> None:
    matrix = build_matrix(
        frame((1, 1, moment("1990-01-01"))), MatrixParameters(half_life_days=1), DAY
    )
    assert matrix.values.toarray().item() > 0


def test_plays_after_the_day_and_before_the_window_are_left_out() -> None:
    rows = frame(
        (1, 1, moment("2026-11-22T23:59:59.999999")),
        (1, 2, moment("2026-11-23")),
        (1, 3, moment("2026-11-21")),
        (1, 4, moment("2026-11-20T23:59:59")),
    )
    matrix = build_matrix(rows, MatrixParameters(window_days=2), DAY)
    assert matrix.tracks.tolist() == [1, 3]


def test_no_play_at_all_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(NothingToDo, match="moovitamix run"):
        build_matrix(frame(), MatrixParameters(), DAY)


@pytest.mark.parametrize(
    "wrong", [{"weighting": "raw"}, {"half_life_days": 0.0}, {"window_days": 0}, {"daily_cap": 0}]
)
def test_parameters_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        MatrixParameters(**wrong)  # type: ignore[arg-type]


@given(plays, settings_of_matrix, st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_a_matrix_survives_its_file_and_does_not_depend_on_the_order_of_plays(
    rows: list[tuple[int, int, datetime]], parameters: MatrixParameters, chance: object
) -> None:
    matrix = build_matrix(frame(*rows), parameters, DAY)
    chance.shuffle(rows)  # type: ignore[attr-defined]
    assert build_matrix(frame(*rows), parameters, DAY).fingerprint == matrix.fingerprint
    content = encode_matrix(matrix)
    back = decode_matrix(content)
    assert (back.fingerprint, back.as_of, back.parameters) == (matrix.fingerprint, DAY, parameters)
    np.testing.assert_array_equal(back.users, matrix.users)
    np.testing.assert_array_equal(back.tracks, matrix.tracks)
    np.testing.assert_array_equal(back.values.toarray(), matrix.values.toarray())
    assert encode_matrix(back) == content


@given(st.data())
@settings(max_examples=150)
def test_a_file_with_any_byte_changed_or_cut_off_never_gives_another_matrix(
    data: st.DataObject,
) -> None:
    matrix = build_matrix(frame((1, 1, NOON), (2, 1, NOON), (2, 3, NOON)), PLAIN, DAY)
    content = bytearray(encode_matrix(matrix))
    at = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[at] ^= data.draw(st.integers(1, 255))
    else:
        del content[at:]
    try:
        found = decode_matrix(bytes(content))
    except DamagedArtifact as error:
        assert "retrain" in str(error)  # noqa: PT017 - either outcome is right
    else:
        # Some bytes of a zip file mean nothing: dates, flags.
        assert found.fingerprint == matrix.fingerprint


def test_shapes_that_do_not_agree_are_damage_even_under_a_right_digest() -> None:
    arrays: dict[str, np.ndarray] = {
        "users": np.array([1], dtype=np.int64),
        "tracks": np.array([1], dtype=np.int64),
        "indptr": np.array([0, 1], dtype=np.int64),
        "indices": np.array([7], dtype=np.int64),
        "values": np.array([1], dtype=np.float32),
    }
    header = {"as_of": "2026-11-22", "parameters": {}, "fingerprint": ""}
    with pytest.raises(DamagedArtifact):
        decode_matrix(pack(KIND, header, arrays))


def test_a_fingerprint_that_is_not_that_of_the_content_is_damage() -> None:
    matrix = build_matrix(frame((1, 1, NOON)), PLAIN, DAY)
    with pytest.raises(DamagedArtifact, match="fingerprint"):
        decode_matrix(encode_matrix(replace(matrix, fingerprint="0" * 64)))


def test_the_fingerprint_is_the_same_in_every_version_and_on_every_platform() -> None:
    matrix = build_matrix(frame((1, 10, NOON), (2, 10, NOON), (2, 20, NOON)), PLAIN, DAY)
    assert matrix.fingerprint == (
        "cf1bc1bcbba1e7a5cd814ae88180ed9902dc3428982416d48a55f58cae13161b"
    )


def test_the_fingerprint_with_every_parameter_is_that_of_earlier_versions() -> None:
    rows = [
        (user, 10 * track, NOON - timedelta(days=(user * track) % 50, hours=user))
        for user in range(1, 9)
        for track in range(1, 12)
        for _ in range((user + track) % 4)
    ]
    parameters = MatrixParameters(
        weighting="sqrt",
        half_life_days=30,
        window_days=40,
        daily_cap=2,
        minimum_listeners=2,
        minimum_plays=5,
    )
    assert build_matrix(frame(*rows), parameters, DAY).fingerprint == (
        "5f8ab54fb77b6d2b7441f799327edc667e652df4006b7ca7e1eec7a7351ce132"
    )


def test_values_move_to_other_columns_and_unknown_tracks_fall_away() -> None:
    matrix = build_matrix(frame((1, 10, NOON), (1, 20, NOON), (2, 20, NOON)), PLAIN, DAY)
    moved = in_columns(matrix, np.array([5, 20, 90], dtype=np.int64))
    assert moved.toarray().tolist() == [[0, 1, 0], [0, 1, 0]]


def test_selected_users_keep_their_rows_under_all_columns() -> None:
    matrix = build_matrix(frame((1, 10, NOON), (3, 20, NOON), (2, 20, NOON)), PLAIN, DAY)
    some = select_users(matrix, np.array([1, 3], dtype=np.int64))
    assert some.values.toarray().tolist() == [[1, 0], [0, 1]]
    assert some.fingerprint != matrix.fingerprint


@given(plays, settings_of_matrix, st.integers(1, 4))
@settings(max_examples=30)
def test_plays_in_blocks_of_users_make_the_same_matrix(
    rows: list[tuple[int, int, datetime]], parameters: MatrixParameters, size: int
) -> None:
    whole = build_matrix(frame(*rows), parameters, DAY)
    users = whole.users.tolist()
    blocks = [
        frame(*(row for row in rows if row[0] in users[start : start + size]))
        for start in range(0, len(users), size)
    ]
    assert build_in_blocks(blocks, parameters, DAY).fingerprint == whole.fingerprint


def test_plays_beyond_the_daily_cap_do_not_count() -> None:
    rows = frame(*[(1, 1, NOON)] * 9, (1, 1, NOON - timedelta(days=1)), (1, 2, NOON))
    matrix = build_matrix(rows, MatrixParameters(weighting="sqrt", daily_cap=3), DAY)
    np.testing.assert_allclose(matrix.values.toarray(), [[2, 1]])


def test_tracks_with_few_listeners_and_users_with_few_plays_fall_out() -> None:
    rows = frame(
        *[(user, 10, NOON) for user in (1, 2, 3)],
        *[(1, 20, NOON)] * 5,
        (4, 30, NOON),
        *[(5, 10, NOON), (5, 20, NOON)],
    )
    heard = build_matrix(rows, replace(PLAIN, minimum_listeners=2), DAY)
    assert (heard.users.tolist(), heard.tracks.tolist()) == ([1, 2, 3, 5], [10, 20])
    active = build_matrix(rows, replace(PLAIN, minimum_plays=2), DAY)
    assert (active.users.tolist(), active.tracks.tolist()) == ([1, 5], [10, 20])
    with pytest.raises(NothingToDo):
        build_matrix(rows, replace(PLAIN, minimum_listeners=9), DAY)


def test_bm25_is_its_formula_worked_out_by_hand() -> None:
    rows = frame(*[(1, 10, NOON)] * 3, (1, 20, NOON), (2, 10, NOON), (3, 10, NOON))
    matrix = build_matrix(rows, MatrixParameters(weighting="bm25"), DAY)
    # Users play 4, 1 and 1, so 2 on average; track 10 was heard by three of three, 20 by one.
    rare, common = np.log(1 + 2.5 / 1.5), np.log(1 + 0.5 / 3.5)
    light, heavy = 100 * (0.2 + 0.8 * 0.5), 100 * (0.2 + 0.8 * 2)
    expected = [
        [common * 3 * 101 / (3 + heavy), rare * 101 / (1 + heavy)],
        [common * 101 / (1 + light), 0],
        [common * 101 / (1 + light), 0],
    ]
    np.testing.assert_allclose(matrix.values.toarray(), expected, rtol=1e-5)


def test_a_file_that_names_no_later_parameter_loads_with_their_defaults() -> None:
    parameters = MatrixParameters()
    assert set(parameters.header()) == {"weighting", "half_life_days", "window_days"}
    assert MatrixParameters(**parameters.header()) == parameters
    assert MatrixParameters(daily_cap=3).header()["daily_cap"] == 3


def test_neither_building_nor_writing_nor_reading_holds_a_second_copy() -> None:
    blocks = 80
    plays = 10_000  # of each block's own users

    def made_up() -> Iterator[pl.DataFrame]:
        chance = np.random.default_rng(7)
        for block in range(blocks):
            rows = {
                "user_id": block * 100 + chance.integers(0, 100, plays),
                "track_id": chance.integers(0, 3000, plays),
                "listened_at": np.full(plays, np.datetime64(NOON, "us")),
            }
            yield pl.DataFrame(rows).cast(INTERACTIONS)

    with traced() as peak:
        matrix = build_in_blocks(made_up(), MatrixParameters(weighting="bm25"), DAY)
        built = peak()
    own = matrix.values.data.nbytes + matrix.values.indices.nbytes + matrix.values.indptr.nbytes
    # While one of its two arrays moves to a larger place there is half a copy.
    assert built < 1.9 * own
    with NamedTemporaryFile() as file:
        with traced() as peak:
            write_matrix(file, matrix)
            assert peak() < 1.1e6  # pieces of half a megabyte, and nothing that grows
        file.seek(0)
        with traced() as peak:
            back = read_matrix(file)
            assert peak() < own + 2e6
    assert back.fingerprint == matrix.fingerprint


@contextmanager
def traced() -> Iterator[Callable[[], int]]:
    """How much Python and NumPy have come to hold at once, in bytes."""
    gc.collect()
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
