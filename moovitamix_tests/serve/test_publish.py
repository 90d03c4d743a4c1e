"""What a generation holds: new to its user, playable, complete, and told by tier."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from moovitamix.errors import NothingToDo
from moovitamix.recommend.blend import BlendParameters
from moovitamix.recommend.matrix import MatrixParameters
from moovitamix.recommend.new_releases import NewReleases, ReleaseParameters
from moovitamix.recommend.top_n import score_users
from moovitamix.serve import publish, rankings
from moovitamix.serve.checks import judge
from moovitamix.serve.codec import TopN, decode_list, encode_list
from moovitamix.serve.fresh_releases import ReleasesRead
from moovitamix.serve.generations import Kind, key_of, read_current
from moovitamix.serve.inspection import Inspection, inspect_generation
from moovitamix.serve.popular import rank_by_listeners, top_of_genres, top_unheard
from moovitamix.serve.publish import Publication, publish_generation
from moovitamix_tests.serve.world import AS_OF, NAMESPACE, World, told_apart

N = 10


def publish_world(
    client: redis.Redis, world: World, *, n: int = N, releases: NewReleases | None = None
) -> Publication:
    return publish_generation(
        client,
        NAMESPACE,
        champion=world.champion,
        matrix=world.matrix,
        catalogue=world.catalogue,
        tell=lambda _: None,
        recent=world.matrix,
        releases=releases,
        list_length=n,
    )


def lists_in(client: redis.Redis, published: Publication, kind: Kind) -> dict[str, TopN]:
    """All lists of a kind, by what is behind the last colon."""
    found = {}
    for key in client.scan_iter(
        key_of(NAMESPACE, published.generation.name, kind, "all")[:-3] + b"*"
    ):
        value = client.get(key)
        assert isinstance(value, bytes)
        found[key.decode().rpartition(":")[2]] = decode_list(value)
    return found


@pytest.mark.parametrize("algorithm", ["als", "popularity"])
def test_every_user_with_listens_gets_a_full_list_of_new_playable_tracks(
    valkey: redis.Redis, world: World, algorithm: str
) -> None:
    published = publish_world(valkey, world.under(algorithm))
    lists = lists_in(valkey, published, "u")
    assert set(lists) == {str(user) for user in world.matrix.users.tolist()}
    assert published.users.keys == len(lists) == 61
    for user, found in lists.items():
        assert len(found.ids) == len(set(found.ids.tolist())) == N
        assert not set(found.ids.tolist()) & (world.heard_by(int(user)) | set(world.WITHDRAWN))
        assert (np.diff(found.scores) <= 0).all()


def test_lists_of_known_users_are_those_of_the_model_on_the_current_matrix(
    valkey: redis.Redis, world: World
) -> None:
    published = publish_world(valkey, world)
    lists = lists_in(valkey, published, "u")
    withdrawn = world.catalogue.withdrawn
    blocks = score_users(world.champion.model, world.matrix, N, exclude=withdrawn)
    expected = {
        str(user): tracks[:length].tolist()
        for block in blocks
        for user, tracks, length in zip(block.ids, block.tracks, block.lengths, strict=True)
        if length
    }
    assert len(expected) == 60
    assert {user: lists[user].ids.tolist() for user in expected} == expected


def test_users_whom_als_knows_also_get_a_list_with_what_they_heard_by_the_versions_blend(
    valkey: redis.Redis, world: World
) -> None:
    blend = BlendParameters(own_plays=5.0)
    blended = replace(world, champion=replace(world.champion, blend=blend))
    published = publish_world(valkey, blended)
    lists = lists_in(valkey, published, "r")
    assert set(lists) == {str(user) for user in range(1, 61)}
    assert published.repeats.keys == 60
    for user, found in lists.items():
        # Own plays count so much that all of them come first, as far as the model knows them.
        known = world.heard_by(int(user)) & set(world.champion.model.tracks.tolist())
        playable = known - set(world.WITHDRAWN)
        assert set(found.ids[: len(playable)].tolist()) == playable
        assert not set(found.ids.tolist()) & set(world.WITHDRAWN)
    lost = publish_world(valkey, world.under("popularity"))
    assert lists_in(valkey, lost, "r") == {}


def test_a_user_of_whose_tracks_the_model_knows_none_gets_popular_tracks_not_heard(
    valkey: redis.Redis, world: World
) -> None:
    published = publish_world(valkey, world)
    found = lists_in(valkey, published, "u")[str(World.NEWCOMER)]
    ranked = rank_by_listeners(world.matrix, world.catalogue)["track_id"].to_list()
    heard = world.heard_by(World.NEWCOMER)
    assert heard == {142, 143}
    assert found.ids.tolist() == [track for track in ranked if track not in heard][:N]
    assert published.users_by_tier == {"als": 60, "popularity": 1, "stated genres": 2}


def test_a_champion_that_lost_to_popularity_serves_popularity(
    valkey: redis.Redis, world: World
) -> None:
    published = publish_world(valkey, world.under("popularity"))
    assert published.users_by_tier == {"als": 0, "popularity": 61, "stated genres": 2}
    assert published.generation.algorithm == "popularity"
    found = lists_in(valkey, published, "u")["1"]
    ranked = rank_by_listeners(world.matrix, world.catalogue)["track_id"].to_list()
    assert found.ids.tolist() == [t for t in ranked if t not in world.heard_by(1)][:N]


def test_every_track_of_the_model_has_similar_tracks_of_which_none_is_withdrawn(
    valkey: redis.Redis, world: World
) -> None:
    published = publish_world(valkey, world)
    lists = lists_in(valkey, published, "t")
    assert set(lists) == {str(track) for track in world.champion.model.tracks.tolist()}
    for track, found in lists.items():
        assert len(found.ids) == N
        assert not {int(track), *world.WITHDRAWN} & set(found.ids.tolist())


def test_popular_lists_count_listeners_over_all_and_by_genre(
    valkey: redis.Redis, world: World
) -> None:
    published = publish_world(valkey, world, n=40)
    lists = lists_in(valkey, published, "p")
    assert set(lists) == {"all", "1", "2"}  # genre 3 has a withdrawn track only
    users = np.bincount(world.matrix.values.indices, minlength=len(world.matrix.tracks))
    counts = dict(zip(world.matrix.tracks.tolist(), users.tolist(), strict=True))
    for found in lists.values():
        assert found.scores.tolist() == [counts.get(track, 0) for track in found.ids.tolist()]
        assert (np.diff(found.scores) <= 0).all()
    assert set(lists["1"].ids.tolist()) == set(range(100, 120)) - {101}
    assert set(lists["2"].ids.tolist()) == set(range(120, 150)) - {141}
    assert lists["2"].ids[-1] == World.NEVER_HEARD
    assert len(lists["all"].ids) == 40


def test_stated_genres_are_kept_for_users_without_listens_only(
    valkey: redis.Redis, world: World
) -> None:
    published = publish_world(valkey, world)
    lists = lists_in(valkey, published, "g")
    assert {user: found.ids.tolist() for user, found in lists.items()} == {"70": [1, 2], "71": [4]}


def test_a_list_is_shorter_than_asked_for_only_when_the_catalogue_is(
    valkey: redis.Redis, world: World
) -> None:
    published = publish_world(valkey, world, n=100)
    for user, found in lists_in(valkey, published, "u").items():
        heard = world.heard_by(int(user))
        known = set(world.champion.model.tracks.tolist())
        candidates = known if heard & known else set(world.catalogue.tracks.tolist())
        assert set(found.ids.tolist()) == candidates - heard - set(world.WITHDRAWN)


def test_blocks_of_any_size_give_the_same_lists(
    valkey: redis.Redis, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = lists_in(valkey, publish_world(valkey, world), "u")
    monkeypatch.setattr(rankings, "_SCORES_AT_ONCE", 16 * 40)
    in_blocks = lists_in(valkey, publish_world(valkey, world), "u")
    assert {user: found.ids.tolist() for user, found in whole.items()} == {
        user: found.ids.tolist() for user, found in in_blocks.items()
    }


def test_what_was_written_is_counted(valkey: redis.Redis, world: World) -> None:
    published = publish_world(valkey, world)
    generation = read_current(valkey, NAMESPACE)
    assert generation == published.generation
    assert generation.name == "v3-2026-11-22-1"
    assert generation.as_of == AS_OF
    assert generation.matrix_fingerprint == world.matrix.fingerprint
    assert generation.keys == {"u": 61, "r": 60, "g": 2, "t": 40, "p": 3}
    assert published.users.entries == 61 * N
    assert published.users.bytes == 61 * (8 + N * 6)
    assert published.popular.keys == 3


def test_progress_is_told_of_many_users_only(
    valkey: redis.Redis, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def publish_and_listen() -> None:
        publish_generation(
            valkey,
            NAMESPACE,
            champion=world.champion,
            matrix=world.matrix,
            catalogue=world.catalogue,
            tell=told.append,
            list_length=N,
        )

    publish_and_listen()
    assert told == []
    monkeypatch.setattr(publish, "_TELL_FROM", 1)
    monkeypatch.setattr(rankings, "_SCORES_AT_ONCE", 16 * 40)
    publish_and_listen()
    assert [line.split(" users")[0] for line in told] == [
        "16 of 61", "32 of 61", "48 of 61", "60 of 61", "61 of 61",
    ]  # fmt: skip


def test_a_matrix_made_otherwise_than_the_champion_needs_is_refused(
    valkey: redis.Redis, world: World
) -> None:
    other = replace(world.matrix, parameters=MatrixParameters(weighting="binary"))
    with pytest.raises(NothingToDo, match="user_item_matrix"):
        publish_world(valkey, replace(world, matrix=other))
    assert read_current(valkey, NAMESPACE) is None


@given(
    ranked=st.lists(st.integers(1, 60), unique=True, max_size=40),
    heard=st.sets(st.integers(1, 60), max_size=40),
    n=st.integers(1, 20),
)
def test_top_unheard_is_the_ranking_without_what_was_heard(
    ranked: list[int], heard: set[int], n: int
) -> None:
    ids = np.array(ranked, dtype=np.int64)
    best = top_unheard(ids, np.array(sorted(heard), dtype=np.int64), n)
    assert ids[best].tolist() == [track for track in ranked if track not in heard][:n]


@given(
    counts=st.dictionaries(st.integers(1, 30), st.integers(0, 4), min_size=1),
    pairs=st.sets(st.tuples(st.integers(1, 4), st.integers(1, 30))),
    n=st.integers(1, 6),
)
def test_the_top_of_a_genre_is_the_ranking_of_its_tracks(
    counts: dict[int, int], pairs: set[tuple[int, int]], n: int
) -> None:
    ranking = sorted(counts, key=lambda track: (-counts[track], track))
    ranked = pl.DataFrame(
        {"track_id": ranking, "listeners": [counts[track] for track in ranking]},
        schema={"track_id": pl.Int64, "listeners": pl.Float32},
    )
    genres = pl.DataFrame(
        sorted(pairs), schema={"genre_id": pl.Int64, "track_id": pl.Int64}, orient="row"
    )
    top = top_of_genres(ranked, genres, n)
    found = {
        genre: top.filter(pl.col("genre_id") == genre)["track_id"].to_list()
        for genre in range(1, 5)
    }
    assert found == {
        genre: [track for track in ranking if (genre, track) in pairs][:n] for genre in range(1, 5)
    }


@pytest.mark.parametrize("algorithm", ["als", "popularity"])
def test_withdrawn_users_have_no_list_and_no_stated_genres(
    valkey: redis.Redis, world: World, algorithm: str
) -> None:
    gone = np.array([5, World.NEWCOMER, 70])
    world = replace(world, catalogue=replace(world.catalogue, withdrawn_users=gone))
    published = publish_world(valkey, world.under(algorithm))
    owners = {int(user) for user in lists_in(valkey, published, "u")}
    assert owners == set(range(1, 61)) - {5}
    assert set(lists_in(valkey, published, "g")) == {"71"}
    assert published.users_by_tier[algorithm] == published.users.keys == 59
    matrix, catalogue, champion = world.matrix, world.catalogue, world.under(algorithm).champion
    found = inspect_generation(
        valkey,
        NAMESPACE,
        published.generation,
        champion=champion,
        matrix=matrix,
        catalogue=catalogue,
    )
    assert all(judgement.passed for judgement in judge(found).values())


def features_of(world: World) -> pl.DataFrame:
    """140-149 are young and unheard; 149 is of the taste of odd users."""
    tracks = world.catalogue.tracks.tolist() + list(world.WITHDRAWN)
    return pl.DataFrame(
        [
            (
                track,
                "one" if track < 120 or track == World.NEVER_HEARD else "other",
                ["pop"],
                5,
                0 if track >= 140 else 20,
            )
            for track in tracks
        ],
        schema=["track_id", "artist", "genres", "age_days", "listeners"],
        orient="row",
    )


def releases_of(world: World) -> NewReleases:
    """The playable of 140-149, which the model does not know."""
    share = ReleaseParameters(first=4, every=3)
    found = NewReleases.find(world.champion.model, features_of(world), share)
    return found.without(world.catalogue.withdrawn)


def test_new_releases_have_places_in_the_lists_of_who_als_knows(
    valkey: redis.Redis, world: World
) -> None:
    plain = publish_world(valkey, world)
    kinds: tuple[Kind, ...] = ("u", "r", "p", "g")
    expected = {kind: lists_in(valkey, plain, kind) for kind in kinds}
    releases = releases_of(world)
    assert set(releases.tracks.tolist()) == set(range(140, 150)) - set(world.WITHDRAWN)
    published = publish_world(valkey, world, releases=releases)
    assert published.users_by_tier == plain.users_by_tier
    assert published.users.entries == plain.users.entries
    with_any = 0
    for kind in kinds[:2]:
        found = lists_in(valkey, published, kind)
        assert set(found) == set(expected[kind])
        for user, own in found.items():
            fresh = np.isin(own.ids, releases.tracks)
            if int(user) == World.NEWCOMER:
                assert own.ids.tolist() == expected[kind][user].ids.tolist()
                continue
            assert np.flatnonzero(fresh).tolist() == [3, 6, 9][: fresh.sum()]
            before = expected[kind][user].ids
            assert own.ids[~fresh].tolist() == before[: N - fresh.sum()].tolist()
            assert not set(own.ids[fresh].tolist()) & (
                world.heard_by(int(user)) | set(world.WITHDRAWN)
            )
            with_any += bool(fresh.any())
    assert with_any > 100
    for kind in kinds[2:]:
        same = lists_in(valkey, published, kind)
        assert {owner: found.ids.tolist() for owner, found in same.items()} == {
            owner: found.ids.tolist() for owner, found in expected[kind].items()
        }


def test_each_new_release_that_can_be_played_has_similar_tracks(
    valkey: redis.Redis, world: World
) -> None:
    published = publish_world(valkey, world, releases=releases_of(world))
    lists = lists_in(valkey, published, "t")
    known = world.champion.model.tracks.tolist()
    fresh = set(range(140, 150)) - set(world.WITHDRAWN)
    assert {int(track) for track in lists} == {*known, *fresh}
    found = lists[str(World.NEVER_HEARD)]
    assert len(found.ids) == N
    assert not {World.NEVER_HEARD, *world.WITHDRAWN} & set(found.ids.tolist())
    assert (found.ids < 120).mean() > 0.9


def test_what_is_published_with_new_releases_passes_every_check(
    valkey: redis.Redis, world: World
) -> None:
    world = told_apart(world)
    published = publish_world(valkey, world, releases=releases_of(world))
    found = inspect_world(valkey, world, published)
    assert set(found.new_tracks.lists) == set(range(140, 150)) - set(world.WITHDRAWN)
    assert set(found.new_tracks.lists) < set(found.fresh_tracks)
    assert failed(found) == set()


def inspect_world(client: redis.Redis, world: World, published: Publication) -> Inspection:
    return inspect_generation(
        client,
        NAMESPACE,
        published.generation,
        champion=world.champion,
        matrix=world.matrix,
        catalogue=world.catalogue,
        releases=ReleasesRead(releases_of(world), features_of(world)),
    )


def failed(found: Inspection) -> set[tuple[str, str]]:
    return {check for check, judgement in judge(found).items() if not judgement.passed}


@pytest.mark.parametrize(
    ("harm", "expected"),
    [
        ("another track's", "lists_agree_with_fresh_ones"),
        ("upside down", "lists_agree_with_fresh_ones"),
        ("cut short", "lists_agree_with_fresh_ones"),
        ("damaged", "every_track_has_a_list"),
        ("gone", "every_track_has_a_list"),
    ],
)
def test_a_wrong_list_of_a_new_release_fails_the_check_of_similar_tracks(
    valkey: redis.Redis, world: World, harm: str, expected: str
) -> None:
    world = told_apart(world)
    published = publish_world(valkey, world, releases=releases_of(world))
    key = key_of(NAMESPACE, published.generation.name, "t", World.NEVER_HEARD)
    value = valkey.get(key)
    assert isinstance(value, bytes)
    own = decode_list(value)
    if harm == "another track's":
        other = valkey.get(key_of(NAMESPACE, published.generation.name, "t", 142))
        assert isinstance(other, bytes)
        valkey.set(key, other)
    elif harm == "upside down":
        valkey.set(key, encode_list(own.ids[::-1], own.scores))
    elif harm == "cut short":
        valkey.set(key, encode_list(own.ids[:-2], own.scores[:-2]))
    elif harm == "damaged":
        valkey.set(key, value[:-1])
    else:
        valkey.delete(key)
    assert failed(inspect_world(valkey, world, published)) == {("similar_tracks", expected)}


def test_factors_that_were_made_wrong_fail_the_check_of_similar_tracks(
    valkey: redis.Redis, world: World
) -> None:
    """What is checked by does not come from the code that publishes."""
    world = told_apart(world)
    right = releases_of(world)
    wrong = replace(right, directions=right.directions[:, ::-1].copy())
    published = publish_world(valkey, world, releases=wrong)
    found = failed(inspect_world(valkey, world, published))
    assert ("similar_tracks", "lists_agree_with_fresh_ones") in found


def test_a_champion_that_lost_to_popularity_keeps_no_place(
    valkey: redis.Redis, world: World
) -> None:
    lost = world.under("popularity")
    plain = lists_in(valkey, publish_world(valkey, lost), "u")
    found = lists_in(valkey, publish_world(valkey, lost, releases=releases_of(world)), "u")
    assert {user: own.ids.tolist() for user, own in found.items()} == {
        user: own.ids.tolist() for user, own in plain.items()
    }
