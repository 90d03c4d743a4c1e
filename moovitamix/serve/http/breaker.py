"""A circuit breaker: a store that does not answer is left alone until a probe finds it back.

Which calls go through it is told in `reads.py`. No request ever waits for a probe.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

State = Literal["closed", "open", "half-open"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerParameters:
    """When a breaker opens, and how it looks for the store.

    Attributes:
        failures: So many calls in a row that fail open it: one may be a connection that the
            server closed while it was idle.
        first_pause: Seconds until the first probe.
        longest_pause: Pauses double up to so many seconds, less up to a third by chance, lest all
            processes probe at once.
    """

    failures: int = 2
    first_pause: float = 0.2
    longest_pause: float = 2.0


class Breaker:
    """Counts failures of one store; once open, probes in the background until one succeeds.

    Args:
        probe: Does the least that shows that the store answers; raises when it does not.
        parameters: When it opens and how often it probes.
        on_change: Told of each new state.
    """

    def __init__(
        self,
        probe: Callable[[], Awaitable[object]],
        parameters: BreakerParameters | None = None,
        on_change: Callable[[State], None] = lambda _: None,
    ) -> None:
        self._probe = probe
        self._parameters = parameters or BreakerParameters()
        self._on_change = on_change
        self._failures = 0
        self._probing: asyncio.Task[None] | None = None
        self.state: State = "closed"
        self.probes = 0

    @property
    def closed(self) -> bool:
        """Whether the store may be called."""
        return self.state == "closed"

    def succeeded(self) -> None:
        """A call was answered."""
        self._failures = 0

    def failed(self) -> None:
        """A call was not answered, or not in time."""
        self._failures += 1
        if self._failures >= self._parameters.failures and self.closed:
            self._become("open")
            self._probing = asyncio.get_running_loop().create_task(self._look_for_it())

    async def close(self) -> None:
        """Stop probing; at the end of the process."""
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.gather(self._probing, return_exceptions=True)

    def _become(self, state: State) -> None:
        self.state = state
        self._on_change(state)

    async def _look_for_it(self) -> None:
        pause = self._parameters.first_pause
        while True:
            await asyncio.sleep(pause * (1 - random.random() / 3))  # noqa: S311 - no secret
            self._become("half-open")
            self.probes += 1
            try:
                await self._probe()
            except Exception:  # noqa: BLE001 - whatever it is, the store does not answer
                self._become("open")
                pause = min(2 * pause, self._parameters.longest_pause)
            else:
                self._failures = 0
                self._become("closed")
                return
