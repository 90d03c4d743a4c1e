"""uvicorn's HTTP protocol, with two shorter ways for answers that are whole when they are there.

ASGI sends an answer in two messages, and uvicorn looks at each header of the first one, and at what
has been sent so far. A list's answer is whole, and its head is of our own making (`noted.py`):
where `WHOLE` is offered, `gate.py` hands over both. And a request has a scope and a task of its
own: an application that can `take` requests (`direct.py`) is handed what was read of each GET, and
does without; a head that was read before is not read again (`known_heads.py`). Elsewhere, and
whenever anything is unusual, everything goes as in any server.

It also looks after what comes before an application does: heads that are too large or too slow,
requests that wait behind others, offers of another protocol, and what is no HTTP.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

import httptools
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from moovitamix.serve.http.known_heads import Headers, KnownHeads
from moovitamix.serve.http.offers import without_offer
from moovitamix.serve.http.problems import ProblemError
from moovitamix.serve.http.turns import OFFERED, Turn

log = logging.getLogger(__name__)

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

# Of all connections of the process.
_known = KnownHeads()

# The head and the body of an answer to what cannot be read.
Refuse = Callable[[ProblemError], tuple[Sequence[tuple[bytes, bytes]], bytes]]


class _Unreadable(Exception):
    """Ends the reading of a request."""


Take = Callable[[bytes, Headers, Turn], bool]


class WholeAnswers(HttpToolsProtocol):
    """uvicorn's protocol, which offers `WHOLE` to applications.

    Also offers GETs to what the application has as `take`, and has what cannot be read answered by
    what it has as `refuse_unread`, where it has such.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        # uvicorn's own access log and its limit of requests are told of by a scope and a task.
        unusual = self.access_log or self.limit_concurrency is not None or self.root_path
        self._take: Take | None = None if unusual else getattr(self.app, "take", None)
        self._refuse: Refuse | None = getattr(self.app, "refuse_unread", None)
        self._problem = NO_REQUEST
        self._head_bytes = 0
        self._in_head = False
        self._late: asyncio.TimerHandle | None = None
        # Requests that have begun in what is being read, and whether the last of them is whole.
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
        if self._is_whole and self._is_taken_at_sight(data):
            return
        self._unset_keepalive_if_required()
        whole, self._begun = self._is_whole, 0
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
        if self._in_head and self._late is None:
            self._hurry()
        cycle: Any = self.cycle
        if whole and self._is_whole and self._begun == 1 and isinstance(cycle, Turn):
            _known.note(data, self.headers)

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
        if not (self._is_usual() and self._is_taken(self.url, self.headers)):
            self._make_scope()
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """All of a request is known."""
        self._is_whole = True
        cycle: Any = self.cycle
        if not isinstance(cycle, Turn) and not self.parser.should_upgrade():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """A request was answered; what waits on this connection is next, before any is read."""
        super().on_response_complete()
        if self.pipeline and not self.transport.is_closing():
            self.flow.pause_reading()

    def on_turn_complete(self) -> None:
        """The same for a request that was taken."""
        if self.pipeline or self.timeout_keep_alive_task is None:
            self.on_response_complete()
        else:
            self.server_state.total_requests += 1
        self._rests_since = self.loop.time()

    def timeout_keep_alive_handler(self) -> None:
        """A connection may have rested for long; requests that are taken do not set its timer."""
        self.timeout_keep_alive_task = None
        if not self._is_free():
            return  # it is set when that request is answered
        left = self._rests_since + self.timeout_keep_alive - self.loop.time()
        if left <= 0:
            super().timeout_keep_alive_handler()
        else:
            again = self.loop.call_later(left, self.timeout_keep_alive_handler)
            self.timeout_keep_alive_task = again

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

    def go_on(self, turn: Turn, app: ASGIApp, url: bytes, headers: Headers) -> None:
        """Let an application answer a request that was taken."""
        scope: Any = {
            "type": "http",
            "method": "GET",
            "path": url.partition(b"?")[0].decode("latin-1"),
            "headers": list(headers),
        }
        cycle = RequestResponseCycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=turn.keep_alive,
            on_response=self.on_response_complete,
        )
        cycle.disconnected, cycle.more_body = turn.disconnected, False
        current: Any = self.cycle
        if current is turn:
            self.cycle = cycle
        answering: Any = app  # ASGI has other types there
        self._start_asgi_task(cycle, answering)

    def _make_scope(self) -> None:
        known = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue = known
        scope: Any = self.scope
        scope["headers"], scope["extensions"] = self.headers, OFFERED

    def _is_taken_at_sight(self, data: bytes) -> bool:
        """Whether all that has come is a GET, with headers that are known, and was taken."""
        if self._take is None or not self._is_free() or self.flow.write_paused:
            return False
        known = _known.find(data)
        if known is None or not self._is_taken(*known):
            return False
        if self._late is not None:
            self._in_time()
        return True

    def _is_taken(self, url: bytes, headers: Headers) -> bool:
        if self._take is None:
            return False
        turn = Turn(self, url, headers)
        try:
            is_taken = self._take(url, headers, turn)
        except Exception:
            log.exception("A request was left to the longer way")
            return False
        if is_taken:
            self.cycle = turn  # type: ignore[assignment]  # what uvicorn uses of one, it has
        return is_taken

    def _is_free(self) -> bool:
        cycle = self.cycle
        return (cycle is None or cycle.response_complete) and not self.pipeline

    def _is_usual(self) -> bool:
        parser = self.parser
        return (
            self._is_free()
            and not self.expect_100_continue
            and not self.flow.write_paused
            and parser.get_method() == b"GET"
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
        )

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
