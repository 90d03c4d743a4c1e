"""A staged slice is typed, and brings along what its listens name."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moovitamix.ingest.lake import LakeStore
from moovitamix.warehouse.stage import (
    folded_genres,
    listens_slice,
    tracks_slice,
    users_slice,
)
from moovitamix.warehouse.tables import metadata
from moovitamix_tests.ingest.pulling import a_listen, a_track, a_user, at, empty, pull_at
from moovitamix_tests.reference_source import ReferenceSource
from moovitamix_tests.warehouse.loading import SLICES, november


@pytest.fixture
def pulled(source: ReferenceSource, lake: LakeStore) -> LakeStore:
    """A lake with three tracks of the 5th, two users of the 6th and a listen of the 12th."""
    empty(source)
    source.tracks = [
        a_track(1, at(5), duration="03:30", genres=" Hip\tHop ,JAZZ"),
        a_track(2, at(5), duration="00:00", genres=""),
        a_track(3, at(5), duration="1440:59", genres="Funk"),
    ]
    source.users = [a_user(1, at(6), favorite_genres="R&B"), a_user(2, at(6))]
    source.listens = [a_listen(1, [2, 1, 2], at(12))]
    pull_at(lake, source)
    return lake


def _fold(listed: str) -> str:
    return str(pl.DataFrame({"listed": [listed]}).select(folded_genres("listed")).item())


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ("Jazz", "jazz"),
        ("R&B, Hip  Hop", "r&b,hip hop"),
        ("  Drum\t&\nBass  ", "drum & bass"),
        ("Música Électronique,ΣΊΣΥΦΟΣ", "música électronique,σίσυφος"),
        ("Deep\u00a0House", "deep house"),
        ("", ""),
        (" , ", ","),
    ],
)
def test_genres_are_folded_for_case_and_white_space(listed: str, expected: str) -> None:
    assert _fold(listed) == expected


# Python alone takes the four separators before the blank for white space; half of a surrogate
# pair never passes the contract.
FOLDABLE = st.characters(exclude_characters="\x1c\x1d\x1e\x1f", exclude_categories=["Cs"])


@given(st.text(FOLDABLE, max_size=60))
def test_folding_twice_is_folding_once(listed: str) -> None:
    once = _fold(listed)
    assert _fold(once) == once
    assert once.count(",") == listed.count(",")
    assert not any(name != name.strip() or "  " in name for name in once.split(","))


def test_durations_become_seconds(pulled: LakeStore) -> None:
    found = tracks_slice(pulled, [november(5)])
    seconds = dict(found.select("id", "duration_seconds").rows())
    assert seconds == {1: 210, 2: 0, 3: 86_459}
    assert dict(found.select("id", "genres").rows()) == {1: "hip hop,jazz", 2: "", 3: "funk"}


def test_what_listens_name_comes_along_without_a_day(pulled: LakeStore) -> None:
    days = [november(12)]
    assert set(tracks_slice(pulled, days).select("id", "day").rows()) == {(1, None), (2, None)}
    assert users_slice(pulled, days).select("id", "day").rows() == [(1, None)]


def test_what_is_both_dealt_and_named_is_there_once(pulled: LakeStore) -> None:
    days = [november(day) for day in range(5, 13)]
    found = users_slice(pulled, days).select("id", "day").rows()
    assert sorted(found) == [(1, november(6)), (2, november(6))]


def test_a_listen_is_one_row_for_each_track_heard(pulled: LakeStore) -> None:
    found = listens_slice(pulled, [november(12)])
    assert found.select("user_id", "track_id", "nth", "recorded_at", "listened_at").rows() == [
        (1, 2, 1, at(12), at(12)),
        (1, 1, 1, at(12), at(12)),
        (1, 2, 2, at(12), at(12)),
    ]


@pytest.mark.parametrize("table", SLICES)
@pytest.mark.parametrize("day", [12, 19], ids=["a full day", "a silent day"])
def test_a_slice_has_the_columns_of_its_table(pulled: LakeStore, table: str, day: int) -> None:
    found = SLICES[table](pulled, [november(day)])
    declared = {column.name for column in metadata.tables[f"staging.{table}"].columns}
    ours = {"run_id", "staged_at", "told"}
    assert set(found.columns) == declared - ours
