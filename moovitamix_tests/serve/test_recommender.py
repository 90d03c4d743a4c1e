"""A reader is always answered, by the best tier there is, from one generation."""

from __future__ import annotations

from typing import cast

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from moovitamix.errors import NothingToDo, StoreUnavailable
from moovitamix.serve.codec import decode_list
from moovitamix.serve.generations import current_key, key_of
from moovitamix.serve.publish import Publication, publish_generation
from moovitamix.serve.recommender import Recommender
from moovitamix_tests.serve.world import NAMESPACE, World


@pytest.fixture
def published(valkey: redis.Redis, world: World) -> Publication:
    return publish_generation(
        valkey,
        NAMESPACE,
        champion=world.champion,
        matrix=world.matrix,
        catalogue=world.catalogue,
        tell=lambda _: None,
        list_length=30,
    )


@pytest.fixture
def recommender(valkey: redis.Redis, published: Publication) -> Recommender:
    assert published.generation.name
    return Recommender(valkey, NAMESPACE)


def damage(client: redis.Redis, published: Publication, kind: str, item: int | str) -> None:
    key = key_of(NAMESPACE, published.generation.name, kind, item)  # type: ignore[arg-type]
    value = client.get(key)
    assert isinstance(value, bytes)
    client.set(key, value[:-1], keepttl=True)


def test_a_user_with_listens_gets_their_own_list(
    valkey: redis.Redis, published: Publication, recommender: Recommender
) -> None:
    answer = recommender.recommend(5, limit=7)
    value = valkey.get(key_of(NAMESPACE, published.generation.name, "u", 5))
    assert isinstance(value, bytes)
    assert [item.track_id for item in answer.items] == decode_list(value).ids[:7].tolist()
    assert (answer.user_id, answer.tier, answer.model_version) == (5, "cached top-N", 3)
    assert answer.generation == published.generation.name


def test_repeats_are_answered_from_their_own_list_and_without_one_as_if_not_asked_for(
    valkey: redis.Redis, published: Publication, recommender: Recommender, world: World
) -> None:
    answer = recommender.recommend(5, limit=7, repeats=True)
    value = valkey.get(key_of(NAMESPACE, published.generation.name, "r", 5))
    assert isinstance(value, bytes)
    assert [item.track_id for item in answer.items] == decode_list(value).ids[:7].tolist()
    assert {item.track_id for item in answer.items} & world.heard_by(5)
    for user in (World.NEWCOMER, 70, 72):  # no list with repeats: the model does not know them
        assert recommender.recommend(user, repeats=True) == recommender.recommend(user)


def test_a_limit_above_what_is_cached_gives_all_of_it(recommender: Recommender) -> None:
    assert len(recommender.recommend(5, limit=1_000).items) == 30


def test_a_user_without_listens_gets_what_is_popular_in_their_genres_best_first(
    recommender: Recommender,
) -> None:
    answer = recommender.recommend(70, limit=12)
    assert answer.tier == "popular in favourite genres"
    both = {item for genre in (1, 2) for item in recommender.popular(genre, limit=12).items}
    assert answer.items == sorted(both, key=lambda item: (-item.score, item.track_id))[:12]


def test_genres_with_too_few_tracks_are_filled_up_with_popular_ones(
    valkey: redis.Redis, published: Publication, recommender: Recommender
) -> None:
    valkey.delete(key_of(NAMESPACE, published.generation.name, "p", 2))
    answer = recommender.recommend(70, limit=25)
    tracks = [item.track_id for item in answer.items]
    assert len(tracks) == len(set(tracks)) == 25
    assert set(tracks[:19]) == set(range(100, 120)) - {101}
    assert not set(tracks[19:]) & set(range(100, 120))


@pytest.mark.parametrize("user", [71, 72, 999_999])
def test_users_of_whom_nothing_useful_is_known_get_what_is_popular(
    recommender: Recommender, user: int
) -> None:
    answer = recommender.recommend(user, limit=5)
    assert answer.tier == "popular"
    assert answer.items == recommender.popular(limit=5).items
    assert len(answer.items) == 5


def test_a_damaged_list_of_ones_own_falls_to_popular(
    valkey: redis.Redis, published: Publication, recommender: Recommender
) -> None:
    damage(valkey, published, "u", 5)
    answer = recommender.recommend(5)
    assert (answer.tier, len(answer.items)) == ("popular", 20)


def test_damaged_genres_fall_to_popular(
    valkey: redis.Redis, published: Publication, recommender: Recommender
) -> None:
    damage(valkey, published, "p", 1)
    damage(valkey, published, "p", 2)
    assert recommender.recommend(70).tier == "popular"
    assert recommender.popular(1).tier == "popular"


def test_a_damaged_popular_list_gives_an_empty_answer_rather_than_an_error(
    valkey: redis.Redis, published: Publication, recommender: Recommender
) -> None:
    damage(valkey, published, "p", "all")
    assert recommender.recommend(999_999).items == []


def test_similar_tracks_are_answered_and_unknown_ones_have_none(recommender: Recommender) -> None:
    answer = recommender.similar(110, limit=4)
    assert len(answer.items) == 4
    assert all(item.track_id != 110 and -1 <= item.score <= 1.001 for item in answer.items)
    assert recommender.similar(149).items == []


def test_an_unknown_genre_is_answered_by_what_is_popular_over_all(
    recommender: Recommender,
) -> None:
    assert recommender.popular(1).tier == "popular in genre"
    unknown = recommender.popular(77)
    assert (unknown.tier, unknown.items) == ("popular", recommender.popular().items)


def test_without_a_generation_the_reader_says_what_to_run(valkey: redis.Redis) -> None:
    reader = Recommender(valkey, NAMESPACE)
    with pytest.raises(NothingToDo, match="moovitamix run"):
        reader.recommend(1)
    with pytest.raises(NothingToDo, match="moovitamix run"):
        reader.similar(1)
    with pytest.raises(NothingToDo, match="moovitamix run"):
        reader.popular()


def test_a_generation_that_has_expired_counts_as_none(
    valkey: redis.Redis, published: Publication, recommender: Recommender
) -> None:
    for key in valkey.scan_iter(f"{NAMESPACE}:{published.generation.name}:*"):
        valkey.delete(key)
    assert valkey.exists(current_key(NAMESPACE))
    with pytest.raises(NothingToDo, match="moovitamix run"):
        recommender.recommend(5)


def test_a_redis_that_does_not_answer_is_said_to_be_unavailable() -> None:
    nowhere = redis.Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0))
    with pytest.raises(StoreUnavailable, match="doctor"):
        Recommender(nowhere, NAMESPACE).recommend(1)


def test_a_recommendation_takes_two_round_trips(
    valkey: redis.Redis, recommender: Recommender
) -> None:
    def packets() -> int:
        statistics = cast("dict[str, int]", valkey.info("stats"))
        return statistics["total_reads_processed"]

    one_info = -packets() + packets()
    before = packets()
    recommender.recommend(5)
    assert packets() - before - one_info == 2
