"""One GET after another over connections that are kept: the way that most pages come.

It knows just enough HTTP/1.1 for that, and says of anything beyond it that it is `Unusual`: a
complete client then asks again. What an answer means is told in `client.py`.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

import httptools

# A complete client tries several addresses of a host at once, so leave it the time to.
_CONNECT_SECONDS = 3.0

# The longest page that the contract allows has some 60 MB: a hundred listen records of 32,000
# tracks each. What is longer is no page, and need not be held to tell so.
MOST_BYTES = 64 * 2**20

# Headers of an answer that ask more of a client than to hand on the body.
_BEYOND = frozenset({b"content-encoding", b"location", b"set-cookie"})
_OF_LENGTH = frozenset({b"content-length", b"transfer-encoding"})

_PLAIN_URL = re.compile(
    r"https?://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:[0-9]+)?(/[A-Za-z0-9_./~-]*)?"
)
_PLAIN_HEADER = re.compile(r"[\x20-\x7e]*")


class Unusual(Exception):
    """The source asks for a complete HTTP client."""


class TooLong(Exception):
    """The body of an answer has more than `MOST_BYTES`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the source answered.

    Args:
        status: The number of HTTP.
        reason: The words beside it.
        body: All of it.
        retry_after: The header of this name.
    """

    status: int
    reason: str
    body: bytes
    retry_after: str | None


class Connections:
    """Connections to one server, as many as there are requests at a time.

    Args:
        url: What the addresses of all requests begin with.
        headers: What each request carries.

    Raises:
        Unusual: When URL or headers are such as only a complete client should send.
    """

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        told = [part for header in headers.items() for part in header]
        if not _PLAIN_URL.fullmatch(url) or not all(map(_PLAIN_HEADER.fullmatch, told)):
            raise Unusual
        parts = urlsplit(url)
        self._secure = parts.scheme == "https"
        self._host = cast("str", parts.hostname)
        self._port = parts.port or (443 if self._secure else 80)
        self._skip = len(f"{parts.scheme}://{parts.netloc}")
        sent = {
            "Host": parts.netloc,
            "Accept": "*/*",
            "Accept-Encoding": "gzip, deflate",
            "User-Agent": "moovitamix",
            **headers,
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        self._rest = f" HTTP/1.1\r\n{lines}\r\n"
        self._tls: ssl.SSLContext | None = None
        self._idle: list[_Connection] = []

    def close(self) -> None:
        """Close what is kept."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    async def get(self, where: str) -> Answer:
        """The answer to a GET of an address below the URL; the caller limits its time.

        Raises:
            Unusual: When it takes a complete client to tell what the answer is.
            TooLong: When its body is no page's.
            OSError: When there is no connection, or it is cut.
            httptools.HttpParserError: When the answer is no HTTP.
        """
        request = f"GET {where[self._skip :]}{self._rest}".encode("ascii")
        while True:
            kept = bool(self._idle)
            connection = self._idle.pop() if kept else await self._connect()
            try:
                answer = await connection.ask(request)
            except ConnectionError:
                # Servers close what has been idle for some seconds: that is no trouble.
                if kept and connection.silent:
                    continue
                raise
            finally:
                # Also when the caller has had enough: the rest of the answer is nobody's.
                if connection.reusable:
                    self._idle.append(connection)
                else:
                    connection.close()
            return answer

    async def _connect(self) -> _Connection:
        if self._secure and self._tls is None:
            self._tls = ssl.create_default_context()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                _, connection = await loop.create_connection(
                    _Connection, self._host, self._port, ssl=self._tls
                )
        except TimeoutError as error:
            raise Unusual from error
        return connection


class _Connection(asyncio.Protocol):
    """A connection with one request at a time.

    Attributes:
        reusable: Whether another request may follow.
        silent: Whether nothing has come since the last request.
    """

    def __init__(self) -> None:
        self.reusable = False
        self.silent = True
        self._parser = httptools.HttpResponseParser(self)
        self._waiting: asyncio.Future[Answer] | None = None
        self._forget()

    def _forget(self) -> None:
        self._reason = b""
        self._body: list[bytes] = []
        self._length = 0
        self._retry_after: str | None = None
        self._beyond = False
        self._bounded = False

    async def ask(self, request: bytes) -> Answer:
        """Send a request and wait for the answer; for what is raised, see `Connections.get`."""
        self.reusable, self.silent = False, True
        if self._transport.is_closing():
            raise ConnectionResetError("The connection was closed")
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._waiting

    def close(self) -> None:
        self._transport.close()

    def _fail(self, error: Exception) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)
        self.reusable = False
        self._transport.close()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(error or ConnectionResetError("The connection was closed"))

    def data_received(self, data: bytes) -> None:
        self.silent = False
        if self._waiting is None or self._waiting.done():
            self._fail(ConnectionResetError("An answer that nobody asked for"))
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(error)
        except httptools.HttpParserUpgrade:
            self._fail(Unusual())

    # What the parser calls.

    def on_message_begin(self) -> None:
        if self._waiting is None or self._waiting.done():  # a second answer behind the first
            self._fail(ConnectionResetError("An answer that nobody asked for"))
        self._forget()

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in _OF_LENGTH:
            self._bounded = True
        elif name in _BEYOND:
            self._beyond = True
        elif name == b"retry-after":
            self._retry_after = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        # Without a length, the end of the body is that of the connection; a proxy's interim
        # answer has none either.
        if self._beyond or not self._bounded:
            self._fail(Unusual())

    def on_body(self, body: bytes) -> None:
        self._body.append(body)
        self._length += len(body)
        if self._length > MOST_BYTES:
            self._body.clear()
            self._fail(TooLong())

    def on_message_complete(self) -> None:
        if self._waiting is None or self._waiting.done():
            return
        status = self._parser.get_status_code()
        reason = self._reason.decode("latin-1")
        self._waiting.set_result(Answer(status, reason, b"".join(self._body), self._retry_after))
        self.reusable = self._parser.should_keep_alive() and not self._transport.is_closing()
