"""Makes the lists of users anew as soon as something new is known of them, in the background.

How is told in `serve/catch_up.py` and `serve/fold.py`. Nothing has to be remembered here: what was
told is in Postgres, and lists say how much they know. So every few seconds, and at once when
another generation is current or its factors have been loaded, the lists are looked through for what
was missed: by this process, by one that was killed, or while Redis was down.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from datetime import datetime
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, cast

import psycopg
import redis

from moovitamix.errors import MoovitaMixError
from moovitamix.serve.arms import decode_experiment, experiment_key
from moovitamix.serve.catch_up import catch_up, fold_users
from moovitamix.serve.generations import (
    Generation,
    current_key,
    meta_key,
    read_generation,
    redis_answering,
)
from moovitamix.serve.http.world import World
from moovitamix.settings import get_settings

if TYPE_CHECKING:
    from moovitamix.resources import Warehouse
    from moovitamix.serve.fold import Folding

log = logging.getLogger(__name__)

Served = list[tuple[Generation, "Folding"]]

# Seconds between two looks for what was missed, and after a store has failed.
EVERY = 10.0
_AFTER_FAILURE = 1.0
_USERS_AT_ONCE = 64
_REMEMBERED = 4
# Seconds until Postgres is given up; an erasure may have to be waited for.
_PATIENCE = 30.0


class Listener:
    """Told of what is done here; `metrics.py` counts it."""

    def folded_in(self, users: int, seconds: float) -> None:
        """The lists of some users are fresh; the oldest of them was told so long ago."""

    def waiting(self, users: int) -> None:
        """So many users wait for it."""

    def fold_in_failed(self) -> None:
        """A store did not answer, or something went wrong: it is done later."""


class Freshener:
    """Folds users in, in a thread of its own.

    Args:
        world: Holds what is folded in by.
        warehouse: What is known of users.
        connect: Opens a client of Redis, which answers bytes and has time limits.
        prefix: What every key begins with, without the colon.
        listener: Told of what was done.
    """

    def __init__(
        self,
        world: World,
        *,
        warehouse: Warehouse,
        connect: Callable[[], redis.Redis],
        prefix: str,
        listener: Listener | None = None,
    ) -> None:
        self._world = world
        self._warehouse = warehouse
        self._connect = connect
        self._prefix = prefix
        self._listener = listener or Listener()
        self._told: dict[int, float] = {}  # by user, in the order told, and when
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._looked = _Looked()
        self._known: dict[str, tuple[Generation, float]] = {}

    def start(self) -> None:
        """Go on in the background until `stop`."""
        self._thread = threading.Thread(target=self._loop, name="freshener", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what waits is done by whoever looks next."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=2)

    def told(self, users: Iterable[int]) -> None:
        """Something new of these users is in Postgres."""
        now = time.monotonic()
        for user in users:
            self._told.setdefault(user, now)
        self._wake.set()

    def look(self) -> None:
        """Look for what was missed, before long: what is served, or by what, has changed."""
        self._looked = _Looked()
        self._wake.set()

    def work(self) -> None:
        """Fold in who waits, and look for what was missed when it is time, once.

        Raises:
            StoreUnavailable: When Redis does not answer.
            psycopg.Error: When Postgres does not.
        """
        with ExitStack() as stack:
            self._turn(self._open(stack))

    def _loop(self) -> None:
        while not self._stopping.is_set():
            try:
                with ExitStack() as stack:
                    stores = self._open(stack)
                    while not self._stopping.is_set():
                        if not self._turn(stores):
                            self._wake.wait(EVERY / 2)
                            self._wake.clear()
            except Exception as error:  # whatever it is: the thread has to go on
                self._listener.fold_in_failed()
                if isinstance(error, MoovitaMixError | psycopg.Error | redis.RedisError | OSError):
                    log.warning("Nobody could be folded in: %s", type(error).__name__)
                else:
                    log.exception("Nobody could be folded in")
                self._stopping.wait(_AFTER_FAILURE)

    def _turn(self, stores: _Stores) -> bool:
        """One batch of those who wait; then a look, when one is due. Whether more wait."""
        due = time.monotonic() - self._looked.at > EVERY
        if self._world.folding is None or not (self._told or due):
            return False
        served = self._served(stores.client)
        if not served:
            self._told.clear()  # who waits is found when there is something to fold in by
            return False
        where = tuple((generation.name, folding) for generation, folding in served)
        if self._looked.where != where:
            self._looked = _Looked(where=where)
            due = True
        with self._warehouse.hold_erasures_over(stores.connection):
            self._fold_waiting(stores, served)
            if due:
                self._look(stores, served)
        return bool(self._told)

    def _open(self, stack: ExitStack) -> _Stores:
        client = stack.enter_context(closing(self._connect()))
        connection = stack.enter_context(self._warehouse.connect())
        connection.execute(f"SET statement_timeout = '{_PATIENCE:g}s'")
        connection.commit()
        connection.autocommit = True
        return _Stores(client, connection)

    def _fold_waiting(self, stores: _Stores, served: Served) -> None:
        users = list(islice(tuple(self._told), _USERS_AT_ONCE))
        if not users:
            return
        # Taken out first: what is told from here on is to be folded in once more.
        since = min(self._told.pop(user) for user in users)
        self._listener.waiting(len(self._told))
        for generation, folding in served:
            fold_users(
                stores.connection,
                stores.client,
                self._prefix,
                generation,
                folding,
                _present(),
                users,
            )
        self._listener.folded_in(len(users), time.monotonic() - since)

    def _look(self, stores: _Stores, served: Served) -> None:
        servers = _servers(stores.client)
        if servers != self._looked.servers:  # a Redis that was restarted has what it had once
            self._looked = _Looked(where=self._looked.where, servers=servers)
        row = stores.connection.execute("SELECT max(mark) FROM activity_marks").fetchone()
        for generation, folding in served:
            caught_up = catch_up(
                self._warehouse.connect,
                stores.client,
                self._prefix,
                generation,
                folding,
                _present,
                after=self._looked.after,
            )
            if caught_up.users:
                log.info("The lists of %d users were brought up to date.", caught_up.users)
        # A mark is given before it is committed: the next look begins where this one began.
        self._looked = _Looked(
            at=time.monotonic(),
            where=self._looked.where,
            servers=servers,
            after=self._looked.newest,
            newest=0 if row is None or row[0] is None else int(row[0]),
        )

    def _served(self, client: redis.Redis) -> Served:
        """What is served, of each arm of an experiment, and made by the factors that are loaded."""
        world = self._world
        with redis_answering():
            pipeline = client.pipeline(transaction=False)
            pipeline.get(current_key(self._prefix))
            pipeline.get(experiment_key(self._prefix))
            name, told = pipeline.execute()
        experiment = decode_experiment(told)
        names = [] if name is None else [name.decode()]
        if experiment is not None:
            names.append(experiment.generation)
        return [
            (generation, folding)
            for generation in map(partial(self._described, client), names)
            for folding in (world.folding, world.folding_challenger)
            if generation is not None
            and folding is not None
            and generation.model_version == folding.champion.version
        ]

    def _described(self, client: redis.Redis, name: str) -> Generation | None:
        """The description of a generation. Its life may be prolonged: it is read now and then."""
        known = self._known.get(name)
        if known is None or time.monotonic() > known[1]:
            with redis_answering():
                value = cast("bytes | None", client.get(meta_key(self._prefix, name)))
            found = read_generation(value)
            if found is None:
                return None
            known = found, time.monotonic() + EVERY
            self._known = {**dict(list(self._known.items())[-_REMEMBERED:]), name: known}
        return known[0]


class _Looked:
    """When was last looked, and at what.

    Args:
        at: By `time.monotonic`.
        where: The names of generations, and what was folded in by.
        servers: Which Redis servers, and since which start of theirs.
        after: The next look is for marks above this.
        newest: The newest mark when the last look began.
    """

    def __init__(
        self,
        at: float = float("-inf"),
        where: tuple[tuple[str, Folding], ...] = (),
        servers: frozenset[str] = frozenset(),
        after: int = 0,
        newest: int = 0,
    ) -> None:
        self.at = at
        self.where = where
        self.servers = servers
        self.after = after
        self.newest = newest


class _Stores(NamedTuple):
    """Connections that are kept for as long as all goes well."""

    client: redis.Redis
    connection: psycopg.Connection


def _servers(client: redis.Redis) -> frozenset[str]:
    """What tells one start of a server from another, of all there are."""
    with redis_answering():
        if isinstance(cast("object", client), redis.RedisCluster):
            told = client.info("server", target_nodes=redis.RedisCluster.PRIMARIES)
            nodes = [told] if "run_id" in told else list(told.values())  # of one node: as it is
            return frozenset(str(one["run_id"]) for one in nodes)
        return frozenset((str(client.info("server")["run_id"]),))


def _present() -> datetime:
    return get_settings().present()
