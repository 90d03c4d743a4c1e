"""An answer that is sent whole: to what ASGI calls `send`, or to a request that was taken.

Which requests are taken is told in `direct.py`, how they come in `protocol.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from moovitamix.serve.http.known_heads import Headers

if TYPE_CHECKING:
    from moovitamix.serve.http.protocol import WholeAnswers

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
OFFERED: dict[str, Whole] = {WHOLE: send_whole}


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
        response_complete: Whether nothing more is to be done here.
    """

    __slots__ = ("_headers", "_protocol", "_url", "disconnected", "keep_alive", "response_complete")

    message_event = _Nobody()

    def __init__(self, protocol: WholeAnswers, url: bytes, headers: Headers) -> None:
        self._protocol: WholeAnswers | None = protocol
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
        if protocol is None:
            return True
        if not (self.disconnected or protocol.transport.is_closing()):
            if not self.keep_alive or protocol.flow.write_paused:
                return False
            begin = _begin(protocol.server_state.default_headers)
            protocol.transport.write(b"%b%b\r\n%b" % (begin, head, body))
        self._let_go()
        protocol.on_turn_complete()
        return True

    def pass_on(self, app: ASGIApp) -> None:
        """Have an ASGI application answer that needs no more of the request than its target."""
        protocol = self._protocol
        if protocol is not None:
            protocol.go_on(self, app, self._url, self._headers)
            self._let_go()

    def _let_go(self) -> None:
        """The connection holds its last turn: a circle else, which waits for the collector."""
        self.response_complete = True
        self._protocol, self._headers = None, ()
