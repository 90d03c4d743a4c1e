"""One connection to Redis that is kept, and asked for many values at a time.

redis-py's own connection, from its own pool: what it knows of addresses, passwords, TLS and the
protocol holds. Left out, once it is there, is what redis-py and asyncio's streams do around each
command (whether it can be read, time limits, retries, observers, buffers), which costs more than a
batch of reads does. When Redis is left alone is told in `breaker.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import hiredis
from redis.exceptions import ConnectionError as Lost
from redis.exceptions import InvalidResponse, ResponseError


class HeldConnection:
    """Asks for one batch after the other; never for two at once.

    Args:
        pool: A `redis.asyncio.ConnectionPool` whose connections answer bytes.
    """

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._connection: Any = None
        self._answers: _Answers | None = None

    async def mget(self, keys: Sequence[str | bytes]) -> list[bytes | None]:
        """The values of many keys. Has no time limit of its own; may be cancelled.

        Raises:
            RedisError, OSError: When Redis does not answer, or refuses.
        """
        answers = self._answers
        if answers is None or answers.over:
            await self._let_go()  # closed by Redis meanwhile, if there was one
            self._connection = await self._pool.get_connection()
            # No public way leads there.
            answers = self._answers = _Answers(self._connection._writer.transport)  # noqa: SLF001
        try:
            return cast("list[bytes | None]", await answers.to(("MGET", *keys)))
        except BaseException:
            # What is answered late must not be taken for the answer to what is asked next.
            await self._let_go()
            raise

    async def _let_go(self) -> None:
        connection, self._connection, self._answers = self._connection, None, None
        if connection is not None:
            await connection.disconnect(nowait=True)
            await self._pool.release(connection)


class _Answers(asyncio.Protocol):
    """Takes over a connection that is ready for commands.

    Args:
        transport: Of the connection; nothing may be under way on it.

    Attributes:
        over: Whether the connection has been closed.
    """

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._before: asyncio.BaseProtocol = transport.get_protocol()
        self._read = hiredis.Reader(protocolError=InvalidResponse, replyError=ResponseError)
        self._waiting: asyncio.Future[Any] | None = None
        self.over = transport.is_closing()
        transport.set_protocol(self)

    def to(self, command: tuple[str | bytes, ...]) -> asyncio.Future[Any]:
        """What Redis answers to a command; may be cancelled, and is then the last one."""
        waiting = self._waiting = asyncio.get_running_loop().create_future()
        packed = hiredis.pack_command(command)  # type: ignore[arg-type]  # theirs is of one word
        self._transport.write(packed)
        return waiting

    def data_received(self, data: bytes) -> None:
        """Redis has sent something."""
        try:
            self._read.feed(data)
            while (answer := self._read.gets()) is not False:
                if not isinstance(answer, hiredis.PushNotification):
                    self._settle(answer)
        except InvalidResponse as error:
            self._settle(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection was closed, by whomever."""
        self.over = True
        self._settle(Lost("Redis has closed the connection."))
        self._before.connection_lost(exc)  # redis-py waits for it to have seen this

    def _settle(self, answer: Any) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is None or waiting.done():
            return
        if isinstance(answer, Exception):
            waiting.set_exception(answer)
        else:
            waiting.set_result(answer)
