"""Past and future do not overlap, and only what can be told is asked."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moovitamix.recommend.matrix import INTERACTIONS
from moovitamix.recommend.split import (
    discoveries,
    hold_out_by_user,
    split_by_time,
    split_plays,
    unreachable,
)
from moovitamix_tests.recommend.conftest import AS_OF, random_plays, tasteful_plays

END = datetime.fromisoformat("2026-11-23")

plays = st.lists(
    st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(0, 20)), min_size=1, max_size=40
)


def frame(rows: list[tuple[int, int, int]]) -> pl.DataFrame:
    """Plays from rows of user, track and full days before the end."""
    moments = [(u, t, END - timedelta(days=d, seconds=1)) for u, t, d in rows]
    return pl.DataFrame(moments, schema=INTERACTIONS, orient="row")


@given(plays)
@settings(max_examples=60)
def test_every_play_is_past_or_future_and_the_past_is_over_when_the_future_begins(
    rows: list[tuple[int, int, int]],
) -> None:
    split = split_by_time(frame(rows), AS_OF, 7)
    assert split.past.height + split.future.height == len(rows)
    assert split.cut_off == datetime.fromisoformat("2026-11-16")
    assert (split.past["listened_at"] < split.cut_off).all()
    assert (split.future["listened_at"] >= split.cut_off).all()


@given(plays)
@settings(max_examples=60)
def test_the_hold_out_takes_each_users_last_tracks_with_all_their_plays(
    rows: list[tuple[int, int, int]],
) -> None:
    split = hold_out_by_user(frame(rows), AS_OF)
    assert split.past.height + split.future.height == len(rows)
    for user in {user for user, _, _ in rows}:
        first: dict[int, int] = {}
        for owner, track, days in rows:
            if owner == user:
                first[track] = max(days, first.get(track, 0))
        held = set(split.future.filter(user_id=user)["track_id"])
        kept = set(split.past.filter(user_id=user)["track_id"])
        assert held | kept == set(first)
        assert not held & kept
        assert len(held) == (max(1, round(len(first) * 0.2)) if len(first) > 1 else 0)
        if held:
            assert max(first[track] for track in held) <= min(first[track] for track in kept)


def test_ties_in_time_are_not_decided_by_the_order_of_ids() -> None:
    split = hold_out_by_user(random_plays(), AS_OF)
    rank = pl.col("track_id").rank("ordinal").over("user_id")
    ranks = (
        pl.concat([split.past.with_columns(out=False), split.future.with_columns(out=True)])
        .unique(["user_id", "track_id"])
        .with_columns(rank=rank)
        .filter("out")["rank"]
    )
    assert ranks.mean() == pytest.approx(3, abs=0.15)


def test_enough_users_are_split_by_time_and_too_few_by_user() -> None:
    rows = tasteful_plays()
    assert split_plays(rows, AS_OF, test_days=7, minimum_users=50).name == "temporal"
    assert split_plays(rows, AS_OF, test_days=7, minimum_users=241).name == "per-user hold-out"


def test_one_record_a_user_cannot_be_split_by_time() -> None:
    split = split_plays(random_plays(), AS_OF, test_days=7, minimum_users=50)
    assert (split.name, split.cut_off) == ("per-user hold-out", None)
    assert discoveries(split)["user_id"].n_unique() > 900


def test_plays_after_the_day_are_in_neither_part() -> None:
    late = frame([(1, 1, 0), (1, 2, 1), (1, 3, -1)])
    for minimum_users in (0, 50):
        split = split_plays(late, AS_OF, test_days=1, minimum_users=minimum_users)
        assert 3 not in [*split.past["track_id"], *split.future["track_id"]]


def test_discoveries_are_new_to_the_user_but_not_to_everybody() -> None:
    rows = frame(
        [
            (1, 10, 20),
            (2, 20, 20),
            (2, 30, 20),
            (1, 10, 1),  # heard before
            (1, 20, 1),
            (1, 20, 0),  # the same discovery again
            (1, 30, 1),
            (1, 40, 1),  # nobody had heard it
            (3, 10, 1),  # a user without a past
        ]
    )
    split = split_by_time(rows, AS_OF, 7)
    assert discoveries(split).rows() == [(1, 20), (1, 30)]
    assert unreachable(split) == 1
