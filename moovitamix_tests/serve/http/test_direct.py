"""A request that was taken is answered once, counted once, and holds nobody up."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from moovitamix.serve.http import reads
from moovitamix.serve.http.access import AccessLog
from moovitamix.serve.http.app import Api, Features, build_api
from moovitamix.serve.http.gate import Limits
from moovitamix.serve.http.keys import KeyStore, add_key, make_key, remove_keys
from moovitamix.serve.http.turns import Turn
from moovitamix_tests.serve.http.serving import Published, refreshed, running

LIST = "/users/5/recommendations?limit=3"


@asynccontextmanager
async def served(
    published: Published, home: Path, *, limits: Limits | None = None
) -> AsyncIterator[tuple[httpx.AsyncClient, Api]]:
    """A client of a real server, and the application, which counts what it takes."""
    api = build_api(
        published.stores,
        keys=KeyStore(None, home),
        limits=limits or Limits(),
        features=Features(access_log=False),
        background=False,
    )
    await asyncio.to_thread(refreshed, api)
    async with running(api) as address, httpx.AsyncClient(base_url=address) as client:
        client.headers["Host"] = "localhost"
        yield client, api


def hold(api: Api) -> tuple[asyncio.Event, asyncio.Event]:
    """Hold what is read of Redis: an event that tells of a read, and one that lets all go."""
    held = api.reader._held
    assert held is not None
    mget, asked, let_go = held.mget, asyncio.Event(), asyncio.Event()

    async def holding(keys: list[str | bytes]) -> list[bytes | None]:
        asked.set()
        await let_go.wait()
        return await mget(keys)

    held.mget = holding  # type: ignore[method-assign,assignment]
    return asked, let_go


def taken(api: Api) -> list[Turn]:
    """The requests that are taken from now on."""
    take, turns = api.app.take, list[Turn]()
    assert take is not None

    def noting(url: bytes, headers: Sequence[tuple[bytes, bytes]], turn: Turn) -> bool:
        is_taken = take(url, headers, turn)
        if is_taken:
            turns.append(turn)
        return is_taken

    api.app.take = noting
    return turns


def requests_counted(api: Api, **labels: str) -> float:
    assert api.metrics is not None
    route = {"route": "/users/{id}/recommendations", "status": "200", **labels}
    found = api.metrics.registry.get_sample_value("moovitamix_http_requests_total", route)
    return found or 0.0


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no outage."""
    monkeypatch.setattr(reads, "ANSWER_WITHIN", 30.0)


@pytest.mark.usefixtures("patient")
def test_it_is_counted_and_logged_once_as_on_the_other_way(
    published: Published, tmp_path: Path
) -> None:
    async def run() -> None:
        async with served(published, tmp_path) as (client, api):
            stream = io.StringIO()
            api.app.access = AccessLog(stream)
            turns = taken(api)
            for path in (LIST, LIST, f"{LIST}&exclude=1", "/users/4000/recommendations?limit=3"):
                assert (await client.get(path)).status_code == 200
            api.app.access.close()
            assert len(turns) == 3
            assert requests_counted(api, tier="cached top-N") == 3
            lines = [json.loads(line) for line in stream.getvalue().splitlines()]
            assert [line["status"] for line in lines] == [200] * 4
            assert len({line["request_id"] for line in lines}) == 4
            assert all(line["user"] and line["key"] == "anonymous" for line in lines)
            assert all(line["milliseconds"] > 0 for line in lines)

    asyncio.run(run())


@pytest.mark.usefixtures("patient")
def test_both_ways_use_up_the_same_requests(published: Published, tmp_path: Path) -> None:
    async def run() -> None:
        async with served(published, tmp_path, limits=Limits(per_second=2)) as (client, api):
            api.app.admission.clock = lambda: 0.0
            paths = [LIST, "/tracks/popular", LIST, f"{LIST}&exclude=1", LIST]
            answers = [await client.get(path) for path in paths]
            assert [answer.status_code for answer in answers] == [200] * 4 + [429]
            left = [answer.headers["ratelimit"] for answer in answers]
            assert left == [f'"default";r={n};t=1' for n in (3, 2, 1, 0, 0)]

    asyncio.run(run())


@pytest.mark.usefixtures("patient")
def test_a_key_that_was_taken_away_lets_nobody_in_any_more(
    published: Published, tmp_path: Path
) -> None:
    secret, key = make_key("app", "read")
    other, other_key = make_key("other", "read")
    for one in (key, other_key):
        add_key(tmp_path / "api-keys", one)

    async def run() -> None:
        async with served(published, tmp_path) as (client, api):
            turns = taken(api)
            shown = {"X-API-Key": secret}
            assert [(await client.get(LIST, headers=shown)).status_code for _ in range(3)] == [
                200,
                200,
                200,
            ]
            assert len(turns) == 2  # all but the first, which had to be recognized
            remove_keys(tmp_path / "api-keys", "app")
            assert api.app.admission.keys.reload()
            assert (await client.get(LIST, headers=shown)).status_code == 401
            await client.get(LIST, headers={"X-API-Key": other})
            assert (await client.get(LIST, headers=shown)).status_code == 401
            assert len(turns) == 2

    asyncio.run(run())


