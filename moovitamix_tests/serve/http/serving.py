"""A small world that is published, and the API on it, as an app's back end finds it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import redis
import uvicorn

from moovitamix.recommend import registry
from moovitamix.recommend.artifacts import store_matrix, store_model
from moovitamix.recommend.gate import Decision
from moovitamix.resources import Cache, Lake, Warehouse
from moovitamix.serve.http.app import Api, Features, Stores, build_api
from moovitamix.serve.http.gate import Limits
from moovitamix.serve.http.keys import KeyStore
from moovitamix.serve.http.server import UVICORN
from moovitamix.serve.publish import publish_generation
from moovitamix_tests.serve.world import NAMESPACE, World, load_catalogue

LIST_LENGTH = 30


@dataclass(frozen=True)
class Published:
    """Stores that hold the small world, whose champion is published."""

    stores: Stores
    world: World
    home: Path

    def publish(self, client: redis.Redis) -> str:
        """Publish another generation; its name."""
        return publish_generation(
            client,
            NAMESPACE,
            champion=self.world.champion,
            matrix=self.world.matrix,
            catalogue=self.world.catalogue,
            tell=lambda _: None,
            list_length=LIST_LENGTH,
        ).generation.name


def fill(world: World, warehouse: Warehouse, lake: Lake) -> World:
    """Put the world into Postgres and the lake, a champion too; the world under its version."""
    load_catalogue(warehouse, world.catalogue)
    store_matrix(lake.open(), world.matrix, "p1")
    model = world.champion.model
    with warehouse.connect() as connection:
        registered = registry.register(
            connection,
            run_id="r1",
            as_of=model.as_of,
            pull="p1",
            matrix_fingerprint=model.matrix_fingerprint,
            parameters={},
            artifact=store_model(lake.open(), "r1", model),
        )
        decision = Decision("cannot tell", "als", True, "first")
        registry.promote(connection, registered.version, decision)
    return replace(world, champion=replace(world.champion, version=registered.version))


def make_stores(
    warehouse: Warehouse, lake_url: str, valkey_url: str, namespace: str = NAMESPACE
) -> Stores:
    return Stores(
        warehouse=warehouse,
        lake=Lake(url=lake_url),
        cache=Cache(url=valkey_url, namespace=namespace),
    )


Ready = Callable[[Api], None]


def refreshed(api: Api) -> None:
    """Everything is known."""
    api.refresher.from_redis()
    api.refresher.from_postgres()


@asynccontextmanager
async def asking(
    stores: Stores,
    home: Path,
    *,
    keys: str | None = None,
    limits: Limits | None = None,
    features: Features | None = None,
    ready: Ready = refreshed,
) -> AsyncIterator[tuple[httpx.AsyncClient, Api]]:
    """A client of an application in this process, whose world is brought up to date once."""
    api = build_api(
        stores,
        keys=KeyStore(keys, home),
        limits=limits or Limits(),
        features=features or Features(access_log=False),
        background=False,
    )
    await asyncio.to_thread(ready, api)
    root: Any = api.app.app
    async with (
        root.lifespan_context(root),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(api.app), base_url="http://localhost"
        ) as client,
    ):
        yield client, api


def with_client(
    stores: Stores,
    home: Path,
    ask: Callable[[httpx.AsyncClient, Api], Awaitable[None]],
    **options: Any,
) -> None:
    """Run an asynchronous test against an application."""

    async def run() -> None:
        async with asking(stores, home, **options) as (client, api):
            await ask(client, api)

    asyncio.run(run())


@asynccontextmanager
async def running(api: Api, app: Any = None) -> AsyncIterator[str]:
    """The address of a real server in this event loop, on loopback; `app` may stand in between."""
    config = uvicorn.Config(app or api.app, host="127.0.0.1", port=0, **UVICORN)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve())
    while not server.started:
        assert not task.done()
        await asyncio.sleep(0.01)
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task
