"""Reads lists from Redis for many requests at once: all keys of an event-loop tick in one MGET.

What is asked for and what becomes of it is told in `tiers.py`; when Redis is left alone, in
`breaker.py`. Never writes.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from redis.exceptions import RedisError

from moovitamix.errors import StoreUnavailable
from moovitamix.serve.generations import (
    Generation,
    Kind,
    current_key,
    key_of,
    meta_key,
    read_generation,
)
from moovitamix.serve.http.breaker import Breaker, BreakerParameters, State

log = logging.getLogger(__name__)

Wanted = tuple[Kind, int]

# A Redis that takes longer is as good as gone: the answer does not need it.
ANSWER_WITHIN = 0.25

# With more on the way, what comes in waits for the next answer: batches grow with the load.
_ON_THE_WAY = 1
_KEYS_A_BATCH = 512


class Client(Protocol):
    """What is used of `redis.asyncio.Redis` and `RedisCluster`."""

    def get(self, name: str) -> Awaitable[Any]:
        """The value of one key."""

    def mget(self, keys: Any) -> Awaitable[Any]:
        """The values of many keys."""

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
    """Reads values of the generation that is current at the moment of reading.

    `current` is read in the same MGET as the lists, which were asked for under the name that was
    current last: when it has moved on meanwhile, they are asked for once more under the new
    one. So one round trip does, and lists never come from two generations.

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
        self._cluster = cluster
        self._observer = observer or Observer()
        self._on_generation = on_generation
        self._current = current_key(prefix)
        self._generation: Generation | None = None
        self._waiting: deque[tuple[Sequence[Wanted], asyncio.Future[Any]]] = deque()
        self._scheduled = False
        self._on_the_way = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.breaker = Breaker(
            self._probe, breaker, lambda state: self._observer.breaker("redis", state)
        )

    @property
    def generation(self) -> Generation | None:
        """The generation found current last."""
        return self._generation

    def read(
        self, wanted: Sequence[Wanted]
    ) -> asyncio.Future[tuple[Generation, list[bytes | None]] | None]:
        """The values of some lists and the generation they are from; None when there is none.

        The future raises `StoreUnavailable` when Redis does not answer in time, or has not lately.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        if not self.breaker.closed:
            future.set_exception(_gone())
            return future
        self._waiting.append((wanted, future))
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._send)
        return future

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
                keys += len(batch[-1][0])
            self._on_the_way += 1
            task = asyncio.get_running_loop().create_task(self._answer(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, batch: list[tuple[Sequence[Wanted], asyncio.Future[Any]]]) -> None:
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                generation, values = await self._fetch([w for wanted, _ in batch for w in wanted])
        except Exception as error:
            # Whatever it is: who waits here has to be answered, by another tier.
            if not isinstance(error, RedisError | OSError | TimeoutError):
                log.exception("Reading from Redis failed")
            self._observer.store_failed("redis")
            self.breaker.failed()
            for _, future in batch:
                if not future.done():
                    future.set_exception(_gone())
        else:
            self.breaker.succeeded()
            place = 0
            for wanted, future in batch:
                if not future.done():  # it is when its request was given up
                    own = values[place : place + len(wanted)]
                    future.set_result(None if generation is None else (generation, own))
                place += len(wanted)
        finally:
            self._on_the_way -= 1
            if not self.breaker.closed:
                self._give_up()
            elif self._waiting:
                self._send()

    def _give_up(self) -> None:
        waiting, self._waiting = self._waiting, deque()
        for _, future in waiting:
            if not future.done():
                future.set_exception(_gone())

    async def _fetch(
        self, wanted: Sequence[Wanted]
    ) -> tuple[Generation | None, list[bytes | None]]:
        for _ in range(3):
            known = self._generation
            if known is None:
                known = await self._look()
                if known is None:
                    return None, []
            keys: list[str | bytes] = [self._current]
            keys += [key_of(self._prefix, known.name, kind, item) for kind, item in wanted]
            self._observer.batch(len(keys))
            current, *values = await self._get(keys)
            if current is not None and current.decode() == known.name:
                return known, values
            self._generation = None
        return None, []  # nobody publishes that fast: something else writes there

    async def _look(self) -> Generation | None:
        name = await self._client.get(self._current)
        if name is None:
            return None
        found = read_generation(await self._client.get(meta_key(self._prefix, name.decode())))
        if found is not None:
            self._generation = found
            self._on_generation(found)
        return found

    async def _get(self, keys: Sequence[str | bytes]) -> list[bytes | None]:
        if not self._cluster:
            found: list[bytes | None] = await self._client.mget(keys)
            return found
        pipeline = self._client.pipeline()
        for key in keys:
            pipeline.get(key)
        gathered: list[bytes | None] = await pipeline.execute()
        return gathered

    async def _probe(self) -> None:
        async with asyncio.timeout(ANSWER_WITHIN):
            await self._client.get(self._current)


def _gone() -> StoreUnavailable:
    return StoreUnavailable("Redis does not answer. `moovitamix doctor` tests it.")
