"""While an experiment runs each user is answered from the generation of their arm, and told so."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
import redis
from redis.asyncio import Redis

from moovitamix.recommend.arms import Arm, arm_of
from moovitamix.serve.arms import served_generations, withdraw_experiment
from moovitamix.serve.codec import decode_list
from moovitamix.serve.experiment import republish_experiment
from moovitamix.serve.generations import Generation, key_of, meta_key
from moovitamix.serve.http.app import Api
from moovitamix.serve.http.reads import ListReader, Observer
from moovitamix_tests.serve.http.serving import Published, with_client
from moovitamix_tests.serve.tried import SALT, Versions, start
from moovitamix_tests.serve.world import NAMESPACE

USERS = range(1, 61)


@pytest.fixture
def tried(fresh: Published, rivals: Versions, valkey: redis.Redis) -> Published:
    """An experiment runs whose challenger needs the current matrix."""
    start(fresh.stores.warehouse, fresh.stores.lake, valkey, rivals.alike)
    return fresh


def arm(user: int) -> Arm:
    return arm_of(user, SALT, 0.5)


def held(client: redis.Redis, generation: Generation, user: int) -> list[int]:
    value = client.get(key_of(NAMESPACE, generation.name, "u", user))
    assert isinstance(value, bytes)
    found: list[int] = decode_list(value).ids.tolist()
    return found


async def get(client: httpx.AsyncClient, path: str) -> dict[str, Any]:
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def ids(answer: dict[str, Any]) -> list[int]:
    return [item["track_id"] for item in answer["items"]]


def test_each_user_gets_the_list_of_their_arm_and_is_told_both_generations(
    tried: Published, valkey: redis.Redis
) -> None:
    served = served_generations(valkey, NAMESPACE)
    assert {arm(user) for user in USERS} == set(served) == {"champion", "challenger"}
    differing = 0

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        nonlocal differing
        del api
        for user in USERS:
            answer = await get(client, f"/users/{user}/recommendations?limit=10")
            own = served[arm(user)]
            assert ids(answer) == held(valkey, own, user)[:10]
            assert answer["generation"] == own.name
            assert answer["model_version"] == own.model_version
            assert answer["experiment"] == {
                "id": 1,
                "arm": arm(user),
                "champion": served["champion"].name,
                "challenger": served["challenger"].name,
            }
            assert "degraded" not in answer
            other = served["champion" if arm(user) == "challenger" else "challenger"]
            differing += held(valkey, other, user) != held(valkey, own, user)

    with_client(tried.stores, tried.home, ask)
    assert differing > len(USERS) / 2  # the versions do rank differently


def test_what_is_not_of_a_user_stays_with_the_champion(
    tried: Published, valkey: redis.Redis
) -> None:
    champion = served_generations(valkey, NAMESPACE)["champion"].name

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        for path in ("/tracks/105/similar", "/tracks/popular"):
            answer = await get(client, path)
            assert answer["generation"] == champion
            assert "experiment" not in answer

    with_client(tried.stores, tried.home, ask)


def test_an_experiment_that_begins_or_ends_is_noticed_by_the_next_request(
    fresh: Published, rivals: Versions, valkey: redis.Redis
) -> None:
    user = next(user for user in USERS if arm(user) == "challenger")

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        path = f"/users/{user}/recommendations"
        assert "experiment" not in await get(client, path)
        stores = fresh.stores
        await asyncio.to_thread(start, stores.warehouse, stores.lake, valkey, rivals.alike)
        answer = await get(client, path)
        assert answer["experiment"]["arm"] == "challenger"
        assert answer["model_version"] == rivals.alike
        withdraw_experiment(valkey, NAMESPACE)
        answer = await get(client, path)
        assert "experiment" not in answer
        assert answer["model_version"] == fresh.world.champion.version

    with_client(fresh.stores, fresh.home, ask)


def test_a_challenger_that_is_gone_is_answered_for_by_the_champion_and_marked(
    tried: Published, valkey: redis.Redis
) -> None:
    served = served_generations(valkey, NAMESPACE)
    user = next(user for user in USERS if arm(user) == "challenger")
    other = next(user for user in USERS if arm(user) == "champion")

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        assert (await get(client, f"/users/{user}/recommendations"))["experiment"]["challenger"]
        described = valkey.get(meta_key(NAMESPACE, served["challenger"].name))
        valkey.delete(meta_key(NAMESPACE, served["challenger"].name))
        answer = await get(client, f"/users/{user}/recommendations")
        assert ids(answer) == held(valkey, served["champion"], user)[:20]
        assert answer["generation"] == served["champion"].name
        assert answer["experiment"]["arm"] == "challenger"
        assert answer["experiment"]["challenger"] is None
        assert answer["degraded"] == ["challenger"]
        assert "degraded" not in await get(client, f"/users/{other}/recommendations")
        assert isinstance(described, bytes)
        valkey.set(meta_key(NAMESPACE, served["challenger"].name), described)
        answer = await get(client, f"/users/{user}/recommendations")
        assert answer["generation"] == served["challenger"].name
        assert "degraded" not in answer

    with_client(tried.stores, tried.home, ask)


@pytest.mark.parametrize("which", ["alike", "other"])
def test_the_challengers_arm_is_ranked_live_by_the_challengers_factors(
    fresh: Published, rivals: Versions, valkey: redis.Redis, which: str
) -> None:
    """With its own matrix, too, where that is not the champion's."""
    version = getattr(rivals, which)
    start(fresh.stores.warehouse, fresh.stores.lake, valkey, version)
    served = served_generations(valkey, NAMESPACE)

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        assert api.world.live_challenger is not None
        for user in (1, 2, 3, 4, 5, 6):
            generation = served[arm(user)]
            expected = held(valkey, generation, user)
            valkey.delete(key_of(NAMESPACE, generation.name, "u", user))
            answer = await get(client, f"/users/{user}/recommendations?limit=20")
            assert answer["tier"] == "live fold-in"
            assert ids(answer) == expected[:20]
            assert "degraded" not in answer
        api.world.live_challenger = None
        user = next(user for user in (1, 2, 3, 4, 5, 6) if arm(user) == "challenger")
        answer = await get(client, f"/users/{user}/recommendations")
        assert answer["degraded"] == ["challenger"]

    with_client(fresh.stores, fresh.home, ask)