def test_where_redis_hangs_another_tier_answers_after_one_wait(
    published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reads, "ANSWER_WITHIN", 0.05)

    async def run() -> None:
        async with served(published, tmp_path) as (client, api):
            turns = taken(api)
            hold(api)
            answer = await client.get(LIST)
            assert answer.json()["degraded"] == ["redis"]
            assert len(answer.json()["items"]) == 3
            assert len(turns) == 1
            assert api.metrics is not None
            failures = api.metrics.registry.get_sample_value(
                "moovitamix_store_failures_total", {"store": "redis"}
            )
            assert failures == 1

    asyncio.run(run())


@pytest.mark.usefixtures("patient")
def test_who_goes_away_while_waiting_disturbs_nobody(published: Published, tmp_path: Path) -> None:
    async def run() -> None:
        async with served(published, tmp_path) as (client, api):
            asked, let_go = hold(api)
            host, port = client.base_url.host, client.base_url.port
            _, leaving = await asyncio.open_connection(host, port)
            leaving.write(f"GET {LIST} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            await asked.wait()
            staying = asyncio.create_task(client.get(LIST))
            leaving.transport.abort()
            await asyncio.sleep(0.05)
            let_go.set()
            assert (await staying).json()["tier"] == "cached top-N"
            assert (await client.get(LIST)).json()["tier"] == "cached top-N"
            assert requests_counted(api, tier="cached top-N") == 3

    asyncio.run(run())


@pytest.mark.usefixtures("patient")
def test_requests_that_come_while_one_waits_are_answered_after_it(
    published: Published, tmp_path: Path
) -> None:
    def asked_for(user: int, *lines: str) -> bytes:
        told = (f"GET /users/{user}/recommendations?limit=3 HTTP/1.1", "Host: localhost", *lines)
        return "\r\n".join((*told, "", "")).encode()

    async def run() -> None:
        async with served(published, tmp_path) as (client, api):
            asked, let_go = hold(api)
            reader, writer = await asyncio.open_connection(
                client.base_url.host, client.base_url.port
            )
            writer.write(asked_for(5))
            await asked.wait()
            writer.write(asked_for(6) + asked_for(7, "Connection: close"))
            await asyncio.sleep(0.05)
            let_go.set()
            found = await reader.read()
            places = [found.index(b'"user_id":%d' % user) for user in (5, 6, 7)]
            assert places == sorted(places)
            assert found.count(b"HTTP/1.1 200 OK") == 3
            writer.close()

    asyncio.run(run())


@pytest.mark.usefixtures("patient")
def test_a_server_that_ends_answers_first(published: Published, tmp_path: Path) -> None:
    async def run() -> None:
        async with httpx.AsyncClient() as client:
            async with served(published, tmp_path) as (serving, api):
                turns = taken(api)
                asked, let_go = hold(api)
                address = f"http://localhost:{serving.base_url.port}{LIST}"
                waiting = asyncio.create_task(client.get(address))
                await asked.wait()

                async def let_go_at_the_end() -> None:
                    while turns[0].keep_alive:  # noqa: ASYNC110 - uvicorn tells nobody
                        await asyncio.sleep(0.01)
                    let_go.set()

                ending = asyncio.create_task(let_go_at_the_end())
            await ending
            answer = await waiting
        assert answer.json()["tier"] == "cached top-N"
        assert answer.headers["connection"] == "close"

    asyncio.run(run())


@pytest.mark.usefixtures("patient")
def test_what_cannot_be_sent_at_once_is_sent_as_messages_and_counted_once(
    published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Turn, "answer", lambda *_: False)  # as to who reads slowly

    async def run() -> None:
        async with served(published, tmp_path) as (client, api):
            turns = taken(api)
            assert (await client.get(LIST)).json()["tier"] == "cached top-N"
            assert len(turns) == 1
            assert requests_counted(api, tier="cached top-N") == 1
            assert api.metrics is not None
            hits = api.metrics.registry.get_sample_value(
                "moovitamix_cache_reads_total", {"result": "hit"}
            )
            assert hits == 1

    asyncio.run(run())


@pytest.mark.usefixtures("patient")
def test_what_fails_is_a_problem_for_who_asked_and_for_nobody_else(
    published: Published, tmp_path: Path
) -> None:
    async def run() -> None:
        async with served(published, tmp_path) as (client, api):
            listed = api.tiers._listed
            answer = listed.answer

            def failing(user: int, *arguments: object) -> object:
                if user == 6:
                    raise RuntimeError("a fault")
                return answer(user, *arguments)  # type: ignore[arg-type]  # passed on

            listed.answer = failing  # type: ignore[method-assign,assignment]
            asked, let_go = hold(api)
            paths = [f"/users/{user}/recommendations?limit=3" for user in (5, 6, 7)]
            waiting = [asyncio.create_task(client.get(path)) for path in paths]
            await asked.wait()
            let_go.set()
            statuses = [(await one).status_code for one in waiting]
            assert statuses == [200, 500, 200]

    asyncio.run(run())
