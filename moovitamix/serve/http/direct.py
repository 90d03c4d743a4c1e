"""The shortest way of the request that is asked most: a plain list, for a key that is known.

It takes neither a scope nor a task: the server's protocol hands over what it has read
(`protocol.py`), the user's list is asked for with those of all others of this tick (`reads.py`),
and the answer is sent when it comes, right behind those of the same read (`together.py`). Whatever
is unusual about a request leaves it to the gate, which answers all; whatever is unusual about a
list, to `tiers.py`, with what was read.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from starlette.types import Receive, Scope, Send

from moovitamix.serve.http.asking import CACHED_QUERY, Ask, read_query
from moovitamix.serve.http.gate import Gate, send_list
from moovitamix.serve.http.heads import read_head
from moovitamix.serve.http.noted import Noted, head_of_list
from moovitamix.serve.http.problems import ProblemError
from moovitamix.serve.http.reads import Outcome
from moovitamix.serve.http.rendering import Answer
from moovitamix.serve.http.routes import PARAMETERS, RECOMMENDATIONS
from moovitamix.serve.http.tiers import Tiers
from moovitamix.serve.http.together import Together
from moovitamix.serve.http.turns import Turn

log = logging.getLogger(__name__)

_BEFORE, _AFTER = (part.encode() for part in RECOMMENDATIONS.split("{id}"))
_ALLOWED = PARAMETERS[RECOMMENDATIONS]
# Of an id that is surely one of 64 bits.
_DIGITS = 18


class Direct:
    """Takes requests for plain lists.

    Args:
        gate: Lets them in, and answers those that are not taken.
        tiers: What answers requests for lists.
    """

    def __init__(self, gate: Gate, tiers: Tiers) -> None:
        self._gate = gate
        self._tiers = tiers
        self._together = Together()

    def take(self, url: bytes, headers: Sequence[tuple[bytes, bytes]], turn: Turn) -> bool:
        """Take a GET, if it is the usual case.

        Args:
            url: As it came.
            headers: As ASGI has them.
            turn: Where its answer goes.

        Returns:
            Whether it will be answered; else nothing was done.
        """
        asked = _plainly_asked(url)
        if asked is None or not self._tiers.lists.readable:
            return False
        head = read_head(headers)
        if head.length is not None or head.chunked is not None:
            return False
        gate = self._gate
        noted = Noted(gate.ids.of(head.request_id))
        if not gate.admission.let_reader_in(headers, head, noted):
            return False
        user, ask = asked
        noted.route, noted.user = RECOMMENDATIONS, user
        waiting = _Waiting(gate, self._tiers, self._together, noted, user, ask, turn)
        self._tiers.lists.ask(user, waiting.found)
        return True


def _plainly_asked(url: bytes) -> tuple[int, Ask] | None:
    """The user and the query; None where they are not to be seen at first sight."""
    path, _, query = url.partition(b"?")
    item = path[len(_BEFORE) : -len(_AFTER)]
    # What is long is not looked at before it is known who asks.
    if (
        len(query) > CACHED_QUERY
        or len(item) > _DIGITS
        or not item.isdigit()
        or path != b"%b%b%b" % (_BEFORE, item, _AFTER)
    ):
        return None
    try:
        ask = read_query(query, _ALLOWED)
    except ProblemError:
        return None
    return None if ask.repeats or b"#" in query or not ask.plain else (int(item), ask)


class _Waiting:
    """A request whose list was asked for."""

    __slots__ = (
        "_answer",
        "_ask",
        "_began",
        "_gate",
        "_noted",
        "_outcome",
        "_tiers",
        "_together",
        "_turn",
        "_user",
    )

    def __init__(
        self,
        gate: Gate,
        tiers: Tiers,
        together: Together,
        noted: Noted,
        user: int,
        ask: Ask,
        turn: Turn,
    ) -> None:
        self._began = time.perf_counter()
        self._gate = gate
        self._tiers = tiers
        self._together = together
        self._noted = noted
        self._user = user
        self._ask = ask
        self._turn = turn
        self._outcome: Outcome = None
        self._answer: Answer | None = None

    def found(self, outcome: Outcome) -> None:
        """Answer with what was read; never raises, for others wait for the same."""
        self._outcome = outcome
        try:
            self._answer = self._tiers.plain(self._user, self._ask.limit, outcome)
        except Exception:
            log.exception("A list was left to the longer way")
        self._together.add(self._send)

    def _send(self) -> None:
        try:
            if self._answer is not None and self._is_sent(self._answer):
                return
        except Exception:
            log.exception("A list was left to the longer way")
        if not self._turn.response_complete:
            self._turn.pass_on(self._longer)

    def _is_sent(self, answer: Answer) -> bool:
        noted = self._noted
        body, noted.tier, noted.generation = answer
        if not self._turn.answer(head_of_list(len(body), noted), body):
            noted.started = False
            return False
        self._gate.count("GET", noted, time.perf_counter() - self._began)
        return True

    async def _longer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The rest of the longer way, as an ASGI application."""
        del scope, receive
        await self._gate.conclude(self._sent(send), "GET", send, self._noted, self._began)

    async def _sent(self, send: Send) -> None:
        noted, answer = self._noted, self._answer
        if answer is None:
            answer = await self._tiers.from_read(self._user, self._ask, self._outcome)
        body, noted.tier, noted.generation = answer
        await send_list(send, body, noted)
