"""An answer in one piece is, on the wire, the answer that uvicorn makes of messages."""

from __future__ import annotations

import asyncio
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from moovitamix.serve.http import reads
from moovitamix.serve.http.app import Features, build_api
from moovitamix.serve.http.gate import Limits
from moovitamix.serve.http.keys import KeyStore, make_key
from moovitamix.serve.http.turns import WHOLE, Turn
from moovitamix_tests.serve.http.serving import Published, refreshed, running

LISTED = b"/users/%d/recommendations?limit=%d"


def asked(*lines: bytes, user: int = 5, limit: int = 3, version: bytes = b"1.1") -> bytes:
    path = LISTED % (user, limit)
    every = (b"GET %b HTTP/%b" % (path, version), b"Host: localhost", b"X-Request-Id: one", *lines)
    return b"\r\n".join((*every, b"", b""))


async def told(address: str, *requests: bytes) -> bytes:
    """What comes back on one connection, the last request of which closes it."""
    host, port = address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"".join(requests))
    found = await reader.read()
    writer.close()
    await writer.wait_closed()
    return re.sub(rb"date: [^\r]+", b"date: now", found)


@pytest.mark.parametrize("keys", ["with limits", "open"])
def test_all_ways_are_the_same_on_the_wire(
    published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: str
) -> None:
    monkeypatch.setattr(reads, "ANSWER_WITHIN", 30.0)  # a busy machine is no outage
    secret, key = make_key("app", "read")
    limited = keys == "with limits"
    shown = (b"X-API-Key: " + secret.encode(),) if limited else ()
    close = asked(*shown, b"Connection: close", user=7)
    every = (
        (asked(*shown), asked(*shown, user=6, limit=9), close),
        (asked(*shown), b"GET /health/live HTTP/1.1\r\n\r\n", asked(*shown), close),
        (asked(*shown, user=4_000), asked(*shown, limit=100), close),  # not out of a list alone
        (asked(*shown, version=b"1.0"),),
        (asked(*shown, b"Content-Length: 2") + b"{}", close),
        (asked(*shown, b"Transfer-Encoding: chunked") + b"0\r\n\r\n", close),
        (asked(*shown, b"Expect: 100-continue"), close),
        (asked(*shown, limit=0), close),
        (asked(*shown).replace(b"GET", b"HEAD"), close),
        (asked(*shown).replace(b"/5/", b"/%35/"), asked(*shown).replace(b"/5/", b"//"), close),
        (asked(*shown).replace(b"=3", b"=3&repeats=true"), close),
        (asked(*shown).replace(b"=3", b"=3&genre=nonsense"), close),
        (asked(*shown).replace(b"=3", b"=3#limit=4"), asked(*shown, user=(1 << 63) + 1), close),
        (asked(b"Authorization: Bearer nobody's"), asked(b"Host: elsewhere"), close),
    )

    async def answers(*, taken: bool, in_pieces: bool) -> tuple[list[bytes], int]:
        """What came back, and how often it went the way that is asked for."""
        api = build_api(
            published.stores,
            keys=KeyStore(key.entry() if limited else None, tmp_path),
            limits=Limits(per_second=1e6 if limited else None),
            features=Features(access_log=False),
            background=False,
        )
        await asyncio.to_thread(refreshed, api)
        api.app.admission.clock = lambda: 0.0
        take, ways = api.app.take, 0
        assert take is not None

        def taking(url: bytes, headers: Any, turn: Turn) -> bool:
            nonlocal ways
            is_taken = take(url, headers, turn)
            ways += is_taken
            return is_taken

        async def counting(scope: Any, receive: Any, send: Any) -> None:
            nonlocal ways
            whole = scope.get("extensions", {}).get(WHOLE)

            def sending(send: Any, head: bytes, body: bytes) -> bool:
                nonlocal ways
                sent: bool = whole(send, head, body)
                ways += sent
                return sent

            if scope["type"] == "http":
                scope["extensions"] = {WHOLE: sending} if in_pieces else {}
            await api.app(scope, receive, send)

        api.app.take = taking
        async with running(api, None if taken else counting) as address:
            return [await told(address, *requests) for requests in every], ways

    async def run() -> None:
        at_once, ways = await answers(taken=True, in_pieces=False)
        # The first of a key is looked at whole, and what comes while one waits is not taken.
        assert ways == (2 if limited else 4)
        in_pieces, ways = await answers(taken=False, in_pieces=True)
        assert ways > 4
        slow, _ = await answers(taken=False, in_pieces=False)
        named = rb"x-request-id: (?!one)[^\r]+"
        for first, second, third in zip(at_once, in_pieces, slow, strict=True):
            assert third.count(b"HTTP/1.1 ") >= 1
            wanted = re.sub(named, b"", third)
            assert re.sub(named, b"", first) == wanted
            assert re.sub(named, b"", second) == wanted

    asyncio.run(run())


def test_the_server_is_given_what_is_tested_here(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    from moovitamix.serve.http import server

    given: dict[str, Any] = {}
    # It would start stores of its own; it is tried in `test_fold_process.py`.
    monkeypatch.setattr(server, "folding_beside", nullcontext)
    monkeypatch.setattr(uvicorn, "run", lambda app, **options: given.update(options, app=app))
    server.serve(Console(quiet=True), "127.0.0.1", 0, 1, locked=False, access_log=True)
    assert server.UVICORN.items() <= given.items()
