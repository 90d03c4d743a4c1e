"""A user who is deleted is a stranger at once; what cannot be done at once is told truthfully."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from moovitamix.erasure import holdings
from moovitamix.resources import Cache
from moovitamix.serve.http.app import Api
from moovitamix.serve.http.forgetting import Forgetting
from moovitamix.serve.http.keys import make_key
from moovitamix.serve.http.world import World as Served
from moovitamix_tests.serve.http.serving import Published, refreshed, with_client
from moovitamix_tests.serve.world import NAMESPACE
from moovitamix_tests.warehouse.telling import tell

HER, NOBODY = 1, 999
# Answered from the cache, by the factors, with their listens, by stated genres.
QUESTIONS = ("", "?per_artist=1", "?explain=true", "?repeats=true&exclude=100")


async def answers(client: httpx.AsyncClient, user: int) -> list[dict[str, Any]]:
    """What a user is answered to each question, without their id."""
    found = [
        (await client.get(f"/users/{user}/recommendations{question}")).json()
        for question in QUESTIONS
    ]
    assert all(answer.pop("user_id") == user and answer["items"] for answer in found)
    return found


def test_a_deleted_user_is_answered_as_a_stranger_at_once(
    fresh: Published, valkey: redis.Redis
) -> None:
    warehouse, lake = fresh.stores.warehouse, fresh.stores.lake.open()
    tell(warehouse, HER, datetime(2026, 11, 22, 9), [100, 101])  # noqa: DTZ001 - as in tables
    former = fresh.publish(valkey)
    valkey.set(f"{NAMESPACE}:{former}:x:{HER}", b"what she heard since")

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        strange = await answers(client, NOBODY)
        assert all(a != b for a, b in zip(await answers(client, HER), strange, strict=True))
        other = await answers(client, HER + 1)

        answer = await client.delete(f"/users/{HER}")
        assert answer.status_code == 200
        told = answer.json()
        assert told["state"] == "erased"
        assert told["rows"] == {
            "users": 1,
            "user_favorite_genres": 1,
            "activity": 2,
            "activity_marks": 1,
        }
        # Her list and her stated genres in both generations, and what she heard since.
        assert (told["matrices"], told["models"], told["keys"]) == (1, 1, 5)

        assert await answers(client, HER) == strange
        assert await answers(client, HER + 1) == other
        assert holdings(warehouse, lake, [HER]) == {}
        kinds = {str(key).split(":")[2] for key in valkey.keys(f"*:{HER}")}
        assert kinds <= {"t", "p"}, "of a track and a genre with the same id"

        again = (await client.delete(f"/users/{HER}")).json()
        assert again.pop("user_id") == HER
        assert again.pop("state") == "erased"
        assert not any(again.values()), "it may be repeated"
        # What is read from the stores hereafter does not bring her back.
        await asyncio.to_thread(refreshed, api)
        assert await answers(client, HER) == await answers(client, NOBODY)
        assert api.world.live is not None
        assert len(api.world.live.heard(HER)) == 0

    with_client(fresh.stores, fresh.home, ask)


def test_listens_hides_and_foldings_that_race_an_erasure_leave_nothing_behind(
    fresh: Published, valkey: redis.Redis
) -> None:
    warehouse, lake = fresh.stores.warehouse, fresh.stores.lake.open()
    fresh.publish(valkey)
    raced = [HER, HER + 1, HER + 2]

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        api.freshener.start()
        for user in raced:
            erased = asyncio.Event()
            told = [
                Telling(client, "/listens", partial(heard, user), erased),
                Telling(client, "/feedback", partial(hidden, user), erased),
            ]
            going_on = [asyncio.create_task(one.go_on()) for one in told]
            for one in told:
                await one.begun.wait()
            answer = await client.delete(f"/users/{user}")
            assert answer.status_code == 200, answer.text
            erased.set()
            await asyncio.gather(*going_on)
        api.freshener.told([*raced, HER + 9])
        await asyncio.to_thread(api.freshener.stop)

    with_client(fresh.stores, fresh.home, ask)
    assert holdings(warehouse, lake, raced) == {}
    kinds = {str(key).split(":")[2] for user in raced for key in valkey.keys(f"*:{user}")}
    assert kinds <= {"t", "p"}, "of a track and a genre with the same id"


class Telling:
    """Tells of one thing after the other, until the user is erased and once more."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        path: str,
        body: Callable[[int], object],
        erased: asyncio.Event,
    ) -> None:
        self._client, self._path, self._body, self._erased = client, path, body, erased
        self.begun = asyncio.Event()

    async def go_on(self) -> None:
        for number in range(1_000):
            last = self._erased.is_set()
            answer = await self._client.post(self._path, json=self._body(number))
            if answer.status_code == 202:
                self.begun.set()
            if last:
                return


def heard(user: int, number: int) -> dict[str, Any]:
    at = (datetime(2026, 11, 22) + timedelta(seconds=number)).isoformat()  # noqa: DTZ001 - as sent
    return {"user_id": user, "items": [100 + number % 20], "created_at": at, "updated_at": at}


