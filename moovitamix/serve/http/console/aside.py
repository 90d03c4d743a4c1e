"""Reading aside of the event loop: in few threads, for a bounded time.

What fails is said, not raised. What is read is told in `books.py`, `lists.py` and `explorer.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import psycopg
import redis

from moovitamix.errors import MoovitaMixError, StoreUnavailable

if TYPE_CHECKING:
    from moovitamix.resources import Warehouse

log = logging.getLogger(__name__)

T = TypeVar("T")

# Two people may look at once. The rest of the machine is for answers.
_THREADS = 2
_WAITING = 8
# Seconds for one statement, and for all that a page reads of one store.
STATEMENT_SECONDS = 2
WITHIN = 5.0

_DOWN = (
    StoreUnavailable,
    psycopg.Error,
    redis.RedisError,
    redis.RedisClusterException,  # no kind of the one before
    OSError,
)


@dataclass(frozen=True)
class Missing:
    """What cannot be shown, and why."""

    why: str


class Aside:
    """A few threads, and how many wait for them.

    Args:
        within: Seconds until what is read has to be there.
    """

    def __init__(self, within: float = WITHIN) -> None:
        self._within = within
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="console")
        self._waiting = 0

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def read(self, store: str, work: Callable[[], T]) -> T | Missing:
        """What the work returns, or why there is nothing.

        Args:
            store: Where it reads, as people call it.
            work: Reads.
        """
        if self._waiting >= _WAITING:
            return Missing("Too many look at once. Look again in a moment.")
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(self._within):
                return await loop.run_in_executor(self._threads, work)
        except TimeoutError:
            return Missing(f"{store} takes too long to answer. `moovitamix doctor` tests it.")
        except psycopg.errors.QueryCanceled:
            return Missing(f"{store} needs more than {STATEMENT_SECONDS} s for it.")
        except _DOWN as error:
            # The message may hold addresses: it goes to the log.
            log.warning("The console could not read: %s", " ".join(str(error).split())[:300])
            return Missing(f"{store} does not answer. `moovitamix doctor` tests it.")
        except MoovitaMixError as error:
            return Missing(str(error))
        finally:
            self._waiting -= 1


@contextmanager
def looking(warehouse: Warehouse) -> Iterator[psycopg.Connection]:
    """A transaction that only reads, each of whose statements is given up in time.

    Raises:
        StoreUnavailable: When Postgres does not answer.
    """
    with warehouse.connect() as connection:
        connection.execute("SET TRANSACTION READ ONLY")
        connection.execute(f"SET LOCAL statement_timeout = '{STATEMENT_SECONDS}s'")
        yield connection
