"""Sends answers together: those that are made in one turn of the event loop, one after the other.

A client or a proxy with many connections goes to sleep when it has read one answer, and to wake it
for the next costs the sender more than to send. Right behind each other, answers wake it once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

log = logging.getLogger(__name__)


class Together:
    """What is to be sent when all that is there to be made is made."""

    def __init__(self) -> None:
        self._sends: list[Callable[[], None]] = []

    def add(self, send: Callable[[], None]) -> None:
        """Send an answer in the next turn of the event loop.

        Args:
            send: Sends it; called once. What it raises is logged, and keeps no other back.
        """
        if not self._sends:
            asyncio.get_running_loop().call_soon(self._send)
        self._sends.append(send)

    def _send(self) -> None:
        sends, self._sends = self._sends, []
        for send in sends:
            try:
                send()
            except Exception:
                log.exception("An answer was not sent")
