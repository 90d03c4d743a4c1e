"""uvicorn's HTTP protocol, with bounds on what comes before an application is asked.

Heads that are too large or too slow, requests that wait behind others, connections that rest,
offers of another protocol, and what is no HTTP. How requests are answered is told in `protocol.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from moovitamix.serve.http.offers import without_offer
from moovitamix.serve.http.problems import ProblemError

# The target and the headers of a request: bytes, and seconds from the first of them.
MOST_OF_A_HEAD = 65_536
HEAD_WITHIN = 30.0
# Requests that one connection has waiting while another of its own is answered.
MOST_WAITING = 100

NO_REQUEST = ProblemError(400, "This is no HTTP request that can be read. Look at what was sent.")
TOO_LARGE = ProblemError(431, f"Send at most {MOST_OF_A_HEAD:,} bytes of target and headers.")
TOO_MANY = ProblemError(
    429, f"Wait for answers: more than {MOST_WAITING} requests wait on this connection."
)

# The head and the body of an answer to what cannot be read.
Refuse = Callable[[ProblemError], tuple[Sequence[tuple[bytes, bytes]], bytes]]


class _Unreadable(Exception):
    """Ends the reading of a request."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol; what cannot be read is answered by the application's `refuse_unread`."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._refuse: Refuse | None = getattr(self.app, "refuse_unread", None)
        self._problem = NO_REQUEST
        self._head_bytes = 0
        self._in_head = False
        self._late: asyncio.TimerHandle | None = None
        # Requests that have begun in what was read last, and whether the last of them is whole.
        self._begun = 0
        self._is_whole = True
        self._rests_since = 0.0

    def connection_made(self, transport: Any) -> None:
        """A client is there; it has to send something."""
        super().connection_made(transport)
        self._hurry()

    def connection_lost(self, exc: Exception | None) -> None:
        """A client has gone."""
        self._in_time()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A client sends something."""
        self._unset_keepalive_if_required()
        self._begun = 0
        rest: bytes | memoryview = data
        try:
            while True:
                try:
                    self.parser.feed_data(rest)
                    break
                except httptools.HttpParserUpgrade as offered:
                    rest = memoryview(rest)[offered.args[0] :]
                    self._read_again()
        except httptools.HttpParserError:
            self.send_400_response("")
        if self._in_head:
            if self._late is None:
                self._hurry()
        elif self._is_free() and not self.transport.is_closing():
            self._rest()  # an empty line came, or the rest of a request that was answered before

    def on_message_begin(self) -> None:
        """A request comes in; who needs a scope has it made when its head is there."""
        self.url, self.headers, self.expect_100_continue = b"", [], False
        self._begun += 1
        self._is_whole = False
        self._head_bytes, self._in_head = 0, True

    def on_url(self, url: bytes) -> None:
        """A part of a target has come."""
        self._head_bytes += len(url)
        if self._head_bytes > MOST_OF_A_HEAD:
            self._end_reading(TOO_LARGE)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header has come."""
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > MOST_OF_A_HEAD:
            self._end_reading(TOO_LARGE)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """All of a request is known but its body."""
        self._in_head = False
        if self._late is not None:
            self._in_time()
        if self.parser.should_upgrade():
            return  # see `_read_again`
        if len(self.pipeline) >= MOST_WAITING:
            self._end_reading(TOO_MANY)
        self.on_head()

    def on_head(self) -> None:
        """The same, of a request that may be answered."""
        self.make_scope()
        super().on_headers_complete()

    def make_scope(self) -> None:
        """What an application is given."""
        known = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue = known
        scope: Any = self.scope
        scope["headers"] = self.headers

    def on_message_complete(self) -> None:
        """All of a request is known."""
        self._is_whole = True
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def timeout_keep_alive_handler(self) -> None:
        """A connection may have rested for long; requests that are taken do not set its timer."""
        self.timeout_keep_alive_task = None
        if not self._is_free():
            return  # it is set when that request is answered
        left = self._rests_since + self.timeout_keep_alive - self.loop.time()
        if left <= 0:
            super().timeout_keep_alive_handler()
        else:
            self._rest(left)

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be read, and close the connection."""
        problem, self._problem = self._problem, NO_REQUEST
        if self._refuse is None:
            super().send_400_response(msg or problem.detail)
            return
        headers, body = self._refuse(problem)
        every = (*self.server_state.default_headers, *headers, (b"connection", b"close"))
        lines = b"".join(b"%b: %b\r\n" % header for header in every)
        self.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[problem.status], lines, body))
        self.transport.close()

    def _is_free(self) -> bool:
        cycle = self.cycle
        return (cycle is None or cycle.response_complete) and not self.pipeline

    def _rest(self, seconds: float | None = None) -> None:
        within = self.timeout_keep_alive if seconds is None else seconds
        again = self.loop.call_later(within, self.timeout_keep_alive_handler)
        self.timeout_keep_alive_task = again

    def _read_again(self) -> None:
        """Read a head that offers another protocol as one that does not.

        The parser stops at the end of such a head: a body would be read as a request.
        """
        method, version = self.parser.get_method(), self.parser.get_http_version()
        if method == b"CONNECT":
            self._problem = NO_REQUEST
            raise httptools.HttpParserError
        head = without_offer(method, self.url, version, self.headers)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
        self.parser.feed_data(head)

    def _end_reading(self, problem: ProblemError) -> None:
        self._problem = problem
        raise _Unreadable

    def _hurry(self) -> None:
        self._late = self.loop.call_later(HEAD_WITHIN, self._too_late)

    def _in_time(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _too_late(self) -> None:
        self._late = None
        if not self.transport.is_closing():
            self.transport.close()
