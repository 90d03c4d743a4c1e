"""One connection to Redis that is kept, and asked for many values at a time.

redis-py's own connection, from its own pool: what it knows of addresses, passwords, TLS and the
protocol holds. Left out is what its client does around each command (taking a connection and giving
it back, retries, observers), which costs more than a batch of reads does. When Redis is left alone
is told in `breaker.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class HeldConnection:
    """Asks for one batch after the other; never for two at once.

    Args:
        pool: A `redis.asyncio.ConnectionPool` whose connections answer bytes.
    """

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._connection: Any = None

    async def mget(self, keys: Sequence[str | bytes]) -> list[bytes | None]:
        """The values of many keys. Has no time limit of its own; may be cancelled.

        Raises:
            RedisError, OSError: When Redis does not answer, or refuses.
        """
        connection = self._connection
        if connection is None:
            connection = self._connection = await self._pool.get_connection()
        else:
            # Connects again when Redis has closed it meanwhile.
            await self._pool.ensure_connection(connection)
        try:
            await connection.send_packed_command(connection.pack_command("MGET", *keys))
            found: list[bytes | None] = await connection.read_response(disable_decoding=True)
        except BaseException:
            # What is answered late must not be taken for the answer to what is asked next.
            self._connection = None
            await connection.disconnect(nowait=True)
            await self._pool.release(connection)
            raise
        return found
