"""Reads lists from Redis for many requests at once: all keys of an event-loop tick in one MGET.

What is asked for and what becomes of it is told in `tiers.py`; when Redis is left alone, in
`breaker.py`. Never writes.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Protocol

from redis.exceptions import RedisError

from moovitamix.errors import StoreUnavailable
from moovitamix.serve.arms import decode_experiment, experiment_key
from moovitamix.serve.generations import (
    Generation,
    Kind,
    current_key,
    key_of,
    meta_key,
    read_generation,
)
from moovitamix.serve.http.breaker import Breaker, BreakerParameters, State
from moovitamix.serve.http.held_connection import HeldConnection
from moovitamix.serve.http.serving import Found, Serving

log = logging.getLogger(__name__)

Wanted = tuple[Kind, int]

# What was read: None when nothing is published, an error when Redis does not answer.
Outcome = Found | StoreUnavailable | None

# Whose lists, which ones, and who is told of them.
_Waiting = tuple[int | None, Sequence[Wanted], Callable[[Outcome], None]]

# A Redis that takes longer is as good as gone: the answer does not need it.
ANSWER_WITHIN = 0.25

# With more on the way, what comes in waits for the next answer: batches grow with the load.
_ON_THE_WAY = 1
_KEYS_A_BATCH = 512


class Client(Protocol):
    """What is used of `redis.asyncio.Redis` and `RedisCluster`."""

    def get(self, name: str) -> Awaitable[Any]:
        """The value of one key."""

    @property
    def connection_pool(self) -> Any:
        """Where its connections come from; not asked for on a cluster."""

    def pipeline(self, transaction: Any = None) -> Any:
        """Commands sent together."""

    async def aclose(self) -> None:
        """Let go of all connections."""


class Observer:
    """Told of what happens here; `metrics.py` counts it."""

    def batch(self, keys: int) -> None:
        """So many keys are asked for in one round trip."""

    def store_failed(self, store: str) -> None:
        """A store did not answer a call."""

    def breaker(self, store: str, state: State) -> None:
        """A breaker has a new state."""


class ListReader:
    """Reads values of the generation that serves a user at the moment of reading.

    `current`, and which experiment runs, is read in the same MGET as the lists, which were asked
    for under the names that were served last: when these have moved on meanwhile, they are asked
    for once more under the new ones. So one round trip does, and the lists of an answer never come
    from two generations.

    Args:
        client: Answers bytes, has time limits, and does not try again by itself.
        prefix: What every key begins with, without the colon.
        cluster: Whether keys are in many slots, so that one MGET will not do.
        observer: Told of what happens.
        on_generation: Called when another generation is found current, in the event loop.
        breaker: Of Redis.
    """

    def __init__(
        self,
        client: Client,
        prefix: str,
        *,
        cluster: bool = False,
        observer: Observer | None = None,
        on_generation: Callable[[Generation], None] = lambda _: None,
        breaker: BreakerParameters | None = None,
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._held = None if cluster else HeldConnection(client.connection_pool)
        self._observer = observer or Observer()
        self._on_generation = on_generation
        self._current = current_key(prefix)
        self._experiment = experiment_key(prefix)
        self._serving: Serving | None = None
        self._waiting: deque[_Waiting] = deque()
        self._scheduled = False
        self._on_the_way = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.breaker = Breaker(
            self._probe, breaker, lambda state: self._observer.breaker("redis", state)
        )

    @property
    def generation(self) -> Generation | None:
        """The generation found current last."""
        return None if self._serving is None else self._serving.champion

    def read(
        self, wanted: Sequence[Wanted], user: int | None = None
    ) -> asyncio.Future[Found | None]:
        """The values of some lists and the generation they are from; None when there is none.

        For a user it is the generation of their arm while an experiment runs, else the current one.

        The future raises `StoreUnavailable` when Redis does not answer in time, or has not lately.
        """
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self.breaker.closed:
            self.ask(wanted, user, partial(_settle, future))
        else:
            future.set_exception(_gone())
        return future

    def ask(
        self, wanted: Sequence[Wanted], user: int | None, then: Callable[[Outcome], None]
    ) -> None:
        """The same while the breaker is closed, told to who must not raise.

        Args:
            wanted: Which lists.
            user: Whose.
            then: Told what was read, in the event loop.
        """
        self._waiting.append((user, wanted, then))
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._send)

    async def close(self) -> None:
        """Let go of Redis."""
        await self.breaker.close()
        await self._client.aclose()

    def _send(self) -> None:
        self._scheduled = False
        while self._waiting and self._on_the_way < _ON_THE_WAY:
            batch, keys = [], 0
            while self._waiting and keys < _KEYS_A_BATCH:
                batch.append(self._waiting.popleft())
                keys += len(batch[-1][1])
            self._on_the_way += 1
            task = asyncio.get_running_loop().create_task(self._answer(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, batch: list[_Waiting]) -> None:
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                found = await self._fetch(batch)
        except Exception as error:
            # Whatever it is: who waits here has to be answered, by another tier.
            if not isinstance(error, RedisError | OSError | TimeoutError):
                log.exception("Reading from Redis failed")
            self._observer.store_failed("redis")
            self.breaker.failed()
            for *_, then in batch:
                then(_gone())
        else:
            self.breaker.succeeded()
            for (_, _, then), own in zip(batch, found, strict=True):
                then(own)
        finally:
            self._on_the_way -= 1
            if not self.breaker.closed:
                self._give_up()
            elif self._waiting:
                self._send()

    def _give_up(self) -> None:
        waiting, self._waiting = self._waiting, deque()
        for *_, then in waiting:
            then(_gone())

    async def _fetch(self, batch: Sequence[_Waiting]) -> Sequence[Found | None]:
        prefix = self._prefix
        for _ in range(3):
            known = self._serving
            if known is None:
                known = await self._look()
                if known is None:
                    break
            watched = known.watched(prefix)
            keys: list[str | bytes] = [self._current, self._experiment, *watched]
            answering = []
            for user, wanted, _ in batch:
                whose = known.answers(user)
                answering.append(whose)
                name = whose[0].name
                for kind, item in wanted:
                    keys.append(key_of(prefix, name, kind, item))
            self._observer.batch(len(keys))
            current, experiment, *values = await self._get(keys)
            place = len(watched)
            if known.holds(current, experiment, values[:place]):
                found = []
                for (generation, told), (_, wanted, _) in zip(answering, batch, strict=True):
                    own = values[place : place + len(wanted)]
                    found.append(Found(generation, own, told))
                    place += len(wanted)
                return found
            self._serving = None
        return [None] * len(batch)  # nobody publishes that fast: something else writes there

    async def _look(self) -> Serving | None:
        name = await self._client.get(self._current)
        if name is None:
            return None
        found = await self._described(name.decode())
        if found is None:
            return None
        value = await self._client.get(self._experiment)
        experiment = decode_experiment(value)
        challenger = None
        if experiment is not None:
            challenger = await self._described(experiment.generation)
        self._serving = Serving(found, value, challenger)
        self._on_generation(found)
        return self._serving

    async def _described(self, name: str) -> Generation | None:
        return read_generation(await self._client.get(meta_key(self._prefix, name)))

    async def _get(self, keys: Sequence[str | bytes]) -> list[bytes | None]:
        if self._held is not None:
            return await self._held.mget(keys)
        pipeline = self._client.pipeline()
        for key in keys:
            pipeline.get(key)
        gathered: list[bytes | None] = await pipeline.execute()
        return gathered

    async def _probe(self) -> None:
        async with asyncio.timeout(ANSWER_WITHIN):
            await self._client.get(self._current)


def _settle(future: asyncio.Future[Any], outcome: Outcome) -> None:
    if future.done():  # its request was given up
        return
    if isinstance(outcome, StoreUnavailable):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


def _gone() -> StoreUnavailable:
    return StoreUnavailable("Redis does not answer. `moovitamix doctor` tests it.")
