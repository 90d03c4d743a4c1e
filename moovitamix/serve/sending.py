"""Work that is done in order, one thread aside, while its giver makes the next piece.

What is sent, and what becomes of it when either side fails, is told in `writer.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

# So many pieces may wait: one while the next is made, and one that smooths uneven ones.
WAITING = 2


class Sending:
    """Runs pieces of work one after the other, in the order given, in a thread of its own.

    No more than `WAITING` pieces wait, so that a slow receiver slows the giver and fills no memory.
    When a piece raises, those behind it are not begun, and the giver is told at its next call.
    """

    def __init__(self) -> None:
        self._worker = ThreadPoolExecutor(1, "sending")
        self._under_way: deque[Future[None]] = deque()

    def give(self, work: Callable[[], None]) -> None:
        """Have a piece done; waits while too many are under way.

        Raises:
            Exception: What an earlier piece raised.
        """
        while len(self._under_way) >= WAITING:
            self._wait_for_first()
        self._under_way.append(self._worker.submit(work))

    def finish(self) -> None:
        """Wait until all that was given is done.

        Raises:
            Exception: What a piece raised.
        """
        while self._under_way:
            self._wait_for_first()

    def close(self) -> None:
        """Let nothing more begin, and wait for what is being done. Raises nothing."""
        self._worker.shutdown(wait=True, cancel_futures=True)
        self._under_way.clear()

    def _wait_for_first(self) -> None:
        try:
            self._under_way[0].result()
        except BaseException:
            for behind in self._under_way:
                behind.cancel()
            raise
        self._under_way.popleft()
