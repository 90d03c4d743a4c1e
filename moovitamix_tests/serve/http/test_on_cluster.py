"""The API as a whole on a Redis Cluster: what it answers, takes in and forgets is the same."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import httpx
import pytest
import redis

from moovitamix.recommend.arms import arm_of
from moovitamix.resources import Cache
from moovitamix.serve.arms import served_generations, withdraw_experiment
from moovitamix.serve.http.app import Api, Stores
from moovitamix_tests.serve.http.serving import Published, refreshed, with_client
from moovitamix_tests.serve.http.test_feedback import event
from moovitamix_tests.serve.http.test_listens import listed, listen, post
from moovitamix_tests.serve.tried import SALT, Versions, start
from moovitamix_tests.serve.world import NAMESPACE

READS = [
    *(f"/users/{user}/recommendations?limit=10" for user in (5, 6, 70, 999)),
    "/users/6/recommendations?genre=1&limit=10",
    "/users/5/recommendations?repeats=true&per_artist=2",
    "/users/5/recommendations?explain=true&limit=3",
    "/tracks/102/similar?limit=5",
    "/tracks/popular?genre=2",
]


@pytest.fixture
def cluster(fresh: Published, cluster_url: str) -> Iterator[tuple[Published, redis.Redis]]:
    """The small world, published on a cluster of three nodes too; and a client of it."""
    cache = Cache(url=cluster_url, namespace=NAMESPACE)
    stores = Stores(
        warehouse=fresh.stores.warehouse, lake=fresh.stores.lake, cache=cache, cluster=True
    )
    with cache.connect() as client:
        client.flushall()
        fresh.publish(client)
        yield replace(fresh, stores=stores), client


def told(answer: httpx.Response) -> dict[str, Any]:
    """An answer without what tells one publication from another."""
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return {key: value for key, value in found.items() if key not in {"generation", "generated_at"}}


def test_every_answer_is_that_of_one_server(
    fresh: Published, cluster: tuple[Published, redis.Redis]
) -> None:
    found: list[list[dict[str, Any]]] = []

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        # At once, so that many keys of many nodes are asked for together.
        found.append([told(one) for one in await asyncio.gather(*map(client.get, READS))])

    with_client(fresh.stores, fresh.home, ask)
    with_client(cluster[0].stores, fresh.home, ask)
    alone, spread = found
    assert spread == alone
    assert {one["tier"] for one in spread} > {"cached top-N", "cached similar", "popular"}


def test_what_is_heard_and_hidden_is_gone_from_the_next_answer_and_an_erased_user_from_all(
    cluster: tuple[Published, redis.Redis],
) -> None:
    published, redis_cluster = cluster

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        heard, hidden, *_ = await listed(client, 5)
        assert (await post(client, listen(5, heard))).status_code == 202
        await asyncio.to_thread(api.freshener.work)
        assert heard not in await listed(client, 5)
        answer = await client.post("/feedback", json=event("hide", user=5, track=hidden))
        assert answer.status_code == 202
        for query in ("", "&genre=1", "&repeats=true"):
            assert hidden not in await listed(client, 5, query)
        newcomer = await client.get("/users/800/recommendations")
        assert newcomer.json()["tier"] == "popular"
        assert (await post(client, listen(800, 110, 111))).status_code == 202
        await asyncio.to_thread(api.freshener.work)
        assert (await client.get("/users/800/recommendations")).json()["tier"] == "cached top-N"
        assert (await client.delete("/users/5")).json()["state"] == "erased"
        assert (await client.get("/users/5/recommendations")).json()["tier"] == "popular"

    with_client(published.stores, published.home, ask)
    assert list(redis_cluster.scan_iter(f"{NAMESPACE}:*:[urgxh]:5")) == []


def test_an_experiment_divides_users_and_is_folded_in_for_both_arms(
    cluster: tuple[Published, redis.Redis], rivals: Versions
) -> None:
    published, redis_cluster = cluster
    stores = published.stores
    start(stores.warehouse, stores.lake, redis_cluster, rivals.alike)
    served = served_generations(redis_cluster, NAMESPACE)
    of_arm = {
        arm: next(user for user in range(1, 61) if arm_of(user, SALT, 0.5) == arm)
        for arm in ("champion", "challenger")
    }

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        await asyncio.to_thread(refreshed, api)
        for arm, user in of_arm.items():
            answer = told(await client.get(f"/users/{user}/recommendations"))
            assert answer["experiment"]["arm"] == arm
            assert answer["model_version"] == served[cast("Any", arm)].model_version
            heard = answer["items"][0]["track_id"]
            assert (await post(client, listen(user, heard))).status_code == 202
            await asyncio.to_thread(api.freshener.work)
            assert heard not in await listed(client, user)
        withdraw_experiment(redis_cluster, NAMESPACE)
        answer = told(await client.get(f"/users/{of_arm['challenger']}/recommendations"))
        assert "experiment" not in answer

    with_client(stores, published.home, ask)
