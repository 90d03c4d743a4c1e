"""New releases have places of their own in lists, and reach those who like their like."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from moovitamix.errors import SettingsError
from moovitamix.recommend.als import AlsModel, AlsParameters, fit_als, fold_in
from moovitamix.recommend.blend import BlendParameters, score_repeats
from moovitamix.recommend.configuration import Configuration
from moovitamix.recommend.likeness import same_configuration
from moovitamix.recommend.matrix import (
    INTERACTIONS,
    MatrixParameters,
    UserItemMatrix,
    in_columns,
    select_users,
)
from moovitamix.recommend.matrix_building import build_matrix
from moovitamix.recommend.new_releases import (
    NO_RELEASES,
    NewReleases,
    ReleaseParameters,
    with_releases,
)
from moovitamix.recommend.top_n import TopN, score_users
from moovitamix_tests.recommend.conftest import AS_OF, tasteful_plays

N = 20
SHARE = ReleaseParameters(first=5, every=5)
# One of each of the eight groups of `tasteful_plays`, and what is no new release.
FRESH = {10_000 + group: group for group in range(8)}
TOO_OLD, UNLIKE_ANY = 20_000, 20_001


class Fixed(NamedTuple):
    plays: pl.DataFrame
    matrix: UserItemMatrix
    model: AlsModel
    features: pl.DataFrame


@pytest.fixture(scope="module")
def fixed() -> Fixed:
    """Users who keep to one of eight groups of tracks; each group has an artist of its own."""
    plays = tasteful_plays()
    matrix = build_matrix(plays, MatrixParameters(), AS_OF)
    rows = [
        *((track, f"artist {(track - 5) // 3 % 8}", ["pop"], 500, 20) for track in matrix.tracks),
        *((track, f"artist {group}", ["pop"], 3, 0) for track, group in FRESH.items()),
        (TOO_OLD, "artist 1", ["pop"], SHARE.max_age_days + 1, 0),
        (UNLIKE_ANY, "unheard of", ["unheard of"], 0, 0),
    ]
    features = pl.DataFrame(
        [(int(track), *others) for track, *others in rows],
        schema=["track_id", "artist", "genres", "age_days", "listeners"],
        orient="row",
    )
    model = fit_als(matrix, AlsParameters(factors=16, regularization=30.0, iterations=5))
    return Fixed(plays, matrix, model, features)


def by_user(blocks: Iterator[TopN]) -> dict[int, tuple[list[int], list[float]]]:
    return {
        int(user): (tracks[:length].tolist(), scores[:length].tolist())
        for block in blocks
        for user, tracks, scores, length in zip(
            block.ids, block.tracks, block.scores, block.lengths, strict=True
        )
    }


def test_young_tracks_without_factors_whose_like_is_known_are_new_releases(fixed: Fixed) -> None:
    found = NewReleases.find(fixed.model, fixed.features, SHARE)
    assert found.tracks.tolist() == list(FRESH)
    aged = fixed.features.with_columns(pl.col("age_days") + SHARE.max_age_days)
    assert not len(NewReleases.find(fixed.model, aged, SHARE).tracks)
    assert not len(NewReleases.find(fixed.model, fixed.features, NO_RELEASES).tracks)
    left = found.without(np.array([10_003, 1]))
    assert left.tracks.tolist() == [track for track in FRESH if track != 10_003]
    np.testing.assert_array_equal(left.directions, np.delete(found.directions, 3, axis=0))


def test_an_artists_fans_get_the_new_track_at_the_first_place_that_is_kept(fixed: Fixed) -> None:
    releases = NewReleases.find(fixed.model, fixed.features, SHARE)
    lists = by_user(score_users(fixed.model, fixed.matrix, N, releases=releases))
    plain = by_user(score_users(fixed.model, fixed.matrix, N))
    first = [
        FRESH[tracks[SHARE.first - 1]] == (user - 11) % 8 for user, (tracks, _) in lists.items()
    ]
    assert np.mean(first) > 0.95  # a tenth of what is heard is of any group
    for user, (tracks, scores) in lists.items():
        known = plain[user][0]
        fresh = [track for track in tracks if track in FRESH]
        assert len(tracks) == len(set(tracks)) == len(known) == N
        assert [track for track in tracks if track not in FRESH] == known[: N - len(fresh)]
        assert [tracks.index(track) for track in fresh] == [4, 9, 14, 19][: len(fresh)]
        assert (np.diff(scores) <= 0).all()


def test_lists_with_repeats_keep_the_same_places(fixed: Fixed) -> None:
    releases = NewReleases.find(fixed.model, fixed.features, SHARE)
    alone = by_user(score_users(fixed.model, fixed.matrix, N, releases=releases))
    for blend in (BlendParameters(), BlendParameters(own_plays=1.0)):
        lists = by_user(
            score_repeats(fixed.model, fixed.matrix, blend, fixed.matrix, N, releases=releases)
        )
        assert {
            user: [track for track in tracks if track in FRESH]
            for user, (tracks, _) in lists.items()
        } == {
            user: [track for track in tracks if track in FRESH]
            for user, (tracks, _) in alone.items()
        }


def test_who_has_heard_a_release_since_the_fit_does_not_get_it_again(fixed: Fixed) -> None:
    releases = NewReleases.find(fixed.model, fixed.features, SHARE)
    since = fixed.plays["listened_at"].max()
    early = pl.DataFrame(
        [(user, 10_000 + (user - 11) % 8, since) for user in range(11, 111)],
        schema=INTERACTIONS,
        orient="row",
    )
    later = build_matrix(pl.concat([fixed.plays, early]), MatrixParameters(), AS_OF)
    for blocks in (
        score_users(fixed.model, later, N, releases=releases, block_rows=64),
        score_repeats(
            fixed.model, later, BlendParameters(own_plays=1.0), later, N, releases=releases
        ),
    ):
        for user, (tracks, _) in by_user(blocks).items():
            assert (10_000 + (user - 11) % 8 in tracks) == (user >= 111)


def test_a_user_alone_gets_the_releases_that_they_get_among_many(fixed: Fixed) -> None:
    """Few rows are ranked another way than many; both leave out what was heard or is listed."""
    found = NewReleases.find(fixed.model, fixed.features, SHARE)
    known = fixed.model.tracks[:3]  # some that the lists may hold anyhow
    releases = replace(
        found,
        tracks=np.concatenate([known, found.tracks]),
        directions=np.concatenate([found.directions[:3] * 0.999, found.directions]),
        unheard=np.arange(len(found.tracks) + 3) % 3 == 1,
    )
    heard = csr_matrix(np.random.default_rng(3).random((100, len(releases.tracks))) < 0.3)
    users = select_users(fixed.matrix, fixed.matrix.users[:100])
    factors = fold_in(fixed.model, users)
    (plain,) = score_users(fixed.model, users, N)
    assert len(plain.ids) == 100
    whole = releases.place(plain, factors, heard.astype(np.float32))
    for row in range(100):
        own = slice(row, row + 1)
        alone = TopN(plain.ids[own], plain.tracks[own], plain.scores[own], plain.lengths[own])
        placed = releases.place(alone, factors[own], heard[own].astype(np.float32))
        assert placed.tracks[0].tolist() == whole.tracks[row].tolist()
        assert placed.scores[0].tolist() == whole.scores[row].tolist()


@given(st.integers(0, N), st.booleans())
def test_a_list_that_is_made_in_two_pieces_has_the_places_of_the_whole(
    fixed: Fixed, first: int, unheard: bool
) -> None:
    """As the live tier makes it, which goes on where a cached list ends."""
    releases = NewReleases.find(fixed.model, fixed.features, SHARE)
    releases = replace(releases, unheard=np.full(len(releases.tracks), unheard))
    users = select_users(fixed.matrix, fixed.matrix.users[:5])
    factors = fold_in(fixed.model, users)
    heard = in_columns(users, releases.tracks)
    (plain,) = score_users(fixed.model, users, N)
    whole = releases.place(plain, factors, heard)
    for row in range(5):

        def piece(tracks: list[int]) -> TopN:
            ids = np.array([tracks], dtype=np.int64)
            falling = -np.arange(len(tracks), dtype=np.float32)[None, :]
            return TopN(plain.ids[:1], ids, falling, np.array([len(tracks)]))

        own = slice(row, row + 1)
        ranked = plain.tracks[row].tolist()
        beginning = releases.place(piece(ranked[:first]), factors[own], heard[own])
        begun = beginning.tracks[0].tolist()
        rest = piece([track for track in ranked if track not in begun][: N - first])
        gone = csr_matrix(np.isin(releases.tracks, begun)[None, :].astype(np.float32))
        end = releases.place(rest, factors[own], heard[own] + gone, after=first)
        assert begun + end.tracks[0].tolist() == whole.tracks[row].tolist()


def test_a_release_that_points_away_from_a_user_is_not_offered(fixed: Fixed) -> None:
    releases = NewReleases.find(fixed.model, fixed.features, SHARE)
    away = replace(releases, directions=-releases.directions)
    factors = fold_in(fixed.model, fixed.matrix)
    (block,) = score_users(fixed.model, fixed.matrix, N)
    mixed = away.place(block, factors, in_columns(fixed.matrix, releases.tracks))
    offered = np.isin(mixed.tracks, releases.tracks).sum(axis=1)
    points_that_way = (factors @ away.directions.T > 0).sum(axis=1)
    np.testing.assert_array_equal(offered, np.minimum(points_that_way, 4))
    assert (offered < 4).any()


def test_a_user_whom_the_model_does_not_know_has_no_releases_either(fixed: Fixed) -> None:
    releases = NewReleases.find(fixed.model, fixed.features, SHARE)
    only = pl.DataFrame(
        [(5_000, 10_001, fixed.plays["listened_at"].max())], schema=INTERACTIONS, orient="row"
    )
    matrix = build_matrix(pl.concat([fixed.plays, only]), MatrixParameters(), AS_OF)
    lists = by_user(score_users(fixed.model, matrix, N, releases=releases))
    assert lists[5_000] == ([], [])


def test_a_young_track_that_few_have_heard_is_a_release_until_enough_have(fixed: Fixed) -> None:
    young = int(fixed.model.tracks[3])
    is_it = pl.col("track_id") == young
    heard = fixed.features.with_columns(
        age_days=pl.when(is_it).then(2).otherwise("age_days"),
        listeners=pl.when(is_it).then(SHARE.enough_listeners - 1).otherwise("listeners"),
    )
    releases = NewReleases.find(fixed.model, heard, SHARE)
    assert releases.tracks.tolist() == [young, *FRESH]
    enough = heard.with_columns(pl.col("listeners") + is_it.cast(pl.Int64))
    assert NewReleases.find(fixed.model, enough, SHARE).tracks.tolist() == list(FRESH)
    # Who has it in their list anyhow has it there once.
    plain = by_user(score_users(fixed.model, fixed.matrix, N))
    lists = by_user(score_users(fixed.model, fixed.matrix, N, releases=releases))
    listed = {user for user, (tracks, _) in plain.items() if young in tracks[: SHARE.first - 1]}
    placed = {user for user, (tracks, _) in lists.items() if young in tracks} - {
        user for user, (tracks, _) in plain.items() if young in tracks
    }
    assert listed
    assert placed
    for user, (tracks, _) in lists.items():
        assert len(set(tracks)) == N
        if user in listed:
            assert tracks.index(young) == plain[user][0].index(young)
        if user in placed:
            assert tracks.index(young) in SHARE.places(N)
    assert young not in releases.similar(fixed.model, 5).ids
    known = replace(releases, tracks=releases.tracks[:1], directions=releases.directions[:1])
    assert not len(known.similar(fixed.model, 5).ids)


def test_places_go_by_turns_to_what_nobody_and_to_what_few_have_heard(fixed: Fixed) -> None:
    found = NewReleases.find(fixed.model, fixed.features, SHARE)
    # The same eight once more, under ids of their own, as what few have heard.
    both = replace(
        found,
        tracks=np.concatenate([found.tracks, found.tracks + 100]),
        directions=np.tile(found.directions, (2, 1)),
        unheard=np.repeat([True, False], 8),
    )
    lists = by_user(score_users(fixed.model, fixed.matrix, N, releases=both))
    turns = {
        tuple(track >= 10_100 for track in tracks if track >= 10_000)
        for tracks, _ in lists.values()
    }
    assert turns == {(False, True, False, True)}
    for tracks, _ in lists.values():
        first, second = (tracks[place] for place in SHARE.places(N)[:2])
        assert second == first + 100
    few = replace(both, unheard=np.zeros(16, dtype=bool))
    lists = by_user(score_users(fixed.model, fixed.matrix, N, releases=few))
    assert all(sum(track >= 10_000 for track in tracks) == 4 for tracks, _ in lists.values())


def test_similar_to_a_release_is_what_its_artist_has(fixed: Fixed) -> None:
    releases = NewReleases.find(fixed.model, fixed.features, SHARE)
    withdrawn = fixed.model.tracks[:40]
    found = releases.similar(fixed.model, 5, exclude=withdrawn)
    assert found.ids.tolist() == list(FRESH)
    groups = (found.tracks - 5) // 3 % 8
    assert (groups == np.arange(8)[:, None]).mean() > 0.9
    assert not np.isin(found.tracks, withdrawn).any()
    assert (found.scores <= 1.0001).all()


@st.composite
def mixtures(draw: st.DrawFn) -> tuple[TopN, np.ndarray, np.ndarray, ReleaseParameters]:
    """Lists of unequal lengths, and what is to be put into them."""
    rows, n, width = draw(st.integers(1, 5)), draw(st.integers(1, 30)), draw(st.integers(0, 12))
    lengths = np.array(draw(st.lists(st.integers(0, n), min_size=rows, max_size=rows)))
    counts = np.array(draw(st.lists(st.integers(0, width), min_size=rows, max_size=rows)))
    scores = np.sort(np.random.default_rng(1).random((rows, n), np.float32), axis=1)[:, ::-1]
    block = TopN(np.arange(rows), np.tile(np.arange(n) + 100, (rows, 1)), scores, lengths)
    share = ReleaseParameters(first=draw(st.integers(1, 12)), every=draw(st.integers(0, 12)))
    return block, np.tile(np.arange(width) + 900, (rows, 1)), counts, share


@given(mixtures())
def test_mixing_keeps_lengths_order_and_places(
    mixture: tuple[TopN, np.ndarray, np.ndarray, ReleaseParameters],
) -> None:
    block, releases, counts, share = mixture
    places = share.places(block.tracks.shape[1])
    mixed = with_releases(block, releases, counts, places)
    np.testing.assert_array_equal(mixed.lengths, block.lengths)
    for row, length in enumerate(block.lengths.tolist()):
        tracks = mixed.tracks[row, :length].tolist()
        kept = [place for place in places.tolist() if place < length][: counts[row]]
        others = [track for track in tracks if track < 900]
        assert [tracks[place] for place in kept] == [900 + nth for nth in range(len(kept))]
        assert others == [100 + nth for nth in range(length - len(kept))]
        scores = mixed.scores[row, :length]
        assert (np.diff(scores) <= 0).all()
        for place, track in enumerate(tracks):
            if track < 900:
                assert scores[place] == block.scores[row, track - 100]


def test_versions_of_before_there_was_a_share_have_none_and_others_their_own() -> None:
    old = {"matrix": asdict(MatrixParameters()), "als": asdict(AlsParameters())}
    assert Configuration.from_json(old).releases == NO_RELEASES
    assert not len(NO_RELEASES.places(100))
    now = Configuration()
    assert Configuration.from_json(now.to_json()) == now
    assert now.releases.places(100).tolist() == [19, 39, 59, 79, 99]
    assert same_configuration(old, {**old, "releases": asdict(NO_RELEASES)})
    assert not same_configuration(old, now.to_json())


@pytest.mark.parametrize(
    "wrong", [{"first": 0}, {"every": -1}, {"max_age_days": -1}, {"enough_listeners": -1}]
)
def test_a_share_that_makes_no_sense_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(SettingsError, match="set it so"):
        ReleaseParameters(**wrong)
