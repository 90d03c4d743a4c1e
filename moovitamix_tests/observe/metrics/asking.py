"""What apps ask of a platform's API, with its stores and without."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from time import sleep
from typing import Any

import httpx

from moovitamix.resources import Cache, Warehouse
from moovitamix.serve.generations import key_of, read_current
from moovitamix.serve.http.app import Api
from moovitamix.serve.http.keys import make_key
from moovitamix.settings import get_settings
from moovitamix_tests.observe.metrics.platform import (
    NO_POSTGRES,
    NO_REDIS,
    USERS,
    Operated,
    Series,
    series,
)
from moovitamix_tests.serve.http.serving import refreshed


async def ask(operated: Operated) -> None:
    """What apps ask of an API that has all it needs."""
    secret, key = make_key("app", "write")
    api = operated.build_api(keys=key.entry())
    async with _client(api, secret) as client:
        await _note(operated.api, client)
        await asyncio.to_thread(refreshed, api)
        await client.get("/users/1/recommendations", headers={"X-API-Key": "none"})
        answer = (await client.get("/users/1/recommendations?limit=3")).json()
        _damage(operated.cache, user=2)
        await client.get("/users/2/recommendations")
        await client.get("/users/87654/recommendations")
        await client.get("/anything/that/somebody/types")
        now = get_settings().present()
        about = {name: answer[name] for name in ("model_version", "generation", "tier")}
        seen = answer["items"][0]["track_id"]
        events = [
            {"user_id": 1, "track_id": seen, "kind": kind, "at": (now - ago).isoformat()}
            for kind, ago in (
                ("impression", timedelta(seconds=9)),
                ("click", timedelta(seconds=6)),
                ("skip", timedelta(seconds=3)),
            )
        ]
        taken = await client.post("/feedback", json={**about, "events": events})
        assert taken.status_code == 202, taken.text
        moment = (now - timedelta(minutes=5)).replace(tzinfo=None).isoformat()
        heard = [
            {"user_id": user, "items": [3], "created_at": moment, "updated_at": moment}
            for user in range(USERS)
        ]  # more than are folded in at once
        assert (await client.post("/listens", json=heard)).status_code == 202
        await asyncio.to_thread(api.freshener.work)
        await _note(operated.api, client)


async def react(operated: Operated) -> None:
    """A day ago somebody was shown a track, and did nothing."""
    secret, key = make_key("app", "write")
    api = operated.build_api(keys=key.entry())
    async with _client(api, secret) as client:
        await asyncio.to_thread(refreshed, api)
        answer = (await client.get("/users/1/recommendations?limit=1")).json()
        event = {
            "user_id": 1,
            "track_id": answer["items"][0]["track_id"],
            "kind": "impression",
            "at": (get_settings().present() - timedelta(days=1)).isoformat(),
        }
        about = {name: answer[name] for name in ("model_version", "generation", "tier")}
        taken = await client.post("/feedback", json={**about, "events": [event]})
        assert taken.status_code == 202, taken.text


async def ask_without_stores(operated: Operated) -> None:
    """The same API, of which no store answers."""
    down = Operated(
        Warehouse(url=NO_POSTGRES, namespace=operated.warehouse.schema_name),
        Cache(url=NO_REDIS, namespace=operated.cache.prefix),
        operated.lake,
        operated.home,
        operated.source_url,
    )
    down.read()
    operated.batch += down.batch
    api = down.build_api()
    async with _client(api, "") as client:
        await _note(operated.api, client)
        await asyncio.to_thread(refreshed, api)
        for _ in range(30):  # until the breaker has seen enough
            await client.get("/users/1/recommendations")
        api.freshener.told([1])
        api.freshener.start()
        await asyncio.to_thread(_until_nobody_could_be_folded_in, api)
        await asyncio.to_thread(api.freshener.stop)
        await _note(operated.api, client)


def _until_nobody_could_be_folded_in(api: Api) -> None:
    assert api.metrics is not None
    for _ in range(1_000):
        if b"fold_in_failures_total 0.0" not in api.metrics.render():
            return
        sleep(0.01)
    raise AssertionError("The freshener has not tried.")


@asynccontextmanager
async def _client(api: Api, secret: str) -> AsyncIterator[httpx.AsyncClient]:
    root: Any = api.app.app
    headers = {"X-API-Key": secret} if secret else {}
    transport = httpx.ASGITransport(api.app)
    async with (
        root.lifespan_context(root),
        httpx.AsyncClient(
            transport=transport, base_url="http://localhost", headers=headers
        ) as client,
    ):
        yield client


async def _note(noted: list[Series], client: httpx.AsyncClient) -> None:
    noted.append(series((await client.get("/metrics")).text))


def _damage(cache: Cache, user: int) -> None:
    """Cut the last byte off a list."""
    with cache.connect() as client:
        current = read_current(client, cache.prefix)
        assert current is not None
        key = key_of(cache.prefix, current.name, "u", user)
        whole = client.get(key)
        assert isinstance(whole, bytes)
        client.set(key, whole[:-1], keepttl=True)
