"""Whom nothing may be written down of any more, as far as this process can tell.

Who was erased is known by keyed hashes alone (`ingest/erased.py`): they are in Postgres, their key
is in the lake and read once somebody was erased. A new account that was given an erased one's id is
somebody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence

import psycopg

from moovitamix.ingest.erased import hash_account

# A source that starts anew gets tables of its own, and with the first erasure a key of its own.
_ANY = "SELECT EXISTS (SELECT FROM erasures), 'erasures'::regclass::oid::bigint"

_AMONG = """
SELECT user_id FROM unnest(%s::bigint[], %s::bytea[]) AS asked (user_id, hash)
WHERE EXISTS (SELECT FROM erasures e WHERE e.hash = asked.hash AND e.kind = 'account')
  AND NOT EXISTS (SELECT FROM users u WHERE u.id = asked.user_id)
"""


class ErasedUsers:
    """Knows erased users by their hashes.

    Args:
        read_key: Reads the key of the hashes; it may wait.
    """

    def __init__(self, read_key: Callable[[], bytes]) -> None:
        self._read_key = read_key
        self._key: bytes | None = None
        self._table: int | None = None

    @property
    def table(self) -> int | None:
        """Of which table, by its id in Postgres, the key has been read; None: of none."""
        return self._table

    async def learn(self, connection: psycopg.AsyncConnection) -> None:
        """Read the key of the hashes that a connection sees.

        Raises:
            StoreUnavailable: When it is gone.
        """
        _, table = await self._look(connection)
        self._key = await asyncio.to_thread(self._read_key)
        self._table = table

    def hashes(self, users: Sequence[int]) -> list[bytes | None]:
        """The hash of each of some users; nothing where the key has not been read."""
        key = self._key
        if key is None:
            return [None] * len(users)
        by_user = {user: hash_account(key, user) for user in set(users)}
        return [by_user[user] for user in users]

    async def among(
        self, connection: psycopg.AsyncConnection, users: Collection[int]
    ) -> frozenset[int]:
        """Those of some users who were erased, and whose id nobody else has now.

        Within a transaction that has locked what it is going to write to: an erasure notes whom it
        erases, waits for the locks, and deletes. So who is not found here is deleted there.

        Raises:
            StoreUnavailable: When the key of the hashes is gone.
        """
        anybody, table = await self._look(connection)
        if not anybody:
            return frozenset()
        if table != self._table:
            await self.learn(connection)
        asked = sorted(users)
        found = await connection.execute(_AMONG, (asked, self.hashes(asked)))
        return frozenset(user for (user,) in await found.fetchall())

    @staticmethod
    async def _look(connection: psycopg.AsyncConnection) -> tuple[bool, int]:
        """Whether anybody was erased, and in which table that is noted."""
        ((anybody, table),) = await (await connection.execute(_ANY)).fetchall()
        return bool(anybody), int(table)
