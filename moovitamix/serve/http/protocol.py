"""uvicorn's HTTP protocol, with two shorter ways for answers that are whole when they are there.

ASGI sends an answer in two messages, and uvicorn looks at each header of the first one, and at what
has been sent so far. A list's answer is whole, and its head is of our own making (`noted.py`):
where `WHOLE` is offered, `gate.py` hands over both. And a request has a scope and a task of its
own: an application that can `take` requests (`direct.py`) is handed what was read of each GET, and
does without; a head that was read before is not read again (`known_heads.py`). Elsewhere, and
whenever anything is unusual, everything goes as in any server.

What comes before a request is one is told in `bounded.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from moovitamix.serve.http.bounded import BoundedProtocol
from moovitamix.serve.http.known_heads import Headers, KnownHeads
from moovitamix.serve.http.turns import OFFERED, Turn

log = logging.getLogger(__name__)

# Of all connections of the process.
_known = KnownHeads()

Take = Callable[[bytes, Headers, Turn], bool]


class WholeAnswers(BoundedProtocol):
    """uvicorn's protocol, which offers `WHOLE` to applications.

    Also offers GETs to what the application has as `take`, where it has such.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        # uvicorn's own access log and its limit of requests are told of by a scope and a task.
        unusual = self.access_log or self.limit_concurrency is not None or self.root_path
        self._take: Take | None = None if unusual else getattr(self.app, "take", None)

    def data_received(self, data: bytes) -> None:
        """A client sends something."""
        whole = self._is_whole
        if whole and self._is_taken_at_sight(data):
            return
        super().data_received(data)
        cycle: Any = self.cycle
        is_one = whole and self._is_whole and self._begun == 1 and not self.transport.is_closing()
        if is_one and isinstance(cycle, Turn):
            _known.note(data, self.headers)

    def on_head(self) -> None:
        """All of a request is known but its body."""
        if not (self._is_usual() and self._is_taken(self.url, self.headers)):
            super().on_head()

    def make_scope(self) -> None:
        """What an application is given."""
        super().make_scope()
        scope: Any = self.scope
        scope["extensions"] = OFFERED

    def on_message_complete(self) -> None:
        """All of a request is known."""
        cycle: Any = self.cycle
        if isinstance(cycle, Turn):
            self._is_whole = True
        else:
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
