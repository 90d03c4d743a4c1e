"""uvicorn's HTTP protocol, with two shorter ways for answers that are whole when they are there.

ASGI sends an answer in two messages, and uvicorn looks at each header of the first one, and at what
has been sent so far. A list's answer is whole, and its head is of our own making (`noted.py`):
where `WHOLE` is offered, `gate.py` hands over both. And a request has a scope and a task of its
own: an application that can `take` requests (`direct.py`) is handed what was read of each GET, and
does without. Elsewhere, and whenever anything is unusual, everything goes as in any server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from starlette.types import ASGIApp, Send
from uvicorn.protocols.http.httptools_impl import (
    HttpToolsProtocol,
    RequestResponseCycle,
)

# Where `scope["extensions"]` holds a `Whole`.
WHOLE = "moovitamix.whole"

# Sends the lines of a head, each with its end, and the body, with status 200, where what ASGI calls
# `send` would; whether it did.
Whole = Callable[[Send, bytes, bytes], bool]

_Headers = list[tuple[bytes, bytes]]


class _Lines:
    """The lines of the headers that every answer has; uvicorn makes new ones each second."""

    def __init__(self) -> None:
        self._of: _Headers | None = None
        self._lines = b""

    def of(self, headers: _Headers) -> bytes:
        if headers is not self._of:
            told = (b"%b: %b\r\n" % header for header in headers)
            self._lines, self._of = b"HTTP/1.1 200 OK\r\n" + b"".join(told), headers
        return self._lines


_begin = _Lines().of


def send_whole(send: Send, head: bytes, body: bytes) -> bool:
    """Send an answer to a GET, if it is the usual case.

    Args:
        send: As the server gave it.
        head: Lines, each with its end, without the empty one; with the length of the body.
        body: All of it.

    Returns:
        Whether it was sent; else nothing has been.
    """
    cycle = getattr(send, "__self__", None)
    if (
        not isinstance(cycle, RequestResponseCycle)
        or cycle.response_started
        or cycle.disconnected
        or not cycle.keep_alive
        or cycle.access_log
        or cycle.flow.write_paused
    ):
        return False
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    cycle.transport.write(b"%b%b\r\n%b" % (_begin(cycle.default_headers), head, body))
    cycle.message_event.set()
    cycle.on_response()
    return True


# The same for all: what is of a request here would hold itself, and wait for the garbage collector.
_OFFERED: dict[str, Whole] = {WHOLE: send_whole}


class _Nobody:
    """Stands for the event that an application would wait for: none does."""

    def set(self) -> None:
        """Tell nobody."""


class Turn:
    """A request that was taken: where its answer goes.

    Stands where uvicorn has a `RequestResponseCycle` while its connection goes on, closes, is read
    from, or is told that the server ends; what is public here and not told is read there.

    Attributes:
        disconnected: Whether the client has gone.
        keep_alive: Whether the connection is to stay open.
        response_complete: Whether the answer was sent, so that the next one may be.
    """

    __slots__ = ("_headers", "_protocol", "_url", "disconnected", "keep_alive", "response_complete")

    message_event = _Nobody()

    def __init__(self, protocol: WholeAnswers, url: bytes, headers: _Headers) -> None:
        self._protocol = protocol
        self._url = url
        self._headers = headers
        self.disconnected = False
        self.keep_alive = True
        self.response_complete = False

    def answer(self, head: bytes, body: bytes) -> bool:
        """Send the answer, see `send_whole`.

        Returns:
            Whether it was sent, or nobody is there any more; else `pass_on`.
        """
        protocol = self._protocol
        if not (self.disconnected or protocol.transport.is_closing()):
            if not self.keep_alive or protocol.flow.write_paused:
                return False
            begin = _begin(protocol.server_state.default_headers)
            protocol.transport.write(b"%b%b\r\n%b" % (begin, head, body))
        self.response_complete = True
        protocol.on_response_complete()
        return True

    def pass_on(self, app: ASGIApp) -> None:
        """Have an ASGI application answer that needs no more of the request than its target."""
        self._protocol.go_on(self, app, self._url, self._headers)


Take = Callable[[bytes, Sequence[tuple[bytes, bytes]], Turn], bool]


class WholeAnswers(HttpToolsProtocol):
    """uvicorn's protocol that offers `WHOLE`, and GETs to what the application has as `take`."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        take = getattr(self.app, "take", None)
        # uvicorn's own access log and its limit of requests are told of by a scope and a task.
        unusual = self.access_log or self.limit_concurrency is not None or self.root_path
        self._take: Take | None = None if unusual else take

    def on_message_begin(self) -> None:
        """A request comes in."""
        super().on_message_begin()
        scope: Any = self.scope
        scope["extensions"] = _OFFERED

    def on_headers_complete(self) -> None:
        """All of a request is known but its body."""
        if self._take is None or not self._is_usual():
            super().on_headers_complete()
            return
        turn = Turn(self, self.url, self.headers)
        if self._take(self.url, self.headers, turn):
            self.cycle = turn  # type: ignore[assignment]  # what uvicorn uses of one, it has
        else:
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """All of a request is known."""
        cycle: Any = self.cycle
        if not isinstance(cycle, Turn):
            super().on_message_complete()

    def _is_usual(self) -> bool:
        cycle, parser = self.cycle, self.parser
        return (
            (cycle is None or cycle.response_complete)
            and not self.pipeline
            and not self.expect_100_continue
            and not self.flow.write_paused
            and parser.get_method() == b"GET"
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not parser.should_upgrade()
        )

    def go_on(self, turn: Turn, app: ASGIApp, url: bytes, headers: _Headers) -> None:
        """Let an application answer a request that was taken."""
        scope: Any = {
            "type": "http",
            "method": "GET",
            "path": url.partition(b"?")[0].decode("latin-1"),
            "headers": headers,
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
