"""Loads what lists are made anew by, in the process that does nothing else, and keeps it right.

The API's own processes load more than that, for their live ranking and names: see `refresh.py`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import redis

from moovitamix.errors import MoovitaMixError, NothingToDo
from moovitamix.recommend.archive import DamagedArtifact
from moovitamix.recommend.artifacts import current_matrix, load_current_matrix
from moovitamix.recommend.champion import Champion, load_version
from moovitamix.recommend.matrix import UserItemMatrix
from moovitamix.serve.arms import served_generations
from moovitamix.serve.http.challenger import challengers_matrix
from moovitamix.serve.http.folding import FoldingKept
from moovitamix.serve.http.live import load_served
from moovitamix.serve.http.removals import read_removals

if TYPE_CHECKING:
    from moovitamix.ingest.lake import LakeStore
    from moovitamix.resources import Warehouse
    from moovitamix.serve.generations import Generation
    from moovitamix.serve.http.world import World

log = logging.getLogger(__name__)

# Seconds between two looks at which generations are served, and at what may be in lists.
EVERY = 1.0
_REMOVALS_EVERY = 10


class Loaded(NamedTuple):
    """Of one version."""

    champion: Champion
    matrix: UserItemMatrix


class _Tried(NamedTuple):
    """What came of loading the challenger of a generation, beside the champion's factors."""

    name: str
    beside: Loaded
    loaded: Loaded | None


class FoldLoading:
    """Keeps `folding` and `folding_challenger` of a world as the stores have them.

    Args:
        world: Of which nothing else is kept but removals.
        warehouse: With registry and removals.
        lake: With factors and matrix.
        connect: Opens a client of Redis, which answers bytes and has time limits.
        prefix: What every key begins with, without the colon.
        on_factors: Called when something else is there to fold in by.
    """

    def __init__(
        self,
        world: World,
        *,
        warehouse: Warehouse,
        lake: LakeStore,
        connect: Callable[[], redis.Redis],
        prefix: str,
        on_factors: Callable[[], None] = lambda: None,
    ) -> None:
        self._world = world
        self._warehouse = warehouse
        self._lake = lake
        self._connect = connect
        self._prefix = prefix
        self._on_factors = on_factors
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._champion = FoldingKept(warehouse, world)
        self._challenger = FoldingKept(warehouse, world)
        self._loaded: tuple[tuple[str, int], Loaded] | None = None  # of a fingerprint, a version
        self._tried: _Tried | None = None
        self._seen: tuple[str | None, ...] = ()
        self._looks = 0

    def start(self) -> None:
        """Go on in the background until `stop`."""
        self._thread = threading.Thread(target=self._loop, name="fold-loading", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; one that hangs on a store is left to end with the process."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=1)

    def look(self) -> None:
        """Load what is not there yet, or not any more what is served.

        Raises:
            StoreUnavailable: When a store does not answer.
        """
        with closing(self._connect()) as client:
            served = served_generations(client, self._prefix)
        names = tuple(generation.name for generation in served.values())
        self._looks += 1
        if names == self._seen and self._looks % _REMOVALS_EVERY:
            return
        with self._warehouse.connect() as connection:
            self._world.removed, self._world.withdrawn_users = read_removals(connection)
        before = self._world.folding, self._world.folding_challenger
        self._keep_champion(served.get("champion"))
        self._keep_challenger(served.get("challenger"))
        self._seen = names
        after = self._world.folding, self._world.folding_challenger
        if any(now is not then for now, then in zip(after, before, strict=True)):
            self._on_factors()

    def _loop(self) -> None:
        while not self._stopping.is_set():
            try:
                self.look()
            except (MoovitaMixError, redis.RedisError, OSError) as error:
                log.warning("What is folded in by was not read: %s", type(error).__name__)
            except Exception:  # whatever it is: the thread has to go on
                log.exception("What is folded in by was not read")
            self._stopping.wait(EVERY)

    def _keep_champion(self, generation: Generation | None) -> None:
        if generation is None:  # nothing is served: what is here will do when something is
            return
        try:
            wanted = current_matrix(self._lake).fingerprint, generation.model_version
            if self._loaded is None or self._loaded[0] != wanted:
                self._loaded = None
                champion = load_served(self._warehouse, self._lake, generation.model_version)
                loaded = Loaded(_without_users(champion), load_current_matrix(self._lake))
                self._loaded = wanted, loaded
        except NothingToDo:
            self._loaded = self._world.folding = None
            self._champion.let_go()
            return
        self._champion.keep(self._loaded[1], generation.name)
        self._world.folding = self._champion.folding

    def _keep_challenger(self, generation: Generation | None) -> None:
        if generation is None or self._loaded is None:
            self._tried = self._world.folding_challenger = None
            self._challenger.let_go()
            return
        name, beside = generation.name, self._loaded[1]
        if self._tried is None or self._tried.name != name or self._tried.beside is not beside:
            self._tried = self._world.folding_challenger = None
            self._challenger.let_go()
            self._tried = _Tried(name, beside, self._load_challenger(generation, beside))
        if self._tried.loaded is not None:
            self._challenger.keep(self._tried.loaded, name)
            self._world.folding_challenger = self._challenger.folding

    def _load_challenger(self, generation: Generation, beside: Loaded) -> Loaded | None:
        try:
            challenger = load_version(self._warehouse, self._lake, generation.model_version)
            matrix = challengers_matrix(challenger, self._lake, generation, beside.matrix)
        except (NothingToDo, DamagedArtifact) as error:
            log.warning("The challenger's lists stay as they were published. %s", error)
            return None
        return Loaded(_without_users(challenger), matrix)


def _without_users(champion: Champion) -> Champion:
    """Without the factors of users, who are folded in: of many users, they are the most memory."""
    model = champion.model
    none = replace(model, users=model.users[:0].copy(), user_factors=model.user_factors[:0].copy())
    return replace(champion, model=none)
