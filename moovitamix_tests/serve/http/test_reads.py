"""Reads of one tick are one round trip, and lists of one generation; on a cluster too."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
import redis
from redis.asyncio import Redis, RedisCluster

from moovitamix.errors import StoreUnavailable
from moovitamix.serve.codec import decode_list
from moovitamix.serve.generations import current_key, key_of
from moovitamix.serve.http.breaker import Breaker, BreakerParameters
from moovitamix.serve.http.reads import ListReader, Observer, Wanted
from moovitamix_tests.serve.http.serving import Published
from moovitamix_tests.serve.world import NAMESPACE


class Counting(Observer):
    def __init__(self) -> None:
        self.batches: list[int] = []
        self.failures = 0
        self.states: list[str] = []

    def batch(self, keys: int) -> None:
        self.batches.append(keys)

    def store_failed(self, store: str) -> None:
        assert store == "redis"
        self.failures += 1

    def breaker(self, store: str, state: str) -> None:
        assert store == "redis"
        self.states.append(state)


async def tracks(reader: ListReader, wanted: Sequence[Wanted]) -> list[list[int] | None]:
    found = await reader.read(wanted)
    assert found is not None
    return [None if value is None else decode_list(value).ids.tolist() for value in found[1]]


def held(client: redis.Redis, user: int) -> list[int]:
    name = client.get(current_key(NAMESPACE))
    assert isinstance(name, bytes)
    value = client.get(key_of(NAMESPACE, name.decode(), "u", user))
    assert isinstance(value, bytes)
    ids: list[int] = decode_list(value).ids.tolist()
    return ids


def test_requests_of_one_tick_are_one_round_trip_and_get_their_own_lists(
    published: Published, valkey: redis.Redis, valkey_url: str
) -> None:
    del published
    expected = {user: held(valkey, user) for user in range(1, 41)}

    async def run() -> None:
        observer = Counting()
        reader = ListReader(Redis.from_url(valkey_url), NAMESPACE, observer=observer)
        found = await asyncio.gather(
            *(tracks(reader, [("u", user), ("u", 10**9)]) for user in expected)
        )
        assert found == [[ids, None] for ids in expected.values()]
        assert observer.batches == [2 + 2 * len(expected)]
        await reader.close()

    asyncio.run(run())


def test_a_switch_meanwhile_is_noticed_and_all_lists_are_of_the_new_one(
    published: Published, valkey: redis.Redis, valkey_url: str
) -> None:
    async def run() -> None:
        observer = Counting()
        reader = ListReader(Redis.from_url(valkey_url), NAMESPACE, observer=observer)
        await reader.read([("u", 5)])
        name = published.publish(valkey)
        found = await asyncio.gather(*(reader.read([("u", user)]) for user in range(1, 31)))
        assert {one[0].name for one in found if one is not None} == {name}
        assert observer.batches == [3, 32, 32]
        await reader.close()

    asyncio.run(run())


def test_whatever_goes_wrong_nobody_waits_for_ever(valkey: redis.Redis, valkey_url: str) -> None:
    valkey.set(current_key(NAMESPACE), b"\xff\xfe")

    async def run() -> None:
        reader = ListReader(Redis.from_url(valkey_url), NAMESPACE)
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await reader.read([("u", 5)])
        assert not reader.breaker.closed
        await reader.close()

    asyncio.run(run())


def test_an_open_breaker_lets_nothing_through_and_closes_by_a_probe() -> None:
    async def run() -> None:
        back = asyncio.Event()
        states: list[str] = []
        closed = asyncio.Event()

        async def probe() -> None:
            if not back.is_set():
                back.set()
                raise OSError

        def changed(state: str) -> None:
            states.append(state)
            if state == "closed":
                closed.set()

        parameters = BreakerParameters(failures=2, first_pause=0.001, longest_pause=0.002)
        breaker = Breaker(probe, parameters, changed)
        breaker.failed()
        breaker.succeeded()
        breaker.failed()
        assert states == []
        breaker.failed()
        assert states == ["open"]
        await closed.wait()
        assert states == ["open", "half-open", "open", "half-open", "closed"]
        assert breaker.probes == 2
        await breaker.close()

    asyncio.run(run())


def test_on_a_cluster_reads_are_sent_together(
    published: Published, valkey: redis.Redis, cluster_url: str
) -> None:
    del published
    with redis.RedisCluster.from_url(cluster_url) as client:
        client.flushall()
        for key in valkey.scan_iter(count=1_000, _type="string"):
            client.set(key, valkey.get(key) or b"")
        with pytest.raises(redis.RedisClusterException):
            client.mget([f"{NAMESPACE}:{key}" for key in "abcdefgh"])

    async def run() -> None:
        client: Any = RedisCluster.from_url(cluster_url)
        reader = ListReader(client, NAMESPACE, cluster=True)
        found = await asyncio.gather(*(tracks(reader, [("u", user)]) for user in (5, 6, 7)))
        assert found == [[held(valkey, user)] for user in (5, 6, 7)]
        await reader.close()

    asyncio.run(run())
