"""Keeps a process' world up to date in the background: names, removals, what is popular, factors.

What these are for is told in `world.py`. Requests never wait for what is done here; a store that
does not answer leaves what is known as it is.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import redis

from moovitamix.errors import MoovitaMixError
from moovitamix.recommend.popularity import listeners
from moovitamix.serve.codec import DamagedValue, decode_list
from moovitamix.serve.generations import Generation, genres_of, key_of, redis_answering
from moovitamix.serve.http import snapshot
from moovitamix.serve.http.challenger import Challenger
from moovitamix.serve.http.folding import FoldingKept
from moovitamix.serve.http.live_keeping import LiveKept
from moovitamix.serve.http.naming import read_names
from moovitamix.serve.http.removals import read_removals
from moovitamix.serve.http.world import Counts, Origin, World
from moovitamix.serve.life import renew

if TYPE_CHECKING:
    from moovitamix.ingest.lake import LakeStore
    from moovitamix.resources import Warehouse

log = logging.getLogger(__name__)

# Seconds between two looks. Removals are to be seen soon; names change when days are loaded.
EVERY = 10.0
NAMES_EVERY = 600.0

_LISTENERS = "SELECT track_id, count(DISTINCT user_id) FROM listen_history GROUP BY track_id"


class Watcher:
    """Told what was brought up to date; `metrics.py` keeps the moments."""

    def refreshed(self, what: str) -> None:
        """A part of the world is as its store has it now."""

    def refresh_failed(self, what: str) -> None:
        """It could not be brought up to date."""


class Refresher:
    """Brings a world up to date, once, or again and again in threads of its own.

    Args:
        world: What is kept up to date.
        warehouse: Names, removals, registry.
        lake: Matrix and factors.
        connect: Opens a client of Redis, which answers bytes and has time limits.
        prefix: What every key begins with, without the colon.
        path: Of the snapshot on disk.
        watcher: Told of what was done.
        folds: Whether lists are made anew in this process: whether it takes what that needs.
        on_factors: Called when other factors have been loaded.
    """

    def __init__(
        self,
        world: World,
        *,
        warehouse: Warehouse,
        lake: LakeStore,
        connect: Callable[[], redis.Redis],
        prefix: str,
        path: Path,
        watcher: Watcher | None = None,
        folds: bool = True,
        on_factors: Callable[[], None] = lambda: None,
    ) -> None:
        self._world = world
        self._warehouse = warehouse
        self._lake = lake
        self._connect = connect
        self._prefix = prefix
        self._path = path
        self._watcher = watcher or Watcher()
        self._folds = folds
        self._on_factors = on_factors
        self._changing = threading.Lock()
        self._stopping = threading.Event()
        self._wakers = (threading.Event(), threading.Event())
        self._threads: list[threading.Thread] = []
        self._names_at: float | None = None
        self._names_for: str | None = None
        self._generation: Generation | None = None
        self._live = LiveKept(warehouse, lake)
        self._folding = FoldingKept(warehouse, world)
        self._challenger = Challenger(world, warehouse, lake, folds=folds)

    def start(self) -> None:
        """Load the snapshot, then go on in the background until `stop`."""
        if snapshot.load(self._path, self._world):
            self._watcher.refreshed("snapshot")
        # A thread a store: one that hangs holds up nothing but what it knows.
        for work, waker in zip((self.from_redis, self.from_postgres), self._wakers, strict=True):
            thread = threading.Thread(target=self._loop, args=(work, waker), daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """End the threads; one that hangs on a store is left to end with the process."""
        self._stopping.set()
        self.wake()
        for thread in self._threads:
            thread.join(timeout=1)

    def wake(self, generation: Generation | None = None) -> None:
        """Look now: another generation has been found current."""
        if generation is not None:
            self._generation = generation
        for waker in self._wakers:
            waker.set()

    def from_redis(self) -> None:
        """What is popular, when another generation is current; which lives on where none comes."""
        with self._told("popular"), closing(self._connect()) as client:
            generation = renew(client, self._prefix).generation
            self._challenger.look(client, self._prefix)
            if generation is None:
                return
            self._generation = generation
            origin = self._world.origin
            if origin is None or origin.generation != generation.name or not self._world.by_genre:
                self._take_popular(client, generation)

    def from_postgres(self) -> None:
        """Removals; names when they are old or a generation is new; then factors and matrix."""
        generation = self._generation
        before = self._world.removals_at
        with self._told("removals"):
            self._take_removals()
        if self._world.removals_at == before:
            return  # Postgres does not answer, and all that follows needs it
        is_new = generation is not None and generation.name != self._names_for
        old = self._names_at is None or time.monotonic() - self._names_at > NAMES_EVERY
        if is_new or old:
            with self._told("names"):
                self._take_names()
                self._names_for = None if generation is None else generation.name
        with self._told("model"):
            self._take_model(generation)
            self._keep_folding(generation)
        with self._told("challenger"):
            self._challenger.load()
        if not len(self._world.counts.ids):
            with self._told("popular"):
                self._count_listeners()

    def _loop(self, work: Callable[[], None], waker: threading.Event) -> None:
        while not self._stopping.is_set():
            work()
            waker.wait(EVERY)
            waker.clear()

    def _told(self, what: str) -> _Told:
        return _Told(self._watcher, what)

    def _take_removals(self) -> None:
        with self._warehouse.connect() as connection:
            removals = read_removals(connection)
            self._world.hidden.refresh(connection)
        self._world.removed, self._world.withdrawn_users = removals
        self._world.removals_at = time.monotonic()

    def _take_names(self) -> None:
        with self._warehouse.connect() as connection:
            found = read_names(connection)
        if found is None:
            return
        with self._changing:
            self._world.tracks, self._world.favourites = found
            self._world.rank()
        self._names_at = time.monotonic()
        self._save()

    def _take_model(self, generation: Generation | None) -> None:
        is_new = self._live.keep(generation)
        self._world.live = live = self._live.live
        if live is None:
            self._world.folding = None
            self._folding.let_go()
        if live is None or not is_new:
            return
        matrix = live.matrix
        with self._changing:
            self._world.counts = Counts(matrix.tracks, listeners(matrix).astype(np.float32))
            self._world.rank()
        self._save()

    def _keep_folding(self, generation: Generation | None) -> None:
        live = self._world.live
        if live is None or not self._folds:
            return
        if self._folding.keep(live, None if generation is None else generation.name):
            self._world.folding = self._folding.folding
            self._on_factors()

    def _count_listeners(self) -> None:
        with self._warehouse.connect() as connection:
            rows = connection.execute(_LISTENERS).fetchall()
        if rows:
            found = np.array(rows, dtype=np.int64)
            with self._changing:
                self._world.counts = Counts(found[:, 0], found[:, 1].astype(np.float32))
                self._world.rank()

    def _take_popular(self, client: redis.Redis, generation: Generation) -> None:
        genres = set(self._world.tracks.genre_ids.tolist()) | set(self._world.by_genre)
        if not genres:
            genres = set(genres_of(client, self._prefix, generation.name))
        by_genre: dict[int, Counts] = {}
        merged: dict[int, float] = {}
        wanted: list[int | str] = ["all", *sorted(genres)]
        with redis_answering():
            pipeline = client.pipeline(transaction=False)
            for genre in wanted:
                pipeline.get(key_of(self._prefix, generation.name, "p", cast("int", genre)))
            values = cast("list[bytes | None]", pipeline.execute())
        for genre, value in zip(wanted, values, strict=True):
            if value is None:
                continue
            try:
                found = decode_list(value)
            except DamagedValue:
                continue
            merged.update(zip(found.ids.tolist(), found.scores.tolist(), strict=True))
            if isinstance(genre, int):
                by_genre[genre] = Counts(found.ids, found.scores)
        before = self._world.origin
        is_new = before is None or before.generation != generation.name
        with self._changing:
            self._world.by_genre = by_genre
            self._world.origin = Origin(
                generation.name, generation.model_version, generation.published_at
            )
            if self._world.live is None and merged:
                ids = np.fromiter(merged, dtype=np.int64, count=len(merged))
                self._world.counts = Counts(ids, np.array(list(merged.values()), dtype=np.float32))
                self._world.rank()
        if is_new or by_genre:  # else there are no genres, and there is nothing new in that
            self.wake()
            self._save()

    def _save(self) -> None:
        try:
            with self._changing:
                snapshot.save(self._path, self._world)
        except OSError as error:  # the next start has to ask the stores; nothing else is lost
            log.warning("The snapshot could not be written to %s: %s", self._path.parent, error)


class _Told:
    """Tells of success or failure; a store that does not answer is not passed on."""

    def __init__(self, watcher: Watcher, what: str) -> None:
        self._watcher = watcher
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> bool:
        if error is None:
            self._watcher.refreshed(self._what)
            return False
        if not isinstance(error, Exception):
            return False
        self._watcher.refresh_failed(self._what)
        if isinstance(error, MoovitaMixError | redis.RedisError | OSError):
            log.warning("%s not brought up to date: %s", self._what, type(error).__name__)
        else:
            log.error("%s not brought up to date", self._what, exc_info=error)
        return True
