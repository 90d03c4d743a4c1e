"""What a user has hidden is in none of their lists: at once, through publications, and by races."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import cast

import numpy as np
import polars as pl
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from moovitamix.recommend.blend import BlendParameters
from moovitamix.recommend.champion import Champion
from moovitamix.resources import Cache
from moovitamix.serve import hides
from moovitamix.serve.codec import decode_list, encode_block, encode_ids, encode_list, without_ids
from moovitamix.serve.generations import (
    TIME_TO_LIVE,
    Generation,
    Kind,
    key_of,
    meta_key,
    read_current,
    roll_key,
)
from moovitamix.serve.hides import hidden_ids, hide_in_cache
from moovitamix.serve.life import renew, switch_to
from moovitamix.serve.people import erase_keys
from moovitamix.serve.publish import publish_generation
from moovitamix.serve.recommender import Recommender
from moovitamix.serve.roll import finished
from moovitamix.warehouse.feedback import PAIRS
from moovitamix_tests.serve.world import NAMESPACE, World

BY_ALS, BY_POPULARITY, COLD = 5, World.NEWCOMER, 72


def pairs(*rows: tuple[int, int]) -> pl.DataFrame:
    return pl.DataFrame(sorted(rows), schema=PAIRS, orient="row")


def publish(
    client: redis.Redis,
    world: World,
    *known: tuple[int, int],
    now: tuple[tuple[int, int], ...] = (),
    champion: Champion | None = None,
    list_length: int = 30,
) -> Generation:
    champion = champion or world.champion
    return publish_generation(
        client,
        NAMESPACE,
        champion=champion,
        matrix=world.matrix,
        recent=world.matrix if champion.blend.own_plays else None,
        catalogue=replace(world.catalogue, hides=pairs(*known)),
        tell=lambda _: None,
        list_length=list_length,
        hides_now=lambda: pairs(*known, *now),
    ).generation


def listed(client: redis.Redis, generation: Generation, kind: Kind, user: int) -> list[int]:
    value = cast("bytes | None", client.get(key_of(NAMESPACE, generation.name, kind, user)))
    assert value is not None
    found: list[int] = decode_list(value).ids.tolist()
    return found


@given(
    st.lists(st.integers(-(1 << 40), 1 << 40), max_size=50, unique=True),
    st.sets(st.integers(0, 49)),
    st.booleans(),
)
def test_what_is_taken_out_of_a_value_leaves_the_rest_bit_for_bit(
    tracks: list[int], places: set[int], exact: bool
) -> None:
    ids = np.array(tracks, dtype=np.int64)
    scores = np.linspace(1, 0, len(ids)).astype(np.float32)
    dropped = np.array([tracks[place] for place in places if place < len(tracks)], dtype=np.int64)
    value = encode_list(ids, scores, exact=exact)
    left, before = decode_list(without_ids(value, dropped)), decode_list(value)
    kept = ~np.isin(ids, dropped)
    assert left.ids.tolist() == before.ids[kept].tolist()
    assert left.scores.tolist() == before.scores[kept].tolist()


def test_a_hide_takes_a_track_out_of_every_generation_and_nothing_else(
    valkey: redis.Redis, world: World
) -> None:
    generations = [publish(valkey, world), publish(valkey, world)]
    before = [listed(valkey, one, "u", BY_ALS) for one in generations]
    others = [listed(valkey, one, "u", 6) for one in generations]
    track = before[0][2]
    for _ in range(2):  # a repeat changes nothing
        assert len(hide_in_cache(valkey, NAMESPACE, BY_ALS, [track])) == 2
        for one, held, theirs in zip(generations, before, others, strict=True):
            assert listed(valkey, one, "u", BY_ALS) == [other for other in held if other != track]
            assert track not in listed(valkey, one, "r", BY_ALS)
            assert listed(valkey, one, "x", BY_ALS) == [track]
            assert listed(valkey, one, "u", 6) == theirs
            life = valkey.ttl(key_of(NAMESPACE, one.name, "u", BY_ALS))
            assert 0 < life <= TIME_TO_LIVE.total_seconds()


def test_a_newer_list_that_comes_in_between_is_kept_and_loses_the_track_too(
    valkey: redis.Redis, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation = publish(valkey, world)
    key = key_of(NAMESPACE, generation.name, "u", BY_ALS)
    track, *_ = listed(valkey, generation, "u", BY_ALS)
    newer = np.array([140, track, 142], dtype=np.int64)
    swap, writes = hides._swap, iter([encode_list(newer, np.array([3.0, 2.0, 1.0]))])

    def others_are_quicker(client: redis.Redis, changed: bytes, *rest: object) -> bool:
        if changed == key:
            for value in writes:
                client.set(key, value, keepttl=True)
        return swap(client, changed, *rest)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(hides, "_swap", others_are_quicker)
    hide_in_cache(valkey, NAMESPACE, BY_ALS, [track])
    assert listed(valkey, generation, "u", BY_ALS) == [140, 142]


def test_what_was_noted_before_stays_noted(valkey: redis.Redis, world: World) -> None:
    generation = publish(valkey, world, (COLD, 104))
    hide_in_cache(valkey, NAMESPACE, COLD, [103])
    hide_in_cache(valkey, NAMESPACE, COLD, [102, 1 << 40])
    assert listed(valkey, generation, "x", COLD) == [102, 103, 104, 1 << 40]


@pytest.mark.parametrize("algorithm", ["als", "popularity"])
@pytest.mark.parametrize("own_plays", [0.0, 1.0])
def test_a_hide_survives_a_publication(
    valkey: redis.Redis, world: World, algorithm: str, own_plays: float
) -> None:
    """Whoever ranks for the user, and whether or not they have heard the track."""
    champion = replace(world.under(algorithm).champion, blend=BlendParameters(own_plays=own_plays))
    plain = publish(valkey, world, champion=champion)
    recommender = Recommender(valkey, NAMESPACE)
    users = (BY_ALS, BY_POPULARITY, COLD, 70)
    hidden = {
        (
            user,
            [item.track_id for item in recommender.recommend(user, repeats=repeats).items][place],
        )
        for user in users
        for place in (0, 7)
        for repeats in (False, True)
    }
    generation = publish(valkey, world, *hidden, champion=champion)
    for user in users:
        own = {track for one, track in hidden if one == user}
        for repeats in (False, True):
            found = recommender.recommend(user, 20, repeats=repeats).items
            assert not own & {item.track_id for item in found}
            assert len(found) == 20
        value = cast("bytes | None", valkey.get(key_of(NAMESPACE, generation.name, "x", user)))
        assert hidden_ids(value) == own
    assert listed(valkey, generation, "u", 6) == listed(valkey, plain, "u", 6)
    assert generation.keys == plain.keys


def test_a_hide_while_lists_are_written_is_taken_out_before_they_are_served(
    valkey: redis.Redis, world: World
) -> None:
    track, other = listed(valkey, publish(valkey, world), "u", BY_ALS)[:2]
    generation = publish(
        valkey, world, (BY_ALS, other), now=((BY_ALS, track), (COLD, 103), (999, 103))
    )
    assert not {track, other} & set(listed(valkey, generation, "u", BY_ALS))
    assert set(listed(valkey, generation, "x", BY_ALS)) == {track, other}
    assert listed(valkey, generation, "x", COLD) == listed(valkey, generation, "x", 999) == [103]


def test_a_hide_between_the_last_reading_and_the_switch_finds_the_new_lists(
    valkey: redis.Redis, world: World
) -> None:
    """Committed when the publication has read for the last time, so it has to be on the roll."""
    track, *_ = listed(valkey, publish(valkey, world), "u", BY_ALS)

    def read_and_hide() -> pl.DataFrame:
        assert len(hide_in_cache(valkey, NAMESPACE, BY_ALS, [track])) == 2
        return pairs()

    generation = publish_generation(
        valkey,
        NAMESPACE,
        champion=world.champion,
        matrix=world.matrix,
        catalogue=world.catalogue,
        tell=lambda _: None,
        list_length=30,
        hides_now=read_and_hide,
    ).generation
    assert track not in listed(valkey, generation, "u", BY_ALS)


def test_a_publication_that_cannot_read_what_is_hidden_is_not_served(
    valkey: redis.Redis, world: World
) -> None:
    served = publish(valkey, world)

    def gone() -> pl.DataFrame:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        publish_generation(
            valkey,
            NAMESPACE,
            champion=world.champion,
            matrix=world.matrix,
            catalogue=world.catalogue,
            tell=lambda _: None,
            hides_now=gone,
        )
    assert read_current(valkey, NAMESPACE) == served
    assert [one.name for one in finished(valkey, NAMESPACE)] == [served.name]
    assert not list(valkey.scan_iter(f"{NAMESPACE}:v*-2:*"))


def test_what_is_noted_is_not_counted_and_lives_as_long(valkey: redis.Redis, world: World) -> None:
    first = publish(valkey, world, (COLD, 103))
    hide_in_cache(valkey, NAMESPACE, BY_ALS, [103])
    renewed = renew(valkey, NAMESPACE, below=timedelta(days=2))
    assert renewed.renewed
    assert renewed.missing == 0
    for user in (COLD, BY_ALS):
        life = valkey.ttl(key_of(NAMESPACE, first.name, "x", user))
        assert life > TIME_TO_LIVE.total_seconds()
    second = publish(valkey, world)
    switch_to(valkey, NAMESPACE, finished_as(valkey, first.name))  # counts what is there
    assert read_current(valkey, NAMESPACE) != second
    valkey.delete(key_of(NAMESPACE, first.name, "u", 6))
    missing = renew(valkey, NAMESPACE, below=timedelta(days=9)).missing
    assert missing == 1


def finished_as(client: redis.Redis, name: str) -> Generation:
    (found,) = [one for one in finished(client, NAMESPACE) if one.name == name]
    return found


def test_the_roll_forgets_what_has_expired_and_is_made_anew_when_lost(
    valkey: redis.Redis, world: World
) -> None:
    names = [publish(valkey, world).name for _ in range(2)]
    valkey.delete(roll_key(NAMESPACE))
    assert {one.name for one in finished(valkey, NAMESPACE)} == set(names)
    valkey.delete(meta_key(NAMESPACE, names[0]))
    names = [names[1], publish(valkey, world).name]
    assert {one.name for one in finished(valkey, NAMESPACE)} == set(names)
    assert cast("set[bytes]", valkey.smembers(roll_key(NAMESPACE))) == {n.encode() for n in names}


def test_a_damaged_list_holds_up_no_hide(valkey: redis.Redis, world: World) -> None:
    generation = publish(valkey, world)
    valkey.set(key_of(NAMESPACE, generation.name, "u", BY_ALS), b"rubbish")
    valkey.set(key_of(NAMESPACE, generation.name, "x", BY_ALS), b"rubbish")
    hide_in_cache(valkey, NAMESPACE, BY_ALS, [103])
    assert listed(valkey, generation, "x", BY_ALS) == [103]


def test_erasing_a_user_takes_what_is_noted_of_them(valkey: redis.Redis, world: World) -> None:
    generation = publish(valkey, world, (COLD, 103), (BY_ALS, 104))
    erase_keys(valkey, NAMESPACE, [COLD], {})
    assert [key.rpartition(b":")[2] for key in valkey.scan_iter(f"{NAMESPACE}:*:x:*")] == [b"5"]
    assert read_current(valkey, NAMESPACE) == generation


@pytest.fixture
def cluster(cluster_url: str) -> Iterator[redis.Redis]:
    with Cache(url=cluster_url, namespace=NAMESPACE).connect() as client:
        client.flushall()
        yield client


def test_on_a_cluster_a_hide_finds_all_keys(cluster: redis.Redis, world: World) -> None:
    generations = [publish(cluster, world), publish(cluster, world, now=((COLD, 103),))]
    track, *_ = listed(cluster, generations[0], "u", BY_ALS)
    hide_in_cache(cluster, NAMESPACE, BY_ALS, [track])
    for one in generations:
        assert track not in listed(cluster, one, "u", BY_ALS)
        assert listed(cluster, one, "x", BY_ALS) == [track]
    assert listed(cluster, generations[1], "x", COLD) == [103]


def test_a_block_and_a_list_of_ids_have_one_codec() -> None:
    ids = np.array([3, 1 << 40, 5], dtype=np.int64)
    assert decode_list(encode_ids(ids)).ids.tolist() == ids.tolist()
    (block,) = encode_block(ids[None], np.zeros((1, 3)))
    assert decode_list(without_ids(block, ids)).ids.tolist() == []
