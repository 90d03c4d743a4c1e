"""Rate limits: a token bucket for each key, in this process."""

from __future__ import annotations

import math
import time
from collections.abc import Callable


class TokenBucket:
    """Lets so many requests a second through, and twice as many at once after a pause.

    Args:
        per_second: The rate.
        clock: Seconds, going forward.
    """

    __slots__ = ("_at", "_clock", "_per_second", "_tokens", "burst", "policy")

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._clock = clock
        self._at = clock()
        self.burst = max(1.0, 2 * per_second)
        self._tokens = self.burst
        # Of draft-ietf-httpapi-ratelimit-headers: the quota, and the seconds it is for.
        self.policy = f'"default";q={math.floor(max(1.0, per_second))};w=1'.encode()

    def take(self) -> bool:
        """Take a token, if there is one."""
        now = self._clock()
        self._tokens = min(self.burst, self._tokens + (now - self._at) * self._per_second)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    @property
    def left(self) -> int:
        """How many requests would go through now."""
        return int(self._tokens)

    @property
    def retry_after(self) -> int:
        """Whole seconds after which there will be a token."""
        return max(1, math.ceil((1 - self._tokens) / self._per_second))
