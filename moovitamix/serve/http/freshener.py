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
from moovitamix.serve.catch_up import fold_users
from moovitamix.serve.generations import (
    Generation,
    current_key,
    meta_key,
    read_generation,
    redis_answering,
)
from moovitamix.serve.http.looking import EVERY, Looking, Served
from moovitamix.serve.http.world import World
from moovitamix.settings import get_settings

if TYPE_CHECKING:
    from moovitamix.resources import Warehouse

log = logging.getLogger(__name__)

# Seconds after a store has failed.
_AFTER_FAILURE = 1.0
# More at once would cost each of them as much, and have the others wait longer.
_USERS_AT_ONCE = 16
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
        self._wake_to_look = threading.Event()
        self._asked = threading.Event()
        self._threads: list[threading.Thread] = []
        self._looking = Looking(warehouse, prefix)
        self._known: dict[str, tuple[Generation, float]] = {}

    def start(self) -> None:
        """Go on in the background until `stop`."""
        # A look takes its time: who has just been told of does not wait for it.
        for name, turn, wake in (
            ("freshener", self._fold, self._wake),
            ("freshener-look", self._look, self._wake_to_look),
        ):
            thread = threading.Thread(target=self._loop, args=(turn, wake), name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """End the threads; what waits is done by whoever looks next."""
        self._stopping.set()
        self._wake.set()
        self._wake_to_look.set()
        for thread in self._threads:
            thread.join(timeout=2)

    def told(self, users: Iterable[int]) -> None:
        """Something new of these users is in Postgres."""
        now = time.monotonic()
        for user in users:
            self._told.setdefault(user, now)
        self._wake.set()

    def look(self) -> None:
        """Look for what was missed, before long: what is served, or by what, has changed."""
        self._asked.set()
        self._wake_to_look.set()
        self._wake.set()  # who was told of before there was anything to fold in by

    def work(self) -> None:
        """Fold in who waits, and look for what was missed when it is time, once.

        Raises:
            StoreUnavailable: When Redis does not answer.
            psycopg.Error: When Postgres does not.
        """
        with ExitStack() as stack:
            stores = self._open(stack)
            self._fold(stores)
            self._look(stores)

    def _loop(self, turn: Callable[[_Stores], bool], wake: threading.Event) -> None:
        while not self._stopping.is_set():
            try:
                with ExitStack() as stack:
                    stores = self._open(stack)
                    while not self._stopping.is_set():
                        if not turn(stores):
                            wake.wait(EVERY / 2)
                            wake.clear()
            except Exception as error:  # whatever it is: the thread has to go on
                self._listener.fold_in_failed()
                if isinstance(error, MoovitaMixError | psycopg.Error | redis.RedisError | OSError):
                    log.warning("Nobody could be folded in: %s", type(error).__name__)
                else:
                    log.exception("Nobody could be folded in")
                self._stopping.wait(_AFTER_FAILURE)

    def _fold(self, stores: _Stores) -> bool:
        """One batch of those who wait. Whether more wait."""
        if self._world.folding is None or not self._told:
            return False
        served = self._served(stores.client)
        if not served:
            self._told.clear()  # who waits is found when there is something to fold in by
            return False
        with self._warehouse.hold_erasures_over(stores.connection):
            self._fold_waiting(stores, served)
        if self._looking.due(served):
            self._wake_to_look.set()
        return bool(self._told)

    def _look(self, stores: _Stores) -> bool:
        """Look for what was missed, when it is time."""
        if self._world.folding is None:
            return False
        if self._asked.is_set():
            self._asked.clear()
            self._looking.forget()
        served = self._served(stores.client)
        if served and self._looking.due(served):
            with self._warehouse.hold_erasures_over(stores.connection):
                self._looking.look(stores.client, stores.connection, served)
        return False

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


class _Stores(NamedTuple):
    """Connections that are kept for as long as all goes well."""

    client: redis.Redis
    connection: psycopg.Connection


def _present() -> datetime:
    return get_settings().present()
