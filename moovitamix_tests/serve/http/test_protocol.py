"""An answer in one piece is, on the wire, the answer that uvicorn makes of messages."""

from __future__ import annotations

import asyncio
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from moovitamix.serve.http import gate, reads
from moovitamix.serve.http.app import Features, build_api
from moovitamix.serve.http.gate import Limits
from moovitamix.serve.http.keys import KeyStore, make_key
from moovitamix.serve.http.protocol import WHOLE
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
def test_both_ways_are_the_same_on_the_wire(
    published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: str
) -> None:
    monkeypatch.setattr(reads, "ANSWER_WITHIN", 30.0)  # a busy machine is no outage
    secret, key = make_key("app", "read")
    limited = keys == "with limits"
    shown = (b"X-API-Key: " + secret.encode(),) if limited else ()

    async def run() -> None:
        api = build_api(
            published.stores,
            keys=KeyStore(key.entry() if limited else None, tmp_path),
            limits=Limits(per_second=1e6 if limited else None),
            features=Features(access_log=False),
            background=False,
        )
        await asyncio.to_thread(refreshed, api)
        api.app.clock = lambda: 0.0
        pieces = 0

        async def counting(scope: Any, receive: Any, send: Any) -> None:
            nonlocal pieces
            whole = scope.get("extensions", {}).get(WHOLE)

            def sending(send: Any, head: bytes, body: bytes) -> bool:
                nonlocal pieces
                sent: bool = whole(send, head, body)
                pieces += sent
                return sent

            if whole is not None:
                scope["extensions"] = {WHOLE: sending}
            await api.app(scope, receive, send)

        close = asked(*shown, b"Connection: close", user=7)
        every = (
            (asked(*shown), asked(*shown, user=6, limit=9), close),
            (asked(*shown), b"GET /health/live HTTP/1.1\r\n\r\n", asked(*shown), close),
            (asked(*shown, version=b"1.0"),),
            (asked(*shown, b"Content-Length: 2") + b"{}", close),
            (asked(*shown, limit=0), close),
            (asked(*shown).replace(b"GET", b"HEAD"), close),
        )
        async with running(api, counting) as address:
            fast = [await told(address, *requests) for requests in every]
        assert pieces == 4
        monkeypatch.setattr(gate, "WHOLE", "nobody offers this")
        api.app._buckets.clear()
        api.app._known.clear()
        async with running(api, counting) as address:
            slow = [await told(address, *requests) for requests in every]
        named = rb"x-request-id: (?!one)[^\r]+"
        for one, other in zip(fast, slow, strict=True):
            assert one.count(b"HTTP/1.1 ") >= 1
            assert re.sub(named, b"", one) == re.sub(named, b"", other)
        await api.reader.close()

    asyncio.run(run())


def test_the_server_is_given_what_is_tested_here(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    from moovitamix.serve.http import server
    from moovitamix.serve.http.protocol import WholeAnswers

    given: dict[str, Any] = {}
    # It would start stores of its own; it is tried in `test_fold_process.py`.
    monkeypatch.setattr(server, "folding_beside", nullcontext)
    monkeypatch.setattr(uvicorn, "run", lambda app, **options: given.update(options, app=app))
    server.serve(Console(quiet=True), "127.0.0.1", 0, 1, locked=False, access_log=True)
    assert uvicorn.Config(**given).http is WholeAnswers
