"""A head that was read before is taken at sight, and nothing else is."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import httpx
import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from moovitamix.serve.http import protocol
from moovitamix.serve.http.known_heads import LONGEST, MOST, KnownHeads
from moovitamix.serve.http.protocol import WholeAnswers
from moovitamix_tests.serve.http.serving import Published
from moovitamix_tests.serve.http.test_connections import UPGRADE, connected, request
from moovitamix_tests.serve.http.test_direct import LIST, hold, patient, served, taken

__all__ = ["patient"]


class Piece(bytes):
    """What is sent and not answered by itself."""


HEAD = request(LIST)
LINE, TAIL = HEAD[: HEAD.index(b"\n") + 1], HEAD[HEAD.index(b"\n") + 1 :]
CLOSE = request(LIST, "Connection: close")

# What is sent one after the other on a connection, each when the one before was answered, and how
# often it is taken at sight. What has the head of before has many ways to be something else.
CONVERSATIONS = {
    "again": (3, [HEAD, HEAD, HEAD.replace(b"/5/", b"/6/"), HEAD, CLOSE]),
    "methods": (2, [HEAD, b"HEAD" + HEAD[3:], HEAD, b"POST" + HEAD[3:], HEAD, CLOSE]),
    "an older version": (1, [HEAD, HEAD, HEAD.replace(b"/1.1", b"/1.0")]),
    "no version": (0, [HEAD, HEAD.replace(b"HTTP/1.1", b"HTTP/2.0")]),
    "a whole address": (0, [HEAD, HEAD.replace(b" /", b" http://localhost/"), CLOSE]),
    "no limit": (0, [HEAD, HEAD.replace(b"=3", b"=0"), CLOSE]),
    "a fragment": (0, [HEAD, HEAD.replace(b"=3", b"=3#4"), CLOSE]),
    "another route": (0, [HEAD, HEAD.replace(LIST.encode(), b"/tracks/popular"), CLOSE]),
    "an escaped id": (0, [HEAD, HEAD.replace(b"/5/", b"/%35/"), CLOSE]),
    "a space": (0, [HEAD, HEAD.replace(b"?limit", b" limit")]),
    "a control character": (0, [HEAD, HEAD.replace(b"limit", b"li\tmit")]),
    "no ASCII": (0, [HEAD, HEAD.replace(b"limit", "lîmit".encode()), CLOSE]),
    "an empty line more": (1, [HEAD, HEAD + b"\r\n", b"\r\n" + HEAD, HEAD, CLOSE]),
    "nonsense behind it": (0, [HEAD, HEAD + b"\x00\r\n\r\n"]),
    "a line less": (0, [HEAD, HEAD.removesuffix(b"\r\n") + CLOSE]),
    "at once": (1, [HEAD, HEAD + HEAD + HEAD, HEAD, HEAD + CLOSE]),
    "a body that is a head": (
        1,
        [HEAD, request(LIST, f"Content-Length: {len(HEAD)}"), Piece(HEAD), HEAD, CLOSE],
    ),
    "in pieces": (1, [HEAD, Piece(HEAD[:20]), Piece(HEAD[20:40]), HEAD[40:], HEAD, CLOSE]),
    # What follows the line is a head for the parser the first time, and none the second.
    "a body that is a request line": (
        0,
        [request(LIST, f"Content-Length: {len(LINE)}"), Piece(LINE + HEAD), LINE + HEAD],
    ),
    "an expectation": (0, [*(2 * [request(LIST, "Expect: 100-continue")]), CLOSE]),
    "another protocol": (0, [*(2 * [request(LIST, *UPGRADE)]), CLOSE]),
    "chunks": (0, [*(2 * [request(LIST, "Transfer-Encoding: chunked") + b"0\r\n\r\n"]), CLOSE]),
    "a header that is a head": (1, [HEAD, HEAD, Piece(HEAD[:-2] + b"X: "), HEAD, CLOSE]),
}


class Nothing(KnownHeads):
    """Knows no head."""

    def find(self, data: bytes) -> None:
        del data


async def talked(client: httpx.AsyncClient, packets: list[bytes]) -> bytes:
    """What comes back until the connection is closed."""
    reader, writer = await connected(client)
    found = b""
    for packet in packets:
        writer.write(packet)
        if isinstance(packet, Piece):
            await asyncio.sleep(0.02)  # what is sent next is to be read by itself
            continue
        asked = len(re.findall(rb" HTTP/\d.\d\r\n", packet)) or 1  # the end of one in pieces
        answers = found.count(b"HTTP/1.1 ") + asked
        while found.count(b"HTTP/1.1 ") < answers and (more := await reader.read(1 << 16)):
            found += more
    found += await reader.read()
    writer.close()
    return re.sub(rb"(date|x-request-id): [^\r]+", rb"\1", found)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("named", CONVERSATIONS)
def test_what_is_taken_at_sight_is_answered_as_what_is_read(
    published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    wanted_at_sight, packets = CONVERSATIONS[named]
    at_sight = 0
    is_taken = WholeAnswers._is_taken_at_sight

    def counting(self: WholeAnswers, data: bytes) -> bool:
        nonlocal at_sight
        found = is_taken(self, data)
        at_sight += found
        return found

    async def run() -> None:
        async with served(published, tmp_path) as (client, _):
            monkeypatch.setattr(protocol, "_known", Nothing())
            wanted = await talked(client, packets)
            assert at_sight == 0
            monkeypatch.setattr(protocol, "_known", KnownHeads())
            assert await talked(client, packets) == wanted
            assert at_sight == wanted_at_sight
            # On another connection, all that can be known is.
            assert await talked(client, packets) == wanted
            assert at_sight >= 2 * wanted_at_sight + (packets[0] == HEAD)

    monkeypatch.setattr(WholeAnswers, "_is_taken_at_sight", counting)
    uvloop.run(asyncio.wait_for(run(), 60))


@pytest.mark.usefixtures("patient")
def test_what_comes_while_another_is_answered_waits_for_it(
    published: Published, tmp_path: Path
) -> None:
    async def run() -> None:
        async with served(published, tmp_path) as (client, api):
            assert b'"user_id":5' in await talked(client, [HEAD, CLOSE])
            asked, let_go = hold(api)
            reader, writer = await connected(client)
            # Redis is asked twice for it, so that what is taken meanwhile would overtake it.
            writer.write(HEAD.replace(b"=3", b"=3&per_artist=1"))
            await asked.wait()
            writer.write(HEAD.replace(b"/5/", b"/6/"))
            await asyncio.sleep(0.02)
            writer.write(CLOSE.replace(b"/5/", b"/7/"))
            let_go.set()
            found = await reader.read()
            writer.close()
            assert re.findall(rb'"user_id":(\d)', found) == [b"5", b"6", b"7"]

    uvloop.run(asyncio.wait_for(run(), 60))


@given(st.binary(max_size=60), st.binary(max_size=60), st.sampled_from((b"", b"\r\n", TAIL)))
def test_only_the_same_bytes_are_known_again(target: bytes, other: bytes, end: bytes) -> None:
    heads = KnownHeads()
    headers = [(b"host", b"localhost")]
    heads.note(HEAD, headers)
    found = heads.find(b"GET /" + target + b" HTTP/1.1\r\n" + other + end)
    is_visible = all(0x21 <= byte <= 0x7E for byte in target)
    assert found == ((b"/" + target, headers) if is_visible and other + end == TAIL else None)
    assert heads.find(HEAD) == (LIST.encode(), headers)


def test_few_heads_are_kept_and_no_long_ones() -> None:
    heads = KnownHeads()
    for number in range(3 * MOST):
        heads.note(request(LIST, f"X-Request-Id: {number}"), [])
        assert len(heads._headers) <= MOST
    assert heads.find(request(LIST, f"X-Request-Id: {3 * MOST - 1}")) is not None
    long = request(LIST, "X: " + LONGEST * "y")
    heads.note(long, [])
    assert heads.find(long) is None


@pytest.mark.usefixtures("patient")
def test_a_connection_is_closed_when_it_has_rested_and_not_while_it_is_used(
    published: Published, tmp_path: Path
) -> None:
    async def run() -> None:
        async with served(published, tmp_path) as (client, api):
            turns = taken(api)
            await talked(client, [HEAD, CLOSE])
            asked, let_go = hold(api)
            reader, writer = await connected(client)
            writer.write(HEAD)
            await asked.wait()
            connection = turns[-1]._protocol
            assert connection is not None
            assert connection._late is None  # its head is there, though nobody read it
            connection.timeout_keep_alive_handler()  # an answer is under way
            let_go.set()
            assert (await reader.readuntil(b"}]")).startswith(b"HTTP/1.1 200")
            await reader.read(1 << 16)
            # An empty line is no request, and does not keep it open.
            writer.write(b"\r\n")
            await asyncio.sleep(0.02)
            timer = connection.timeout_keep_alive_task
            assert timer is not None
            writer.write(HEAD)
            assert (await reader.read(1 << 16)).startswith(b"HTTP/1.1 200")
            assert connection.timeout_keep_alive_task is timer  # not set anew
            timer.cancel()
            connection.timeout_keep_alive_handler()  # as if it were over, but it was used since
            assert connection.timeout_keep_alive_task is not None
            writer.write(HEAD)
            assert (await reader.read(1 << 16)).startswith(b"HTTP/1.1 200")
            connection.timeout_keep_alive = 0
            connection.timeout_keep_alive_handler()
            assert await reader.read() == b""
            writer.close()

    asyncio.run(run())
