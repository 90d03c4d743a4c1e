"""Gives up answers that take too long.

The other limits of a request are in `gate.py` and `protocol.py`; what the lists' routes wait for
has limits of time of its own, in `reads.py` and `beside.py`.
"""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Receive, Scope, Send

from moovitamix.serve.http.metrics import Metrics
from moovitamix.serve.http.problems import ProblemError


class TimeLimit:
    """An ASGI application around another, whose answer has to be there in time.

    Args:
        app: What answers.
        seconds: Until the answer has to be there.
        metrics: Where it is counted; None: nowhere.
    """

    def __init__(self, app: ASGIApp, seconds: float, metrics: Metrics | None) -> None:
        self._app = app
        self._seconds = seconds
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request.

        Raises:
            ProblemError: When it took too long.
        """
        try:
            async with asyncio.timeout(self._seconds):
                await self._app(scope, receive, send)
        except TimeoutError:
            if self._metrics is not None:
                self._metrics.refused("time")
            taken = f"The answer took longer than {self._seconds:g} s. Ask again later."
            raise ProblemError(503, taken, {"Retry-After": "1"}) from None
