"""Looks through the lists of what is served for users of whom more is known: what was missed.

How is told in `serve/catch_up.py`, who looks in `freshener.py`.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, cast

import psycopg
import redis

from moovitamix.serve.catch_up import catch_up
from moovitamix.serve.generations import Generation, redis_answering
from moovitamix.settings import get_settings

if TYPE_CHECKING:
    from moovitamix.resources import Warehouse
    from moovitamix.serve.fold import Folding

log = logging.getLogger(__name__)

Served = list[tuple[Generation, "Folding"]]

# Seconds between two looks.
EVERY = 10.0


class Looking:
    """Remembers when was last looked, and at what: a look is for what is newer.

    Args:
        warehouse: What is known of users.
        prefix: What every key begins with, without the colon.
    """

    def __init__(self, warehouse: Warehouse, prefix: str) -> None:
        self._warehouse = warehouse
        self._prefix = prefix
        self._at = float("-inf")  # by `time.monotonic`
        # The names of generations, and what was folded in by.
        self._where: tuple[tuple[str, Folding], ...] = ()
        # Which Redis servers, and since which start of theirs.
        self._servers: frozenset[str] = frozenset()
        self._after = 0  # the next look is for marks above this
        self._newest = 0  # the newest mark when the last look began

    def due(self, served: Served) -> bool:
        """Whether it is time, or other generations or factors are there."""
        return time.monotonic() - self._at > EVERY or _where(served) != self._where

    def forget(self) -> None:
        """Look at everything next time."""
        self._at, self._where, self._after, self._newest = float("-inf"), (), 0, 0

    def look(self, client: redis.Redis, connection: psycopg.Connection, served: Served) -> None:
        """Make anew what knows too little, in all that is served.

        Raises:
            StoreUnavailable: When Redis does not answer.
            psycopg.Error: When Postgres does not.
        """
        servers = _servers(client)
        where = _where(served)
        if servers != self._servers or where != self._where:
            # Another list of marks: a Redis that was restarted has what it had once.
            self.forget()
        row = connection.execute("SELECT max(mark) FROM activity_marks").fetchone()
        for generation, folding in served:
            caught_up = catch_up(
                self._warehouse.connect,
                client,
                self._prefix,
                generation,
                folding,
                lambda: get_settings().present(),
                after=self._after,
            )
            if caught_up.users:
                log.info("The lists of %d users were brought up to date.", caught_up.users)
        # A mark is given before it is committed: the next look begins where this one began.
        self._at, self._where, self._servers = time.monotonic(), where, servers
        self._after, self._newest = (
            self._newest,
            0 if row is None or row[0] is None else int(row[0]),
        )


def _where(served: Served) -> tuple[tuple[str, Folding], ...]:
    return tuple((generation.name, folding) for generation, folding in served)


def _servers(client: redis.Redis) -> frozenset[str]:
    """What tells one start of a server from another, of all there are."""
    with redis_answering():
        if isinstance(cast("object", client), redis.RedisCluster):
            told = client.info("server", target_nodes=redis.RedisCluster.PRIMARIES)
            nodes = [told] if "run_id" in told else list(told.values())  # of one node: as it is
            return frozenset(str(one["run_id"]) for one in nodes)
        return frozenset((str(client.info("server")["run_id"]),))