def hidden(user: int, number: int) -> dict[str, Any]:
    at = (datetime(2026, 11, 22, tzinfo=UTC) + timedelta(seconds=number)).isoformat()
    hide = {"kind": "hide", "user_id": user, "track_id": 120 + number % 20, "at": at}
    return {"events": [hide]}


def test_nobody_is_erased_as_well(fresh: Published) -> None:
    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        answer = await client.delete(f"/users/{NOBODY}")
        assert (answer.status_code, answer.json()["rows"]) == (200, {})
        assert (await client.delete("/users/x")).status_code == 422
        assert (await client.delete(f"/users/{1 << 63}")).status_code == 422

    with_client(fresh.stores, fresh.home, ask)


@pytest.mark.parametrize(("scope", "status"), [("read", 403), ("write", 403), ("admin", 200)])
def test_erasing_takes_a_key_of_scope_admin(fresh: Published, scope: Any, status: int) -> None:
    secret, key = make_key("app", scope)

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        assert (await client.delete(f"/users/{HER}")).status_code == 401
        answer = await client.delete(f"/users/{HER}", headers={"X-API-Key": secret})
        assert answer.status_code == status

    with_client(fresh.stores, fresh.home, ask, keys=key.entry())
    left = holdings(fresh.stores.warehouse, fresh.stores.lake.open(), [HER])
    assert bool(left) == (status != 200)


def test_what_waits_for_a_run_is_told_to_be_under_way_and_a_repeat_tells_how_it_went(
    fresh: Published,
) -> None:
    warehouse = fresh.stores.warehouse

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        strange = await answers(client, NOBODY)
        with warehouse.hold_erasures():
            api.erasing.within = 0.05
            for _ in range(2):
                answer = await client.delete(f"/users/{HER}")
                assert (answer.status_code, answer.json()["state"]) == (202, "under way")
                assert answer.headers["retry-after"]
            live = (await client.get(f"/users/{HER}/recommendations?explain=true")).json()
            assert live["tier"] == "popular", "lists that are not removed yet are not told any more"
            assert not any(item.get("because") for item in live["items"]), "nor are its listens"
        api.erasing.within = 20
        told = (await client.delete(f"/users/{HER}")).json()
        assert (told["state"], told["rows"]["users"]) == ("erased", 1)
        assert await answers(client, HER) == strange

    with_client(fresh.stores, fresh.home, ask)


def test_what_came_after_an_erasure_that_nobody_was_told_of_goes_as_well(
    fresh: Published,
) -> None:
    warehouse, lake = fresh.stores.warehouse, fresh.stores.lake.open()

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        with warehouse.hold_erasures():
            api.erasing.within = 0.05
            assert (await client.delete(f"/users/{HER}")).status_code == 202
        await asyncio.wait(api.erasing._asked.values(), timeout=20)
        assert holdings(warehouse, lake, [HER]) == {}
        tell(warehouse, HER, datetime(2026, 11, 22, 9), [100])  # noqa: DTZ001 - as in tables
        api.erasing.within = 20
        told = (await client.delete(f"/users/{HER}")).json()
        assert (told["rows"]["users"], told["rows"]["activity"]) == (1, 1)
        assert holdings(warehouse, lake, [HER]) == {}
        assert not any((await client.delete(f"/users/{HER}")).json()["rows"].values())

    with_client(fresh.stores, fresh.home, ask)


def test_while_a_store_is_down_nothing_is_erased_and_that_is_said(
    fresh: Published, tmp_path: Path
) -> None:
    stores = replace(fresh.stores, cache=Cache(url="redis://127.0.0.1:1", namespace=NAMESPACE))

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        before = await answers(client, HER)
        answer = await client.delete(f"/users/{HER}")
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["retry-after"]
        assert "Repeat" in answer.json()["detail"]
        assert await answers(client, HER) == before
        assert not api.world.erased_users

    with_client(stores, tmp_path, ask, ready=lambda api: api.refresher.from_postgres())
    assert holdings(fresh.stores.warehouse, fresh.stores.lake.open(), [HER])["users"] == 1


def test_an_id_is_hidden_until_all_that_memory_holds_was_read_after_the_erasure() -> None:
    world = Served()
    forgetting = Forgetting(world)
    forgetting.hide(HER)
    for _ in range(3):
        for part in ("names", "model", "challenger"):
            forgetting.refreshed(part)
    assert world.erased_users == {HER}, "it is not over yet"
    forgetting.erased(HER)
    forgetting.refreshed("names")  # which may have begun before that
    for part in ("model", "challenger"):
        forgetting.refreshed(part)
        forgetting.refreshed(part)
    assert world.erased_users == {HER}
    forgetting.hide(NOBODY)
    forgetting.refreshed("names")
    assert world.erased_users == {NOBODY}
    forgetting.keep(NOBODY)
    assert world.erased_users == frozenset()
