"""Commits what many requests bring in one transaction: while one is on its way, the next gathers.

A commit waits for the disk, so a transaction a request would wait for it once a request. What is
written, and by which statements, is told by whoever makes a `GroupCommit`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from moovitamix.errors import StoreUnavailable

if TYPE_CHECKING:
    import psycopg

    from moovitamix.resources import Warehouse

log = logging.getLogger(__name__)

Row = TypeVar("Row")
Found = TypeVar("Found")

# Seconds until Postgres has to have committed; who waits is told to come again.
WITHIN = 5.0
# Rows of one transaction, beyond those of its first request.
ROWS_AT_ONCE = 5_000
# More rows than this do not wait: who comes then is told to come again.
ROWS_WAITING = 100_000
_SECONDS_TO_CONNECT = 2

Connect = Callable[[], Awaitable["psycopg.AsyncConnection"]]


class GroupCommit(Generic[Row, Found]):
    """Writes the rows of all requests that wait, in one transaction at a time.

    Args:
        connect: Opens a connection.
        write: Writes rows within a transaction. Repeating it must change nothing: a commit of
            which nothing was heard is done again.
    """

    def __init__(
        self,
        connect: Connect,
        write: Callable[[psycopg.AsyncConnection, Sequence[Row]], Awaitable[Found]],
    ) -> None:
        self._connect = connect
        self._write = write
        self._connection: psycopg.AsyncConnection | None = None
        self._waiting: deque[tuple[Sequence[Row], asyncio.Future[Found]]] = deque()
        self._rows_waiting = 0
        self._working: asyncio.Task[None] | None = None
        self.transactions = 0

    async def commit(self, rows: Sequence[Row]) -> Found:
        """Return when the rows are committed, with what the writing of all of them found.

        Raises:
            StoreUnavailable: When Postgres does not answer, not in time, or too much waits for it.
                Either nothing was written, or all was, and sending it again changes nothing.
        """
        if self._rows_waiting and self._rows_waiting + len(rows) > ROWS_WAITING:
            raise _gone("too much waits to be written")
        future: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        self._waiting.append((rows, future))
        self._rows_waiting += len(rows)
        if self._working is None or self._working.done():
            self._working = asyncio.get_running_loop().create_task(self._work())
        return await future

    async def close(self) -> None:
        """Write what waits, then let go of Postgres."""
        if self._working is not None:
            await asyncio.gather(self._working, return_exceptions=True)
        await self._let_go()

    async def _work(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft()]
            size = len(batch[0][0])
            while self._waiting and size + len(self._waiting[0][0]) <= ROWS_AT_ONCE:
                batch.append(self._waiting.popleft())
                size += len(batch[-1][0])
            self._rows_waiting -= size
            await self._settle(batch)

    async def _settle(self, batch: list[tuple[Sequence[Row], asyncio.Future[Found]]]) -> None:
        import psycopg

        try:
            found = await self._commit([row for rows, _ in batch for row in rows])
        except psycopg.Error as error:
            if len(batch) > 1:  # what is wrong with one request is not to be paid by the others
                for one in batch:
                    await self._settle([one])
                return
            _fail(batch, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, who waits here has to be told
            _fail(batch, error)
        else:
            for _, future in batch:
                if not future.done():  # it is when its request was given up
                    future.set_result(found)

    async def _commit(self, rows: Sequence[Row]) -> Found:
        """In a transaction; in a second one where the connection had been lost before."""
        import psycopg

        used = self._connection is not None
        try:
            return await self._in_transaction(rows)
        except (psycopg.OperationalError, psycopg.InterfaceError, OSError, TimeoutError) as error:
            await self._let_go()
            if not used or isinstance(error, TimeoutError):
                raise _gone(type(error).__name__) from error
        try:
            return await self._in_transaction(rows)
        except (psycopg.OperationalError, psycopg.InterfaceError, OSError, TimeoutError) as error:
            await self._let_go()
            raise _gone(type(error).__name__) from error

    async def _in_transaction(self, rows: Sequence[Row]) -> Found:
        async with asyncio.timeout(WITHIN):
            if self._connection is None:
                self._connection = await self._connect()
            async with self._connection.transaction():
                found = await self._write(self._connection, rows)
        self.transactions += 1
        return found

    async def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


def connect_to(warehouse: Warehouse) -> Connect:
    """Opens connections to a warehouse's tables for a `GroupCommit`, migrated at the first one."""

    async def connect() -> psycopg.AsyncConnection:
        import psycopg

        from moovitamix.warehouse import migrate

        address, schema = warehouse.address(), warehouse.schema_name
        await asyncio.to_thread(migrate.ensure_current, address, schema)
        connection = await psycopg.AsyncConnection.connect(
            address, connect_timeout=_SECONDS_TO_CONNECT, autocommit=True
        )
        await connection.execute(
            f'SET search_path = "{schema}", "{schema}_staging"; SET TIME ZONE \'UTC\''
        )
        return connection

    return connect


def _fail(batch: Sequence[tuple[Any, asyncio.Future[Any]]], error: Exception) -> None:
    if not isinstance(error, StoreUnavailable):
        log.error("Rows could not be written: %s", type(error).__name__)
    for _, future in batch:
        if not future.done():
            future.set_exception(error)


def _gone(why: str) -> StoreUnavailable:
    return StoreUnavailable(f"Postgres did not take it: {why}. Send it again in a moment.")
