"""The kept connection gives each batch its own values, and is given up when anything goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis
import uvloop
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as Lost
from redis.exceptions import ResponseError

from moovitamix.serve.http.held_connection import HeldConnection

LOOPS = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])


@pytest.fixture(autouse=True)
def values(valkey: redis.Redis) -> None:
    valkey.mset({"held:a": b"A", "held:b": b"\x00\r\n", "held:long": 1_000_000 * b"x"})


@asynccontextmanager
async def held(url: str, **options: Any) -> AsyncIterator[HeldConnection]:
    client = Redis.from_url(url, **options)
    yield HeldConnection(client.connection_pool)
    # It would wait for ever for a connection that nobody told it of the end of.
    await asyncio.wait_for(client.aclose(), 60)


@LOOPS
@pytest.mark.parametrize("protocol", [2, 3])
def test_values_come_as_they_are_asked_for(valkey_url: str, run: Any, protocol: int) -> None:
    async def ask() -> None:
        async with held(valkey_url, protocol=protocol) as connection:
            for _ in range(2):
                asked = await connection.mget(["held:b", b"held:none", "held:long", b"held:a"])
                assert asked == [b"\x00\r\n", None, 1_000_000 * b"x", b"A"]

    run(ask())


class Relay:
    """Stands between, and lets answers through or not."""

    def __init__(self, url: str) -> None:
        self._port = int(url.rpartition(":")[2])
        self._ends: list[asyncio.StreamWriter] = []
        self.open = asyncio.Event()
        self.open.set()
        self.asked = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far = await asyncio.open_connection("127.0.0.1", self._port)
        self._ends = [writer, far[1]]
        await asyncio.gather(self._pass_on(reader, far[1]), self._answer(far[0], writer))

    def cut(self) -> None:
        """Close the connection, on both sides."""
        for end in self._ends:
            end.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
            self.asked.set()
        self.cut()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            await self.open.wait()
            writer.write(data)


@asynccontextmanager
async def relayed(url: str) -> AsyncIterator[tuple[HeldConnection, Relay]]:
    relay = Relay(url)
    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, held(f"redis://127.0.0.1:{port}") as connection:
        assert await connection.mget(["held:a"]) == [b"A"]
        relay.asked.clear()
        yield connection, relay
        assert await connection.mget(["held:a"]) == [b"A"]


@LOOPS
def test_what_was_closed_meanwhile_is_opened_again(valkey_url: str, run: Any) -> None:
    async def ask() -> None:
        async with relayed(valkey_url) as (connection, relay):
            answers = connection._answers
            assert answers is not None
            relay.cut()
            while not answers.over:  # noqa: ASYNC110 - of which no event tells
                await asyncio.sleep(0.001)
            assert await connection.mget(["held:b"]) == [b"\x00\r\n"]

    run(ask())


@LOOPS
def test_who_waits_while_redis_closes_is_told(valkey_url: str, run: Any) -> None:
    async def ask() -> None:
        async with relayed(valkey_url) as (connection, relay):
            relay.open.clear()
            waiting = asyncio.ensure_future(connection.mget(["held:a"]))
            await relay.asked.wait()
            relay.cut()
            with pytest.raises(Lost):
                await waiting
            relay.open.set()

    run(ask())


@LOOPS
def test_an_answer_that_nobody_waits_for_any_more_is_not_given_to_others(
    valkey_url: str, run: Any
) -> None:
    async def ask() -> None:
        async with relayed(valkey_url) as (connection, relay):
            relay.open.clear()
            waiting = asyncio.ensure_future(connection.mget(["held:b"]))
            await relay.asked.wait()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            relay.open.set()

    run(ask())


def test_a_refusal_is_raised_and_the_next_one_too(valkey_url: str, valkey: redis.Redis) -> None:
    valkey.acl_setuser("held", enabled=True, nopass=True, commands=["-@all", "+client", "+hello"])

    async def ask() -> None:
        async with held(valkey_url, username="held", password="any") as connection:
            for _ in range(2):
                with pytest.raises(ResponseError, match="permission"):
                    await connection.mget(["held:a"])

    try:
        asyncio.run(ask())
    finally:
        valkey.acl_deluser("held")


def test_what_redis_says_unasked_is_no_answer(valkey_url: str, valkey: redis.Redis) -> None:
    async def ask() -> None:
        async with held(valkey_url, protocol=3) as connection:
            assert await connection.mget(["held:a"]) == [b"A"]
            answers = connection._answers
            assert answers is not None
            assert await answers.to(("CLIENT", "TRACKING", "ON", "BCAST")) == b"OK"
            valkey.set("held:b", b"B")  # of which a message comes
            assert await connection.mget(["held:b", "held:a"]) == [b"B", b"A"]

    asyncio.run(ask())
