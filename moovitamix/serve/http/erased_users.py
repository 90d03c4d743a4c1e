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

_ANY = "SELECT EXISTS (SELECT FROM erasures)"

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

    @property
    def has_key(self) -> bool:
        """Whether the key has been read."""
        return self._key is not None

    async def learn(self) -> None:
        """Read the key.

        Raises:
            StoreUnavailable: When it is gone.
        """
        self._key = await asyncio.to_thread(self._read_key)

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
        anybody = await (await connection.execute(_ANY)).fetchone()
        if anybody != (True,):
            return frozenset()
        if not self.has_key:
            await self.learn()
        asked = sorted(users)
        found = await connection.execute(_AMONG, (asked, self.hashes(asked)))
        return frozenset(user for (user,) in await found.fetchall())
