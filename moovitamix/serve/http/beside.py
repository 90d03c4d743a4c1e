"""Work beside the event loop: in a thread, for a bounded time, and never too much of it at once.

What is worked out is told in `live.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

# What takes longer is given up, and another tier answers.
WITHIN = 1.0
# So many at once wait for the thread; who comes then is answered by another tier.
WAITING = 16

T = TypeVar("T")


class Beside:
    """One thread, and how many wait for it."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="live")
        self._waiting = 0

    def close(self) -> None:
        """End the thread."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def run(self, work: Callable[..., T], *arguments: Any) -> T | None:
        """What the work returns; None when there is too much of it, or it takes too long."""
        if self._waiting >= WAITING:
            return None
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(WITHIN):
                return await loop.run_in_executor(self._threads, work, *arguments)
        except TimeoutError:
            return None
        finally:
            self._waiting -= 1
