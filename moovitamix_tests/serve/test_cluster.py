"""On a Redis Cluster lists are published, read and erased, wherever their slots are."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import cast

import msgspec
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from moovitamix.errors import StoreUnavailable
from moovitamix.resources import Cache
from moovitamix.serve.generations import TIME_TO_LIVE, meta_key, read_current
from moovitamix.serve.life import living, renew, switch_to
from moovitamix.serve.people import erase_keys
from moovitamix.serve.publish import Publication, publish_generation
from moovitamix.serve.recommender import Recommender
from moovitamix_tests.serve.world import NAMESPACE, World
from moovitamix_tests.valkey_cluster import NODES, running_cluster


@pytest.fixture
def cluster(cluster_url: str) -> Iterator[redis.Redis]:
    """A client as the stages get it, of the session's cluster, which is empty."""
    with Cache(url=cluster_url, namespace=NAMESPACE).connect() as client:
        client.flushall()
        yield client


def publish(client: redis.Redis, world: World) -> Publication:
    return publish_generation(
        client,
        NAMESPACE,
        champion=world.champion,
        matrix=world.matrix,
        catalogue=world.catalogue,
        tell=lambda _: None,
        list_length=30,
    )


def test_a_node_is_found_out_to_be_one_of_a_cluster(cluster: redis.Redis) -> None:
    assert isinstance(cast("object", cluster), redis.RedisCluster)


def test_a_server_of_its_own_is_no_cluster(valkey_url: str, valkey: redis.Redis) -> None:
    with Cache(url=valkey_url, namespace=NAMESPACE).connect() as client:
        assert isinstance(client, redis.Redis)
        assert client.dbsize() == valkey.dbsize() == 0


def test_the_keys_of_a_generation_are_on_all_nodes(cluster: redis.Redis, world: World) -> None:
    published = publish(cluster, world)

    of_nodes = cast("redis.RedisCluster", cluster)
    ours = f"{NAMESPACE}:{published.generation.name}:*"
    held = [
        sum(1 for _ in of_nodes.scan_iter(ours, target_nodes=node))
        for node in of_nodes.get_primaries()  # type: ignore[no-untyped-call]  # theirs
    ]
    assert len(held) == NODES
    assert all(held)
    assert sum(held) == sum(published.generation.keys.values()) + 1


def test_every_reader_is_answered_as_from_one_server(
    cluster: redis.Redis, valkey: redis.Redis, world: World
) -> None:
    publish(cluster, world)
    publish(valkey, world)
    there, here = Recommender(cluster, NAMESPACE), Recommender(valkey, NAMESPACE)

    for user in (5, World.NEWCOMER, 70, 71, 999_999):
        for repeats in (False, True):
            answer = there.recommend(user, repeats=repeats)
            assert answer == here.recommend(user, repeats=repeats)
            assert answer.items
    assert there.similar(110) == here.similar(110)
    assert there.popular(1) == here.popular(1)


def test_an_erased_user_is_gone_from_every_node_and_generation(
    cluster: redis.Redis, world: World
) -> None:
    former, present = (publish(cluster, world).generation for _ in range(2))

    removed = erase_keys(cluster, NAMESPACE, {5, 70}, {})

    assert removed == 6  # `u:` and `r:` of one, `g:` of the other, twice
    for user in (5, 70):
        assert list(cluster.scan_iter(f"{NAMESPACE}:*:[urg]:{user}")) == []
    assert Recommender(cluster, NAMESPACE).recommend(5).tier == "popular"
    now = read_current(cluster, NAMESPACE)
    assert now is not None
    assert now.name == present.name != former.name
    assert now.keys["u"] == present.keys["u"] - 1


def test_a_cluster_that_goes_away_is_said_to_be_unavailable(tmp_path: Path, world: World) -> None:
    with (
        running_cluster(tmp_path) as url,
        Cache(url=url, namespace=NAMESPACE).connect() as client,
    ):
        publish(client, world)
        reader = Recommender(client, NAMESPACE)
        assert reader.recommend(5).items
        of_nodes = cast("redis.RedisCluster", client)
        for node in of_nodes.get_primaries():  # type: ignore[no-untyped-call]  # theirs
            with redis.Redis(port=int(node.port), retry=Retry(NoBackoff(), 0)) as server:
                server.shutdown(nosave=True)

        with pytest.raises(StoreUnavailable, match="doctor"):
            reader.recommend(5)


def test_a_switch_extends_the_life_of_the_generation_before(
    cluster: redis.Redis, world: World
) -> None:
    first = publish(cluster, world).generation
    key = meta_key(NAMESPACE, first.name)
    soon = first.published_at + timedelta(minutes=10)
    aged = msgspec.structs.replace(first, expires_at=soon)
    cluster.set(key, msgspec.json.encode(aged), exat=int(soon.timestamp()))

    publish(cluster, world)

    assert cluster.ttl(key) > 3_600


def test_what_is_served_is_renewed_and_replaced_by_a_former_one_on_a_cluster_too(
    cluster: redis.Redis, world: World
) -> None:
    first, second = (publish(cluster, world).generation for _ in range(2))
    assert [one.name for one in living(cluster, NAMESPACE)] == [second.name, first.name]
    renewal = renew(cluster, NAMESPACE, below=2 * TIME_TO_LIVE)
    assert (renewal.renewed, renewal.missing) == (True, 0)
    again = switch_to(cluster, NAMESPACE, first)
    assert read_current(cluster, NAMESPACE) == again
    assert again.name == first.name
