"""What comes before a request is a request: bounded, in time, and answered as anything else."""

from __future__ import annotations

import asyncio
import gc
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from moovitamix.serve.http import asking, bounded
from moovitamix.serve.http.app import Api
from moovitamix.serve.http.gate import Limits
from moovitamix.serve.http.keys import add_key, make_key
from moovitamix.serve.http.turns import Turn
from moovitamix_tests.serve.http.serving import Published
from moovitamix_tests.serve.http.test_direct import LIST, hold, patient, served, taken

__all__ = ["patient"]

LISTEN = json.dumps(
    {
        "user_id": 5,
        "items": [120],
        "created_at": "2026-11-20T09:00:00",
        "updated_at": "2026-11-20T09:00:00",
    }
).encode()


def request(target: str, *lines: str, method: str = "GET") -> bytes:
    return "\r\n".join((f"{method} {target} HTTP/1.1", "Host: localhost", *lines, "", "")).encode()


async def connected(client: httpx.AsyncClient) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(client.base_url.host, client.base_url.port)


async def told(client: httpx.AsyncClient, *packets: bytes) -> bytes:
    """All that comes back on a connection on which these are sent, until it is closed."""
    reader, writer = await connected(client)
    for packet in packets:
        writer.write(packet)
        await writer.drain()
        await asyncio.sleep(0.02)
    found = await reader.read()
    writer.close()
    return found


def refused(api: Api, reason: str) -> float:
    assert api.metrics is not None
    found = api.metrics.registry.get_sample_value(
        "moovitamix_http_refused_total", {"reason": reason}
    )
    assert found is not None
    return found


UPGRADE = ("Connection: keep-alive, Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AA")


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("packets", [1, 2, 3])
def test_an_offer_of_another_protocol_is_passed_over_and_a_body_stays_a_body(
    fresh: Published, tmp_path: Path, packets: int
) -> None:
    async def run() -> None:
        async with served(fresh, tmp_path) as (client, _):
            length = f"Content-Length: {len(LISTEN)}"
            head = request("/listens", *UPGRADE, length, method="POST")
            smuggled = request("/tracks/popular", *UPGRADE, "Content-Length: 0")
            bodied = request(LIST, *UPGRADE, f"Content-Length: {len(smuggled)}")
            last = request(LIST, *UPGRADE) + request(LIST, "Connection: close")
            parts = [head, LISTEN, bodied, smuggled, last]
            sent = {1: [b"".join(parts)], 2: [head, b"".join(parts[1:])], 3: parts}[packets]
            found = await told(client, *sent)
            assert re.findall(rb"HTTP/1\.1 (\d+)", found) == [b"202", b"200", b"200", b"200"]
            assert found.count(b'"user_id":5') == 3

    asyncio.run(run())


@pytest.mark.parametrize(
    ("sent", "status", "said"),
    [
        (request("/" + "a" * 70_000), 431, "65,536 bytes"),
        (request(LIST, *(f"X-{n}: {'b' * 1_000}" for n in range(70))), 431, "65,536 bytes"),
        (request(LIST + "&exclude=" + "1," * 40_000), 431, "65,536 bytes"),
        (b"nonsense\r\n\r\n", 400, "no HTTP request"),
        (request(LIST, "X-Folded: a\r\n b"), 400, "no HTTP request"),
        (request("localhost:80", method="CONNECT"), 400, "no HTTP request"),
    ],
)
def test_what_cannot_be_read_is_a_problem_like_others_and_ends_the_connection(
    published: Published, tmp_path: Path, sent: bytes, status: int, said: str
) -> None:
    async def run() -> None:
        async with served(published, tmp_path) as (client, api):
            head, _, body = (await told(client, sent)).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 %d " % status)
            assert b"content-type: application/problem+json" in head
            assert b"x-request-id: " in head
            problem = json.loads(body)
            assert problem["status"] == status
            assert said in problem["detail"]
            assert refused(api, "malformed") == 1
            assert (await client.get(LIST)).status_code == 200

    asyncio.run(run())