def test_users_of_both_arms_are_read_in_one_round_trip(
    tried: Published, valkey: redis.Redis, valkey_url: str
) -> None:
    served = served_generations(valkey, NAMESPACE)
    batches: list[int] = []

    class Counting(Observer):
        def batch(self, keys: int) -> None:
            batches.append(keys)

    async def run() -> None:
        reader = ListReader(Redis.from_url(valkey_url), NAMESPACE, observer=Counting())
        found = await asyncio.gather(*(reader.read([("u", user)], user) for user in USERS))
        for user, one in zip(USERS, found, strict=True):
            assert one is not None
            assert one.generation.name == served[arm(user)].name
            assert one.values[0] is not None
            assert decode_list(one.values[0]).ids.tolist() == held(valkey, served[arm(user)], user)
        await reader.close()

    asyncio.run(run())
    assert batches == [3 + len(USERS)]
    del tried


def test_at_every_point_of_a_publication_of_both_arms_an_answer_is_of_one_generation(
    tried: Published, valkey: redis.Redis, valkey_url: str
) -> None:
    """The champion's switch, then the challenger's: in between one is old, the other new."""
    stores = tried.stores
    user = next(user for user in USERS if arm(user) == "challenger")
    other = next(user for user in USERS if arm(user) == "champion")

    async def run() -> None:
        reader = ListReader(Redis.from_url(valkey_url), NAMESPACE)

        async def names() -> tuple[str, str]:
            found = await asyncio.gather(
                *(reader.read([("u", one), ("r", one)], one) for one in (other, user))
            )
            for who, one in zip((other, user), found, strict=True):
                assert one is not None
                assert one.values[0] is not None
                assert decode_list(one.values[0]).ids.tolist() == held(valkey, one.generation, who)
            return tuple(one.generation.name for one in found if one is not None)  # type: ignore[return-value]  # two

        before = await names()
        tried.publish(valkey)
        between = await names()
        assert between[0] != before[0]
        assert between[1] == before[1]
        told = await asyncio.to_thread(
            republish_experiment,
            stores.warehouse,
            stores.lake.open(),
            valkey,
            NAMESPACE,
            lambda _: None,
        )
        after = await names()
        assert after[0] == between[0]
        assert after[1] != between[1]
        assert after[1] in told
        await reader.close()

    asyncio.run(run())


def test_what_is_heard_changes_the_lists_of_both_arms(
    tried: Published, valkey: redis.Redis
) -> None:
    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        for wanted in ("champion", "challenger"):
            user = next(user for user in USERS if arm(user) == wanted)
            first, *_ = ids(await get(client, f"/users/{user}/recommendations"))
            record = {
                "user_id": user,
                "items": [first],
                "created_at": "2026-11-22T10:00:00",
                "updated_at": "2026-11-22T10:00:00",
            }
            assert (await client.post("/listens", json=record)).json()["taken"] == 1
            await asyncio.to_thread(api.freshener.work)
            after = await get(client, f"/users/{user}/recommendations")
            assert after["experiment"]["arm"] == wanted
            assert (after["tier"], first in ids(after)) == ("cached top-N", False)
            for generation in served_generations(valkey, NAMESPACE).values():
                assert first not in held(valkey, generation, user)

    with_client(tried.stores, tried.home, ask)
