"""Kept connections give what a complete client gives, or leave it to one."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httptools
import pytest
from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse
from hypothesis import given
from hypothesis import strategies as st

from moovitamix.ingest.client import SourceClient
from moovitamix.ingest.connections import Answer, Connections, Unusual
from moovitamix.ingest.contract import TRACKS
from moovitamix.ingest.decode import Page
from moovitamix_tests.reference_source import serve_app

PAGE = b'{"items":[],"total":7}'
Answering = Callable[[int, bytes, asyncio.StreamWriter], Awaitable[None]]


def ok(body: bytes, *headers: bytes) -> bytes:
    """An answer with a body of stated length."""
    lines = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join([*lines, b"", body])


@asynccontextmanager
async def served(answering: Answering, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """The URL of a server that answers each request with what it is told to.

    It is told the number of the connection, the request, and where to write.
    """
    handlers: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.add(asyncio.current_task())
        number = len(handlers)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while request := await reader.readuntil(b"\r\n\r\n"):
                await answering(number, request, writer)
        with suppress(ConnectionError):
            writer.close()
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        root = "https://localhost" if tls else "http://127.0.0.1"
        yield f"{root}:{server.sockets[0].getsockname()[1]}"
        await asyncio.gather(*filter(None, handlers))


async def asked(
    answering: Answering, paths: Sequence[str] = ("/",)
) -> list[tuple[int, Answer | Exception]]:
    """What becomes of requests, one after another, and on which connection each came last."""
    last = 0

    async def noting(number: int, request: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal last
        last = number
        await answering(number, request, writer)

    outcomes: list[tuple[int, Answer | Exception]] = []
    async with served(noting) as url:
        kept = Connections(url, {"X-Key": "hunter2"})
        for path in paths:
            try:
                answer: Answer | Exception = await kept.get(url + path)
            except (OSError, Unusual, httptools.HttpParserError) as error:
                answer = error
            outcomes.append((last, answer))
        kept.close()
    return outcomes


def first_pages(url: str, times: int = 2) -> list[Page]:
    async def fetch() -> list[Page]:
        async with SourceClient(url) as client:
            return [await client.page(TRACKS, 1) for _ in range(times)]

    return asyncio.run(fetch())


def test_requests_share_a_connection_and_carry_the_headers() -> None:
    requests: list[bytes] = []

    async def answer(_: int, request: bytes, writer: asyncio.StreamWriter) -> None:
        requests.append(request)
        writer.write(ok(request.split()[1]))

    outcomes = asyncio.run(asked(answer, ["/tracks?page=1", "/users?page=2"]))
    assert outcomes == [
        (1, Answer(200, "OK", b"/tracks?page=1", None)),
        (1, Answer(200, "OK", b"/users?page=2", None)),
    ]
    assert all(b"\r\nX-Key: hunter2\r\n" in request for request in requests)


@given(
    body=st.binary(max_size=60),
    cuts=st.lists(st.integers(0, 200), max_size=6),
    chunked=st.booleans(),
)
def test_an_answer_is_the_same_in_whatever_pieces_it_comes(
    body: bytes, cuts: list[int], chunked: bool
) -> None:
    sent = ok(body, b"Retry-After: 5")
    if chunked:
        halves = [half for half in (body[:7], body[7:]) if half]
        sent = b"HTTP/1.1 200 OK\r\nRetry-After: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
        sent += b"".join(b"%x\r\n%s\r\n" % (len(half), half) for half in halves) + b"0\r\n\r\n"

    async def answer(_: int, __: bytes, writer: asyncio.StreamWriter) -> None:
        ends = sorted({min(cut, len(sent)) for cut in cuts} | {len(sent)})
        for start, end in zip([0, *ends], ends, strict=False):
            writer.write(sent[start:end])
            await writer.drain()
            await asyncio.sleep(0)

    outcomes = asyncio.run(asked(answer, ["/", "/"]))
    assert outcomes == [(1, Answer(200, "OK", body, "5"))] * 2


def test_a_connection_that_the_server_has_closed_meanwhile_is_replaced_in_silence() -> None:
    async def answer(number: int, _: bytes, writer: asyncio.StreamWriter) -> None:
        if number == 1 and answered:
            writer.transport.abort()
            return
        answered.append(number)
        writer.write(ok(PAGE))

    answered: list[int] = []
    outcomes = asyncio.run(asked(answer, ["/", "/", "/"]))
    assert [number for number, _ in outcomes] == [1, 2, 2]
    assert all(isinstance(found, Answer) for _, found in outcomes)


def test_a_connection_that_is_cut_within_an_answer_is_trouble() -> None:
    async def answer(_: int, __: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(ok(PAGE)[:-5] if answered else ok(PAGE))
        await writer.drain()
        if answered:
            writer.close()
        answered.append(True)

    answered: list[bool] = []
    (_, good), (_, cut) = asyncio.run(asked(answer, ["/", "/"]))
    assert isinstance(good, Answer)
    assert isinstance(cut, ConnectionError)


@pytest.mark.parametrize(
    "last", [b"HTTP/1.1 200 OK\r\nConnection: close", b"HTTP/1.0 200 OK"], ids=["close", "1.0"]
)
def test_a_connection_is_used_no_more_when_its_server_says_so(last: bytes) -> None:
    async def answer(_: int, __: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(ok(PAGE).replace(b"HTTP/1.1 200 OK", last))

    outcomes = asyncio.run(asked(answer, ["/", "/"]))
    assert [number for number, _ in outcomes] == [1, 2]
    assert [found for _, found in outcomes] == [Answer(200, "OK", PAGE, None)] * 2


def test_a_second_answer_to_one_request_is_given_to_nobody() -> None:
    async def answer(_: int, __: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(ok(b"first") + ok(b"second"))

    outcomes = asyncio.run(asked(answer, ["/", "/", "/"]))
    assert [(number, found.body) for number, found in outcomes if isinstance(found, Answer)] == [
        (1, b"first"),
        (2, b"first"),
        (3, b"first"),
    ]


def test_the_answer_to_a_request_given_up_is_given_to_no_other() -> None:
    async def scenario() -> bytes:
        asked_for, may_answer = asyncio.Event(), asyncio.Event()

        async def answer(_: int, request: bytes, writer: asyncio.StreamWriter) -> None:
            path = request.split()[1]
            if path == b"/slow":
                asked_for.set()
                await may_answer.wait()
            writer.write(ok(path))

        async with served(answer) as url:
            kept = Connections(url, {})
            slow = asyncio.create_task(kept.get(f"{url}/slow"))
            await asked_for.wait()
            slow.cancel()
            await asyncio.wait([slow])
            may_answer.set()
            following = await kept.get(f"{url}/next")
            kept.close()
        return following.body

    assert asyncio.run(scenario()) == b"/next"


@pytest.mark.parametrize(
    "sent",
    [
        b"HTTP/1.1 307 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
        ok(b"", b"Content-Encoding: gzip"),
        ok(PAGE, b"Set-Cookie: at=7"),
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + PAGE,
        b"HTTP/1.1 103 Early Hints\r\n\r\n" + ok(PAGE),
        b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    ],
    ids=["redirect", "compressed", "cookie", "no length", "interim", "upgrade"],
)
def test_what_takes_a_complete_client_is_left_to_one(sent: bytes) -> None:
    async def answer(_: int, __: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)

    ((_, found),) = asyncio.run(asked(answer))
    assert isinstance(found, Unusual)


def test_by_tls_only_a_source_that_proves_its_name_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / "key-and-certificate.pem"
    options = "-x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    command = ["openssl", "req", *options.split(), "-addext", "subjectAltName=DNS:localhost"]
    try:
        subprocess.run(
            [*command, "-keyout", made, "-out", tmp_path / "cert.pem"],
            check=True,
            capture_output=True,
        )
    except FileNotFoundError:
        pytest.skip("NOT CHECKED: openssl, which makes the certificate, is not installed")
    made.write_text(made.read_text() + (tmp_path / "cert.pem").read_text())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made)
    requests: list[bytes] = []

    async def answer(_: int, request: bytes, writer: asyncio.StreamWriter) -> None:
        requests.append(request)
        writer.write(ok(PAGE))

    async def ask() -> Answer:
        async with served(answer, context) as url:
            kept = Connections(url, {})
            try:
                return await kept.get(f"{url}/tracks")
            finally:
                kept.close()

    with pytest.raises(ssl.SSLCertVerificationError):
        asyncio.run(ask())
    assert requests == []
    monkeypatch.setenv("SSL_CERT_FILE", str(made))
    assert asyncio.run(ask()).body == PAGE


def test_what_is_no_http_is_told_from_trouble() -> None:
    async def answer(_: int, __: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.org ESMTP\r\n")

    ((_, found),) = asyncio.run(asked(answer))
    assert isinstance(found, httptools.HttpParserError)


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("http://someone:secret@example.org", {}),
        ("http://müsik.example.org", {}),
        ("http://example.org/a b", {}),
        ("ftp://example.org", {}),
        ("http://example.org", {"X-Key": "a\r\nHost: other"}),
        ("http://example.org", {"X-Key": "schlüssel"}),
    ],
)
def test_an_address_or_a_header_out_of_the_ordinary_is_not_sent(
    url: str, headers: dict[str, str]
) -> None:
    with pytest.raises(Unusual):
        Connections(url, headers)


def test_a_source_that_redirects_or_compresses_or_sets_cookies_is_read_all_the_same() -> None:
    app, cookies = FastAPI(), []

    @app.get("/old/tracks")
    async def moved(request: Request) -> Response:
        return RedirectResponse(f"/new/tracks?{request.url.query}")

    @app.get("/new/tracks")
    async def compressed(request: Request) -> Response:
        cookies.append(request.cookies.get("at"))
        answer = Response(gzip.compress(PAGE), headers={"Content-Encoding": "gzip"})
        answer.set_cookie("at", "7")
        return answer

    @app.get("/streamed/tracks")
    async def streamed() -> Response:
        return StreamingResponse(iter([PAGE[:5], PAGE[5:]]))

    # Cookies of an address go to no other one.
    with serve_app(app) as url:
        pages = first_pages(f"{url.replace('127.0.0.1', 'localhost')}/old")
        pages += first_pages(f"{url}/streamed")
    assert [page.total for page in pages] == [7] * 4
    assert cookies == [None, "7"]