@pytest.mark.parametrize("sent", [b"", b"GET /health/live HTT", b"GET / HTTP/1.1\r\nHost: loc"])
def test_who_does_not_come_to_the_end_of_a_head_is_not_waited_for(
    published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(bounded, "HEAD_WITHIN", 0.05)

    async def run() -> None:
        async with served(published, tmp_path) as (client, _):
            assert await told(client, sent) == b""
            whole = request("/health/live")
            found = await told(client, whole, whole, sent or b"GET")
            assert found.count(b"200 OK") == 2

    asyncio.run(run())


@pytest.mark.parametrize("path", ["/listens", "/feedback"])
def test_a_body_that_does_not_arrive_is_not_waited_for(
    published: Published, tmp_path: Path, path: str
) -> None:
    async def run() -> None:
        limits = Limits(seconds=0.1)
        async with served(published, tmp_path, limits=limits) as (client, api):
            head = request(path, "Content-Length: 100", "Connection: close", method="POST")
            found = await told(client, head + b"{")
            assert found.startswith(b"HTTP/1.1 408 ")
            assert refused(api, "time") == 1

    asyncio.run(run())


@pytest.mark.usefixtures("patient")
def test_requests_that_wait_on_a_connection_are_few(
    published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded, "MOST_WAITING", 5)

    async def run() -> None:
        async with served(published, tmp_path) as (client, api):
            found = await told(client, request(LIST) * 5, request(LIST, "Connection: close"))
            assert found.count(b"200 OK") == 6
            asked, let_go = hold(api)
            reader, writer = await connected(client)
            writer.write(request(LIST) * 8)
            await asked.wait()
            assert (await reader.read()).startswith(b"HTTP/1.1 429 ")
            let_go.set()
            writer.close()
            assert (await client.get(LIST)).status_code == 200

    asyncio.run(run())


@pytest.mark.usefixtures("patient")
def test_a_connection_that_ends_leaves_nothing_to_the_collector(
    published: Published, tmp_path: Path
) -> None:
    async def run() -> None:
        async with served(published, tmp_path) as (client, api):
            turns = taken(api)
            gc.collect()
            gc.disable()
            try:
                for _ in range(5):
                    reader, writer = await connected(client)
                    writer.write(request(LIST))
                    assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
                    writer.close()
                    await writer.wait_closed()
                await client.get("/health/live")
                assert len(turns) == 5
                turns.clear()
                left = [one for one in gc.get_objects() if isinstance(one, Turn)]
                assert not left
            finally:
                gc.enable()

    asyncio.run(run())


@pytest.mark.usefixtures("patient")
def test_a_fault_in_taking_leaves_a_request_to_the_longer_way(
    published: Published, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(*_: object) -> bool:
        raise RuntimeError("a fault")

    async def run() -> None:
        async with served(published, tmp_path) as (client, api):
            api.app.take = failing
            assert (await client.get(LIST)).json()["tier"] == "cached top-N"

    asyncio.run(run())
    assert "left to the longer way" in caplog.text


def test_a_query_is_not_read_before_it_is_known_who_asks(
    published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, key = make_key("app", "read")
    add_key(tmp_path / "api-keys", key)
    read: list[Any] = []
    parse = asking._parse

    def noting(query: bytes, allowed: frozenset[str]) -> asking.Ask:
        read.append(query)
        return parse(query, allowed)

    monkeypatch.setattr(asking, "_parse", noting)

    async def run() -> None:
        async with served(published, tmp_path) as (client, _):
            assert (await client.get(f"{LIST}&exclude={'1,' * 20_000}")).status_code == 401

    asyncio.run(run())
    assert not read


def test_whether_it_lives_may_be_asked_at_any_rate(
    published: Published, tmp_path: Path, valkey: redis.Redis
) -> None:
    del valkey

    async def run() -> None:
        async with served(published, tmp_path, limits=Limits(per_second=1)) as (client, api):
            api.app.admission.clock = lambda: 0.0
            asked = [(await client.get("/health/live")).status_code for _ in range(5)]
            assert asked == [200] * 5

    asyncio.run(run())
