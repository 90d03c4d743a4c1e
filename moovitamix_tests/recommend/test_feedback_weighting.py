"""A skip takes from what was played, a hide takes it all; and the ranking follows."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moovitamix.errors import NothingToDo, SettingsError
from moovitamix.recommend.als import AlsParameters, fit_als
from moovitamix.recommend.interactions import read_interactions, stream_interactions
from moovitamix.recommend.left_out import LeftOut
from moovitamix.recommend.matrix import (
    HIDE,
    PLAY,
    SKIP,
    WITH_FEEDBACK,
    MatrixParameters,
    UserItemMatrix,
    select_users,
)
from moovitamix.recommend.matrix_building import build_in_blocks, build_matrix
from moovitamix.recommend.split import discoveries, hold_out_by_user, split_by_time
from moovitamix.recommend.top_n import score_users
from moovitamix.recommend.weighting import Weighting
from moovitamix.resources import Warehouse

DAY = date(2026, 11, 22)
NOON = datetime(2026, 11, 22, 12)  # noqa: DTZ001 - as the warehouse has moments
PARAMETERS = MatrixParameters()

Row = tuple[int, int, datetime, int]


def frame(*rows: Row) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=WITH_FEEDBACK, orient="row")


def value(matrix: UserItemMatrix, user: int, track: int) -> float:
    if user not in matrix.users or track not in matrix.tracks:
        return 0.0
    row, column = np.searchsorted(matrix.users, user), np.searchsorted(matrix.tracks, track)
    return float(matrix.values[row, column])


@pytest.mark.parametrize("weighting", ["log1p", "sqrt", "binary"])
def test_a_skip_leaves_the_share_of_the_plays_and_spares_other_pairs(weighting: Weighting) -> None:
    plays = [(1, 10, NOON, PLAY)] * 3 + [(1, 20, NOON, PLAY), (2, 10, NOON, PLAY)]
    skips = [(1, 10, NOON, SKIP), (1, 30, NOON, SKIP), (3, 10, NOON, SKIP)]
    parameters = replace(PARAMETERS, weighting=weighting, skip_weight=2.0)
    plain = build_matrix(frame(*plays), parameters, DAY)
    found = build_matrix(frame(*plays, *skips), parameters, DAY)
    assert value(found, 1, 10) == pytest.approx(value(plain, 1, 10) * 3 / (3 + 2 * 1))
    assert value(found, 1, 20) == value(plain, 1, 20)
    assert value(found, 2, 10) == value(plain, 2, 10)
    # What was never played has no value to lose: it does not come in by a skip.
    assert (found.users.tolist(), found.tracks.tolist()) == ([1, 2], [10, 20])


def test_a_hidden_track_is_worth_nothing_and_a_skip_with_no_weight_changes_nothing() -> None:
    plays = [(1, 10, NOON, PLAY), (1, 20, NOON, PLAY), (2, 20, NOON, PLAY)]
    old = NOON - timedelta(days=400)
    hidden = build_matrix(
        frame(*plays, (1, 20, old, HIDE)), replace(PARAMETERS, window_days=30), DAY
    )
    assert value(hidden, 1, 20) == 0
    assert hidden.values.nnz == 2
    none = replace(PARAMETERS, skip_weight=0.0)
    skipped = build_matrix(frame(*plays, (1, 20, NOON, SKIP)), none, DAY)
    assert skipped.fingerprint == build_matrix(frame(*plays), none, DAY).fingerprint
    with pytest.raises(NothingToDo):
        build_matrix(frame((1, 10, NOON, PLAY), (1, 10, NOON, HIDE)), PARAMETERS, DAY)
    with pytest.raises(SettingsError):
        MatrixParameters(skip_weight=-1)


def test_skips_age_as_plays_do_and_those_of_later_days_are_not_known() -> None:
    parameters = replace(PARAMETERS, half_life_days=10.0)
    play = (1, 10, NOON, PLAY)
    plain = value(build_matrix(frame(play), parameters, DAY), 1, 10)
    for ago, share in ((0, 1 / 2), (10, 1 / (1 + 0.5)), (20, 1 / (1 + 0.25)), (-1, 1.0)):
        skip = (1, 10, NOON - timedelta(days=ago), SKIP)
        found = value(build_matrix(frame(play, skip), parameters, DAY), 1, 10)
        assert found == pytest.approx(plain * share, rel=1e-6)
    window = replace(PARAMETERS, window_days=5)
    assert value(
        build_matrix(frame(play, (1, 10, NOON - timedelta(days=6), SKIP)), window, DAY), 1, 10
    ) == value(build_matrix(frame(play), window, DAY), 1, 10)


_ROWS = st.lists(
    st.tuples(
        st.integers(1, 6),
        st.integers(1, 5),
        st.integers(0, 40).map(lambda hours: NOON - timedelta(hours=hours)),
        st.sampled_from([PLAY, PLAY, PLAY, SKIP, HIDE]),
    ),
    min_size=1,
    max_size=60,
)


@given(_ROWS, st.sampled_from(["log1p", "sqrt", "binary", "bm25"]), st.booleans(), st.randoms())
def test_no_order_and_no_division_into_blocks_changes_the_matrix(
    rows: list[Row], weighting: Weighting, decays: bool, chance: object
) -> None:
    parameters = replace(
        PARAMETERS, weighting=weighting, half_life_days=3.0 if decays else None, skip_weight=0.7
    )
    shuffled = list(rows)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]  # random.Random
    blocks = [frame(*(row for row in rows if row[0] == user)) for user in range(1, 7)]
    plays = {row[:2] for row in rows if row[3] == PLAY}
    hidden = {row[:2] for row in rows if row[3] == HIDE}
    if not plays - hidden:
        with pytest.raises(NothingToDo):
            build_matrix(frame(*rows), parameters, DAY)
        return
    found = build_matrix(frame(*rows), parameters, DAY)
    pairs = found.values.tocoo()
    users, tracks = found.users[pairs.coords[0]], found.tracks[pairs.coords[1]]
    assert set(zip(users.tolist(), tracks.tolist(), strict=True)) == plays - hidden
    assert (found.values.data > 0).all()
    assert build_matrix(frame(*shuffled), parameters, DAY).fingerprint == found.fingerprint
    assert build_in_blocks(blocks, parameters, DAY).fingerprint == found.fingerprint


def test_a_split_judges_by_plays_and_shows_a_model_the_feedback_of_the_past() -> None:
    rows = frame(
        (1, 10, NOON - timedelta(days=9), PLAY),
        (2, 20, NOON - timedelta(days=9), PLAY),
        (1, 10, NOON - timedelta(days=8), SKIP),
        (1, 20, NOON, PLAY),
        (1, 10, NOON, SKIP),
        (2, 10, NOON, HIDE),
    )
    split = split_by_time(rows, DAY, 7)
    assert (split.past.height, split.future.height) == (2, 1)
    assert split.seen["kind"].to_list() == [PLAY, PLAY, SKIP]
    assert discoveries(split).rows() == [(1, 20)]
    by_user = hold_out_by_user(rows, DAY)
    assert by_user.future.select("user_id", "track_id").rows() == [(1, 20)]
    assert by_user.feedback.height == 3


def test_a_skipped_track_and_what_is_like_it_fall_in_the_ranking() -> None:
    """Two groups of tracks; a user of both skips one track of the first again and again."""
    rng = np.random.default_rng(5)
    rows: list[Row] = []
    for user in range(1, 81):
        liked = range(100, 120) if user % 2 else range(120, 140)
        rows += [(user, int(track), NOON, PLAY) for track in rng.choice(liked, 8, replace=False)]
    asked = 999
    rows += [(asked, track, NOON, PLAY) for track in (100, 120)]
    skips = [(asked, 100, NOON, SKIP)] * 5
    als = AlsParameters(factors=8, iterations=8, alpha=10.0, regularization=1.0)
    model = fit_als(build_matrix(frame(*rows), PARAMETERS, DAY), als)

    def ranks(feedback: list[Row], *, repeats: bool) -> list[int]:
        matrix = build_matrix(frame(*rows, *feedback), PARAMETERS, DAY)
        own = select_users(matrix, np.array([asked]))
        (block,) = score_users(model, own, 40, repeats=repeats)
        found: list[int] = block.tracks[0][: block.lengths[0]].tolist()
        return found

    before, after = ranks([], repeats=True), ranks(skips, repeats=True)
    assert after.index(100) > before.index(100)

    def depth(feedback: list[Row]) -> float:
        """How far down the tracks are, on average, that are like the skipped one."""
        found = ranks(feedback, repeats=False)
        return float(np.mean([place for place, track in enumerate(found) if track < 120]))

    assert depth([]) < depth(skips[:1]) < depth(skips) < depth([(asked, 100, NOON, HIDE)])


def test_what_is_left_out_is_found_under_any_columns() -> None:
    pairs = pl.DataFrame({"user_id": [7, 1, 7, 9], "track_id": [3, 5, 1, 4]})
    found = LeftOut.of(pairs).rows(np.array([2, 7, 8]), np.array([1, 2, 4]))
    assert found.toarray().tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 0]]
    assert LeftOut.of(pairs).of_user(7).tolist() == [1, 3]


def test_the_warehouse_tells_plays_skips_and_hides_in_one_stream(warehouse: Warehouse) -> None:
    with warehouse.connect() as connection:
        connection.execute(
            """
            INSERT INTO tracks (id, name, artist, songwriters, duration, album, created_at,
                updated_at, pull)
            SELECT id, '', '', '', '3 minutes', '', now(), now(), 'p1'
                FROM unnest('{10,20}'::bigint[]) id;
            INSERT INTO users (id, first_name, last_name, email, gender, created_at, updated_at,
                pull)
            SELECT id, '', '', '', '', now(), now(), 'p1' FROM unnest('{1,2}'::bigint[]) id;
            INSERT INTO listen_history (user_id, track_id, listened_at, recorded_at, nth)
            VALUES (1, 10, '2026-11-22 12:00', '2026-11-22 12:00', 1),
                   (2, 20, '2026-11-21 12:00', '2026-11-21 12:00', 1),
                   (2, 20, '2026-11-23 12:00', '2026-11-23 12:00', 1);
            INSERT INTO feedback (user_id, track_id, kind, at, day)
            VALUES (1, 10, 'skip', '2026-11-22 13:00', '2026-11-22'),
                   (1, 10, 'skip', '2026-11-23 13:00', '2026-11-23'),
                   (1, 10, 'click', '2026-11-22 13:00', '2026-11-22'),
                   (2, 20, 'hide', '2026-11-22 13:00', '2026-11-22');
            INSERT INTO hides VALUES (2, 20, '2026-11-22 13:00')
            """
        )
    expected = [
        (1, 10, NOON, PLAY),
        (1, 10, NOON + timedelta(hours=1), SKIP),
        (2, 20, NOON - timedelta(days=1), PLAY),
        (2, 20, NOON + timedelta(hours=1), HIDE),
    ]
    found = read_interactions(warehouse, DAY)
    assert found.schema == WITH_FEEDBACK
    assert sorted(found.rows()) == expected
    streamed = pl.concat(list(stream_interactions(warehouse, DAY)))
    assert sorted(streamed.rows()) == expected
    assert streamed["user_id"].is_sorted()
    matrix = build_in_blocks(stream_interactions(warehouse, DAY), PARAMETERS, DAY)
    assert (matrix.users.tolist(), matrix.tracks.tolist()) == ([1], [10])


def test_of_a_window_no_more_is_read_than_counts_and_what_is_hidden_stays_so(
    warehouse: Warehouse,
) -> None:
    """A window of two days begins with the 21st: that moment is in it, the one before is not."""
    with warehouse.connect() as connection:
        connection.execute(
            """
            INSERT INTO tracks (id, name, artist, songwriters, duration, album, created_at,
                updated_at, pull)
            SELECT id, '', '', '', '3 minutes', '', now(), now(), 'p1'
                FROM unnest('{10,20,30}'::bigint[]) id;
            INSERT INTO users (id, first_name, last_name, email, gender, created_at, updated_at,
                pull)
            SELECT id, '', '', '', '', now(), now(), 'p1' FROM unnest('{1,2,3}'::bigint[]) id;
            INSERT INTO listen_history (user_id, track_id, listened_at, recorded_at, nth)
            SELECT u, t, at, at, 1 FROM (VALUES
                (1, 10, timestamp '2026-11-22 12:00'), (1, 20, '2026-11-20 23:59:59.999999'),
                (1, 30, '2026-11-21'), (2, 20, '2026-11-22 12:00'), (2, 30, '2026-11-22 12:00'),
                (3, 10, '2026-11-20 12:00')) AS heard (u, t, at);
            INSERT INTO feedback (user_id, track_id, kind, at, day)
            VALUES (1, 10, 'skip', '2026-11-20 13:00', '2026-11-20'),
                   (1, 30, 'skip', '2026-11-21', '2026-11-21');
            INSERT INTO hides VALUES (2, 20, '2026-01-01')
            """
        )
    parameters = replace(PARAMETERS, window_days=2)
    few = list(stream_interactions(warehouse, DAY, 2))
    midnight = datetime(2026, 11, 21)  # noqa: DTZ001 - as in tables
    assert sorted(pl.concat(few).rows()) == [
        (1, 10, NOON, PLAY),
        (1, 30, midnight, PLAY),
        (1, 30, midnight, SKIP),
        (2, 20, datetime(2026, 1, 1), HIDE),  # noqa: DTZ001 - as in tables
        (2, 20, NOON, PLAY),
        (2, 30, NOON, PLAY),
    ]
    found = build_in_blocks(few, parameters, DAY)
    whole = build_in_blocks(stream_interactions(warehouse, DAY), parameters, DAY)
    assert found.fingerprint == whole.fingerprint
    assert (found.users.tolist(), found.tracks.tolist()) == ([1, 2], [10, 30])
