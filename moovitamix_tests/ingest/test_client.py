"""The client has patience with a source in trouble, none with one that says no."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import tenacity
from fastapi import FastAPI, Request, Response

from moovitamix.errors import SourceContractError, SourceUnavailable
from moovitamix.ingest import client as client_module
from moovitamix.ingest import connections as connections_module
from moovitamix.ingest.client import ATTEMPTS, SourceClient, _retry_after
from moovitamix.ingest.contract import TRACKS, USERS
from moovitamix.ingest.decode import Page
from moovitamix_tests.reference_source import ReferenceSource, serve_app

EMPTY_PAGE = b'{"items":[],"total":0}'
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "LONGEST_WAIT_SECONDS", 0.002)


def scripted(*answers: Response) -> tuple[FastAPI, Counter[str]]:
    """An application that gives these answers in turn, then the last one for ever."""
    app, requests = FastAPI(), Counter[str]()

    @app.get("/{endpoint}")
    async def answer(endpoint: str) -> Response:
        requests[endpoint] += 1
        return answers[min(requests[endpoint], len(answers)) - 1]

    return app, requests


def first_page(url: str, token: str | None = None, token_header: str | None = None) -> Page:
    async def fetch() -> Page:
        async with SourceClient(url, token, token_header) as client:
            return await client.page(TRACKS, 1)

    return asyncio.run(fetch())


def on_raw_socket(handle: Handler) -> Page:
    """The first page of a server that is told what to do with each connection."""

    async def scenario() -> Page:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()[:2]
        async with server, SourceClient(f"http://{host}:{port}") as client:
            return await client.page(TRACKS, 1)

    return asyncio.run(scenario())


@pytest.mark.parametrize("status", [408, 429, 500, 501, 502, 503, 504, 507, 520, 524])
def test_passing_trouble_is_waited_out(status: int) -> None:
    app, requests = scripted(Response(status_code=status), Response(EMPTY_PAGE))
    with serve_app(app) as url:
        assert first_page(url).total == 0
    assert requests["tracks"] == 2


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 22\r\n\r\n{"])
def test_a_connection_that_is_cut_is_tried_again(said: bytes) -> None:
    connections = Counter[str]()

    async def cut_the_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections["opened"] += 1
        await reader.readuntil(b"\r\n\r\n")
        if connections["opened"] == 1:
            writer.write(said)
            await writer.drain()
            writer.transport.abort()
            return
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 22\r\n\r\n" + EMPTY_PAGE)
        await writer.drain()
        writer.close()

    assert on_raw_socket(cut_the_first).length == 0
    assert connections["opened"] == 2


def test_a_server_that_does_not_speak_http_is_no_source() -> None:
    async def speak_otherwise(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"220 mail.example.org ESMTP\r\n")
        await writer.drain()
        writer.close()

    with pytest.raises(SourceContractError, match="MOOVITAMIX_SOURCE_URL"):
        on_raw_socket(speak_otherwise)


def test_a_source_that_nobody_serves_is_unavailable() -> None:
    with serve_app(FastAPI()) as url:
        pass
    with pytest.raises(SourceUnavailable, match=f"{url}/tracks"):
        first_page(url)


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (401, "MOOVITAMIX_SOURCE_TOKEN"),
        (403, "MOOVITAMIX_SOURCE_TOKEN"),
        (404, "MOOVITAMIX_SOURCE_URL"),
        (422, "MOOVITAMIX_SOURCE_URL"),
    ],
)
def test_a_refusal_is_not_tried_again_and_names_the_remedy(status: int, remedy: str) -> None:
    app, requests = scripted(Response(status_code=status))
    with serve_app(app) as url:
        with pytest.raises(SourceContractError, match=f"answered HTTP {status}") as raised:
            first_page(url, token="hunter2")
        assert f"{url}/tracks?page=1&size=100" in str(raised.value)
    assert remedy in str(raised.value)
    assert "hunter2" not in str(raised.value)
    assert requests["tracks"] == 1


def test_giving_up_names_address_page_and_last_answer() -> None:
    app, requests = scripted(Response(status_code=500), Response(status_code=503))
    with serve_app(app) as url, pytest.raises(SourceUnavailable) as raised:
        first_page(url)
    message = str(raised.value)
    assert f"{url}/tracks?page=1&size=100" in message
    assert "HTTP 503 Service Unavailable" in message
    assert requests["tracks"] == ATTEMPTS


def test_the_source_may_ask_for_a_longer_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    chosen = client_module._wait

    def without_waiting(state: tenacity.RetryCallState) -> float:
        waits.append(chosen(state))
        return 0

    monkeypatch.setattr(client_module, "_wait", without_waiting)
    monkeypatch.setattr(client_module, "LONGEST_WAIT_SECONDS", 30.0)
    app, _ = scripted(
        Response(status_code=429, headers={"Retry-After": "7"}),
        Response(status_code=503, headers={"Retry-After": "300"}),
        Response(status_code=503),
        Response(EMPTY_PAGE),
    )
    with serve_app(app) as url:
        first_page(url)
    assert waits[:2] == [7, 300], "never sooner"
    assert waits[2] <= 30


def test_a_source_that_asks_for_more_than_a_pull_waits_is_left_alone_at_once() -> None:
    app, requests = scripted(Response(status_code=503, headers={"Retry-After": "301"}))
    with (
        serve_app(app) as url,
        pytest.raises(SourceUnavailable, match=r"left alone for 301 seconds.*Run again after"),
    ):
        first_page(url)
    assert requests["tracks"] == 1


def test_retry_after_is_read_as_seconds_or_as_a_date() -> None:
    assert _retry_after(None) is None
    assert _retry_after("12") == 12
    assert _retry_after("soon") is None
    assert _retry_after("-3") is None
    assert _retry_after("²") is None, "a digit to Python, and no number"
    past = format_datetime(datetime.now(UTC) - timedelta(days=1), usegmt=True)
    assert _retry_after(past) == 0
    later = _retry_after(format_datetime(datetime.now(UTC) + timedelta(days=1), usegmt=True))
    assert later is not None
    assert 86_000 < later <= 86_400
    assert _retry_after("Mon, 23 Nov 2026 10:00:00 -0000") is None, "a date of no known zone"


def test_a_token_is_sent_as_bearer_and_none_without_one() -> None:
    app, seen = FastAPI(), []

    @app.get("/tracks")
    async def answer(request: Request) -> Response:
        seen.append(request.headers.get("Authorization"))
        return Response(EMPTY_PAGE)

    with serve_app(app) as url:
        first_page(url, token="hunter2")
        first_page(url)
    assert seen == ["Bearer hunter2", None]


def test_a_header_of_its_own_carries_the_bare_token_and_no_other_does() -> None:
    app, seen = FastAPI(), []

    @app.get("/tracks")
    async def answer(request: Request) -> Response:
        seen.append((request.headers.get("X-API-Key"), request.headers.get("Authorization")))
        return Response(EMPTY_PAGE)

    with serve_app(app) as url:
        first_page(url, token="hunter2", token_header="X-API-Key")
        first_page(url, token_header="X-API-Key")
    assert seen == [("hunter2", None), (None, None)]


def test_pages_follow_each_other_and_one_past_the_end_is_empty(source: ReferenceSource) -> None:
    source.users = source.users[:30] * 5

    async def fetch() -> list[Page]:
        async with SourceClient(source.url) as client:
            return list(await asyncio.gather(*(client.page(USERS, n) for n in (1, 2, 3))))

    assert [page.length for page in asyncio.run(fetch())] == [100, 50, 0]


@pytest.mark.parametrize("headers", [{}, {"Set-Cookie": "a=b"}], ids=["kept", "complete"])
def test_an_answer_that_is_longer_than_any_page_is_none(
    headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections_module, "MOST_BYTES", 1_000)
    monkeypatch.setattr(client_module, "MOST_BYTES", 1_000)
    longest = EMPTY_PAGE + b" " * (1_000 - len(EMPTY_PAGE))
    app, requests = scripted(Response(longest, headers=headers))
    with serve_app(app) as url:
        assert first_page(url).total == 0
    app, requests = scripted(Response(longest + b" ", headers=headers))
    with serve_app(app) as url, pytest.raises(SourceContractError, match=r"tracks\?.* no page"):
        first_page(url)
    assert requests["tracks"] <= 2, "by each of the two clients at most once"


def test_no_more_requests_are_under_way_than_the_source_is_asked_to_bear() -> None:
    app = FastAPI()
    under_way, most = Counter[str](), 0

    @app.get("/tracks")
    async def answer() -> Response:
        nonlocal most
        under_way["now"] += 1
        most = max(most, under_way["now"])
        for _ in range(20):
            await asyncio.sleep(0)
        under_way["now"] -= 1
        return Response(EMPTY_PAGE)

    async def fetch(url: str) -> None:
        async with SourceClient(url) as client:
            await asyncio.gather(*(client.page(TRACKS, n) for n in range(1, 41)))

    with serve_app(app) as url:
        asyncio.run(fetch(url))
    assert 1 < most <= client_module.CONCURRENT_REQUESTS
