"""Commits what requests bring, together: who comes while a commit is under way shares the next.

One request alone is committed at once. Under load a commit carries what has gathered, so that the
disk is waited for a few hundred times a second however many requests there are.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

import psycopg

from moovitamix.errors import StoreUnavailable
from moovitamix.resources import Warehouse
from moovitamix.serve.http.problems import ProblemError
from moovitamix.warehouse import migrate

log = logging.getLogger(__name__)

# Rows that one commit carries, and that may wait for one.
ROWS_A_COMMIT = 2_000
ROWS_WAITING = 50_000
# Seconds until a commit is given up, and a connection.
COMMIT_WITHIN = 5.0
_CONNECT_WITHIN = 2.0
# Seconds until a request is answered, whatever becomes of what it brought.
ANSWERED_WITHIN = 10.0
_ATTEMPTS = 3

_GONE = "Postgres does not answer. Send it again; nothing counts twice."

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

Write = Callable[[psycopg.AsyncConnection, list[Item]], Awaitable[Sequence[Outcome]]]


class _Waiting(NamedTuple, Generic[Item, Outcome]):
    item: Item
    rows: int
    future: asyncio.Future[Outcome]


class GroupCommit(Generic[Item, Outcome]):
    """Writes items to Postgres in groups, each in one transaction, over one connection.

    Args:
        warehouse: Where to.
        write: Writes some items in one transaction, and tells what came of each. The connection
            is in autocommit mode: one statement is one.
    """

    def __init__(self, warehouse: Warehouse, write: Write[Item, Outcome]) -> None:
        self._warehouse = warehouse
        self._write = write
        self._waiting: deque[_Waiting[Item, Outcome]] = deque()
        self._rows = 0
        self._connection: psycopg.AsyncConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self.transactions = 0

    async def commit(self, item: Item, rows: int) -> Outcome:
        """What came of an item, once it is on disk.

        Args:
            item: What is written; as a whole or not at all.
            rows: About how many rows that makes.

        Raises:
            StoreUnavailable: When Postgres does not answer in time, or too much waits for it. Then
                it may have been written or not: the same may be committed again.
            ProblemError: When Postgres refuses a value: sent again, it would again.
        """
        if self._rows and self._rows + rows > ROWS_WAITING:
            raise StoreUnavailable("Too much waits for Postgres to be written. Send it again.")
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(item, rows, future))
        self._rows += rows
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        try:
            async with asyncio.timeout(ANSWERED_WITHIN):
                return await future
        except TimeoutError as error:
            raise _gone() from error

    async def close(self) -> None:
        """Write what waits, then let go of Postgres."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        await self._let_go()

    async def _work(self) -> None:
        while self._waiting:
            group: list[_Waiting[Item, Outcome]] = []
            rows = 0
            while self._waiting and (not group or rows + self._waiting[0].rows <= ROWS_A_COMMIT):
                group.append(self._waiting.popleft())
                rows += group[-1].rows
            self._rows -= rows
            await self._settle(group)

    async def _settle(self, group: list[_Waiting[Item, Outcome]]) -> None:
        try:
            outcomes = await self._write_group([one.item for one in group])
        except Exception as error:  # noqa: BLE001 - whatever it is, who waits has to be answered
            if len(group) > 1 and isinstance(error, psycopg.Error):
                for one in group:  # what is wrong with one request is not paid for by the others
                    await self._settle([one])
                return
            told = _told(error)
            for one in group:
                if not one.future.done():
                    one.future.set_exception(told)
        else:
            self.transactions += 1
            for one, outcome in zip(group, outcomes, strict=True):
                if not one.future.done():  # it is when its request was given up
                    one.future.set_result(outcome)

    async def _write_group(self, items: list[Item]) -> Sequence[Outcome]:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                async with asyncio.timeout(COMMIT_WITHIN):
                    return await self._write(await self._connected(), items)
            except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure):
                if attempt == _ATTEMPTS:
                    raise
            except psycopg.errors.QueryCanceled as error:  # it would be again, and others wait
                raise _gone() from error
            except (psycopg.OperationalError, OSError, TimeoutError) as error:
                was_new = self._connection is None
                await self._let_go()
                # A connection that lay idle may have been ended long ago: what it brought to light
                # at the first attempt says nothing of the server.
                if attempt > 1 or was_new or isinstance(error, TimeoutError):
                    raise _gone() from error
        raise AssertionError  # the loop ends by itself

    async def _connected(self) -> psycopg.AsyncConnection:
        if self._connection is not None and not self._connection.closed:
            return self._connection
        self._connection = None
        address, schema = self._warehouse.address(), self._warehouse.schema_name
        async with asyncio.timeout(_CONNECT_WITHIN):
            await asyncio.to_thread(migrate.ensure_current, address, schema)
            connection = await psycopg.AsyncConnection.connect(address, autocommit=True)
        await connection.execute(
            f'SET search_path = "{schema}", "{schema}_staging"; SET TIME ZONE \'UTC\'; '
            # Whatever the server is set to: what is acknowledged is on disk.
            f"SET synchronous_commit = on; SET statement_timeout = '{COMMIT_WITHIN:g}s'"
        )
        self._connection = connection
        return connection

    async def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


def _told(error: Exception) -> StoreUnavailable | ProblemError:
    """What those are told whose items were not written."""
    if isinstance(error, StoreUnavailable):
        if str(error) != _GONE:
            log.error("Nothing can be taken in. %s", error)
        return error
    # Not its text, which may hold what was to be written.
    log.error("Writing to Postgres failed: %s", type(error).__name__)
    if isinstance(error, psycopg.DataError):
        return ProblemError(422, "It holds a value that Postgres cannot keep. Correct it.")
    return _gone()


def _gone() -> StoreUnavailable:
    return StoreUnavailable(_GONE)
