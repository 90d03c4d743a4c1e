"""Reading aside of the event loop: in few threads, for a bounded time.

What fails is said, not raised. What is read is told in `books.py`, `lists.py` and `explorer.py`.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, cast

import psycopg
import redis

from moovitamix.errors import MoovitaMixError, StoreUnavailable

if TYPE_CHECKING:
    from moovitamix.resources import Warehouse

log = logging.getLogger(__name__)

T = TypeVar("T")

# Two people may look at once. The rest of the machine is for answers.
_AT_ONCE = 2
_WAITING = 16
# Seconds for one statement, and for all that a page reads of one store.
STATEMENT_SECONDS = 2.0
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
    """Reads in threads: few at once of each store, so that one that hangs holds up no other.

    The threads do not hold up the end of the process either.

    Args:
        within: Seconds until what is read has to be there.
    """

    def __init__(self, within: float | None = None) -> None:
        self._within = WITHIN if within is None else within
        self._turns: dict[str, asyncio.Semaphore] = {}
        self._waiting = 0

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
            async with asyncio.timeout(self._within):
                turns = self._turns.setdefault(store, asyncio.Semaphore(_AT_ONCE))
                await turns.acquire()
                return await _begin(work, turns.release)
        except TimeoutError:
            return Missing(f"{store} takes too long to answer. `moovitamix doctor` tests it.")
        except psycopg.errors.QueryCanceled:
            return Missing(f"{store} needs more than {STATEMENT_SECONDS:g} s for it.")
        except _DOWN as error:
            log.warning("The console could not read: %s", told_of(error))
            return Missing(f"{store} does not answer. `moovitamix doctor` tests it.")
        except MoovitaMixError as error:
            return Missing(str(error))
        finally:
            self._waiting -= 1


def told_of(error: Exception) -> str:
    """What the log is told of an error: the message of one of ours, else its type.

    What Postgres says may hold values of a row.
    """
    return str(error) if isinstance(error, MoovitaMixError) else type(error).__name__


def _begin(work: Callable[[], T], done: Callable[[], None]) -> asyncio.Future[T]:
    """Work in a thread of its own; `done` is called when it ends, whether or not somebody waits."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def settle(found: T | None, error: Exception | None) -> None:
        done()
        if outcome.done():
            return  # nobody waits any more
        if error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(cast("T", found))

    def run() -> None:
        found: T | None = None
        failed: Exception | None = None
        try:
            found = work()
        except Exception as error:  # noqa: BLE001 - passed on to who waits
            failed = error
        with suppress(RuntimeError):  # the loop is closed: the process ends
            loop.call_soon_threadsafe(settle, found, failed)

    threading.Thread(target=run, name="console", daemon=True).start()
    return outcome


@contextmanager
def looking(warehouse: Warehouse) -> Iterator[psycopg.Connection]:
    """A transaction that only reads, each of whose statements is given up in time.

    Raises:
        StoreUnavailable: When Postgres does not answer.
    """
    with warehouse.connect() as connection:
        connection.execute("SET TRANSACTION READ ONLY")
        connection.execute(f"SET LOCAL statement_timeout = {int(1e3 * STATEMENT_SECONDS)}")
        yield connection
