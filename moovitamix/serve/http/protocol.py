"""uvicorn's HTTP protocol, which also takes an answer in one piece.

ASGI sends an answer in two messages, and uvicorn looks at each header of the first one, and at what
has been sent so far. A list's answer is whole when it is there, and its head is of our own making
(`noted.py`). Where this is offered, `gate.py` hands over both; elsewhere, and whenever anything is
unusual, it sends messages as anybody does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.types import Send
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


class WholeAnswers(HttpToolsProtocol):
    """uvicorn's protocol that offers `WHOLE`."""

    def on_message_begin(self) -> None:
        """A request comes in."""
        super().on_message_begin()
        scope: Any = self.scope
        scope["extensions"] = _OFFERED
