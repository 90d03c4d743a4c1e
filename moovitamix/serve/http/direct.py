"""The shortest way of the request that is asked most: a plain list, for a key that is known.

It takes neither a scope nor a task: the server's protocol hands over what it has read
(`protocol.py`), the user's list is asked for with those of all others of this tick (`reads.py`),
and the answer is sent when it comes, right behind those of the same read (`together.py`). Whatever
is unusual about a request leaves it to the gate, which answers all; whatever is unusual about a
list, to `tiers.py`, with what was read.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Sequence
from functools import lru_cache

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

_ALLOWED = PARAMETERS[RECOMMENDATIONS]
# An id that is surely one of 64 bits; and no query that is looked at before it is known who asks.
_USUAL = re.compile(
    rb"%b(?:\?([^#]{0,%d}))?"
    % (RECOMMENDATIONS.encode().replace(b"{id}", b"([0-9]{1,18})"), CACHED_QUERY)
)


class Direct:
    """Takes requests for plain lists.

    Args:
        gate: Lets them in, and answers those that are not taken.
        tiers: What answers requests for lists.
    """

    def __init__(self, gate: Gate, tiers: Tiers) -> None:
        self.gate = gate
        self.tiers = tiers
        self.together = Together()

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
        if asked is None or not self.tiers.lists.readable:
            return False
        head = read_head(headers)
        if head.length is not None or head.chunked is not None:
            return False
        gate = self.gate
        noted = Noted(gate.ids.of(head.request_id))
        if not gate.admission.let_reader_in(headers, head, noted):
            return False
        user, ask = asked
        noted.route, noted.user = RECOMMENDATIONS, user
        self.tiers.lists.ask(user, _Waiting(self, noted, user, ask, turn).found)
        return True


def _plainly_asked(url: bytes) -> tuple[int, Ask] | None:
    """The user and the query; None where they are not to be seen at first sight."""
    usual = _USUAL.fullmatch(url)
    if usual is None:
        return None
    item, query = usual.groups(b"")
    ask = _plain(query)
    return None if ask is None else (int(item), ask)


@lru_cache(maxsize=4_096)
def _plain(query: bytes) -> Ask | None:
    """What a query asks for, where the beginning of a list answers it."""
    try:
        ask = read_query(query, _ALLOWED)
    except ProblemError:
        return None
    return ask if ask.plain and not ask.repeats else None


class _Waiting:
    """A request whose list was asked for."""

    __slots__ = ("_answer", "_ask", "_began", "_direct", "_noted", "_outcome", "_turn", "_user")

    def __init__(self, direct: Direct, noted: Noted, user: int, ask: Ask, turn: Turn) -> None:
        self._began = time.perf_counter()
        self._direct = direct
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
            self._answer = self._direct.tiers.plain(self._user, self._ask.limit, outcome)
        except Exception:
            log.exception("A list was left to the longer way")
        self._direct.together.add(self._send)

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
        self._direct.gate.count("GET", noted, time.perf_counter() - self._began)
        return True

    async def _longer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The rest of the longer way, as an ASGI application."""
        del scope, receive
        await self._direct.gate.conclude(self._sent(send), "GET", send, self._noted, self._began)

    async def _sent(self, send: Send) -> None:
        noted, answer = self._noted, self._answer
        if answer is None:
            answer = await self._direct.tiers.from_read(self._user, self._ask, self._outcome)
        body, noted.tier, noted.generation = answer
        await send_list(send, body, noted)
