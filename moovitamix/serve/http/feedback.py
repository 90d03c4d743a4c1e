"""`POST /feedback`: events are committed before they are acknowledged, and a hide acts at once.

What an event looks like is told in `feedback_events.py`, how it is kept in
`warehouse/feedback.py`, how lists in Redis change in `serve/hides.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psycopg
import redis
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from moovitamix.errors import StoreUnavailable
from moovitamix.serve.hides import by_user, forget_in_cache, hide_in_cache
from moovitamix.serve.http.bodies import read_body, send_accepted
from moovitamix.serve.http.erased_users import ErasedUsers
from moovitamix.serve.http.feedback_events import Taken, read_events
from moovitamix.serve.http.group_commit import GroupCommit
from moovitamix.serve.http.noted import Noted
from moovitamix.serve.http.problems import ProblemError
from moovitamix.serve.http.world import World
from moovitamix.settings import get_settings
from moovitamix.warehouse.feedback import (
    TEACHING,
    Event,
    Hidden,
    take_feedback,
    users_with_hides,
)

if TYPE_CHECKING:
    from moovitamix.resources import Warehouse

FEEDBACK = "/feedback"

# Seconds until what Redis did not take is tried again.
TRY_AGAIN_AFTER = 2.0

_DOWN = (StoreUnavailable, redis.RedisError, OSError)

# The order in which an erasure locks them too (`warehouse/people.py`): see `ErasedUsers.among`.
_BEFORE_AN_ERASURE = "LOCK TABLE feedback, hides, activity_marks IN ROW EXCLUSIVE MODE"


class FeedbackTaking:
    """Takes events in.

    Args:
        warehouse: Where they are kept.
        connect: Opens a client of Redis, which answers bytes and has time limits.
        prefix: What every key begins with, without the colon.
        world: Told what is hidden.
        erased: Of whom nothing is taken in.
        told: Called with the users whose lists are to be made anew, in the event loop.
    """

    def __init__(
        self,
        warehouse: Warehouse,
        connect: Callable[[], redis.Redis],
        prefix: str,
        world: World,
        erased: ErasedUsers,
        told: Callable[[set[int]], None] = lambda _: None,
    ) -> None:
        self._connect = connect
        self._prefix = prefix
        self._world = world
        self._told = told
        writer = FeedbackWriter(erased)
        self.commits: GroupCommit[Sequence[Event], Hidden] = GroupCommit(warehouse, writer.write)
        self._looks: GroupCommit[Collection[int], set[int]] = GroupCommit(warehouse, _look)
        self._client: redis.Redis | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hides")
        self._owed: dict[int, set[int]] = {}
        self._paying: asyncio.Task[None] | None = None

    async def take(self, events: Sequence[Event]) -> Taken:
        """Commit events, then make what they hide vanish.

        Raises:
            StoreUnavailable: When Postgres does not take them: send them again.
        """
        decided = await self.commits.commit(events, len(events))
        own = {event[:2] for event in events if event.kind in ("hide", "unhide")}
        for user in {user for user, _ in own}:
            theirs = {track for one, track in own if one == user}
            hidden = {track for track in theirs if decided[user, track]}
            self._world.hidden.note(user, hidden=hidden, shown=theirs - hidden)
        hides = by_user(pair for pair in own if decided[pair])
        taught = {event.user_id for event in events if event.kind in TEACHING}
        if taught:
            self._told(taught)
        if hides and not await self._hide(hides):
            # Committed, and left out by every process that answers; the lists follow.
            return Taken(len(events), ["redis"])
        return Taken(len(events))

    async def close(self) -> None:
        """Commit what waits and let go of Postgres."""
        if self._paying is not None:
            self._paying.cancel()
            await asyncio.gather(self._paying, return_exceptions=True)
        await self.commits.close()
        await self._looks.close()
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self._client is not None:
            self._client.close()

    async def _hide(self, hides: dict[int, set[int]]) -> bool:
        # While something is owed Redis is not asked by each request: it may hang.
        if not self._owed and await self._hide_in_cache(hides):
            return True
        self._owe(hides)
        if self._paying is None or self._paying.done():
            self._paying = asyncio.get_running_loop().create_task(self._pay())
        return False

    async def _pay(self) -> None:
        """Hide what Redis did not take, when it is back."""
        while self._owed:
            await asyncio.sleep(TRY_AGAIN_AFTER)
            owed = {user: set(tracks) for user, tracks in self._owed.items()}
            if await self._hide_in_cache(owed):
                self._paid(owed)

    def _paid(self, hides: dict[int, set[int]]) -> None:
        """What came meanwhile is still owed."""
        for user, tracks in hides.items():
            self._owed[user] -= tracks
        self._owed = {user: tracks for user, tracks in self._owed.items() if tracks}

    def _owe(self, hides: dict[int, set[int]]) -> None:
        for user, tracks in hides.items():
            self._owed.setdefault(user, set()).update(tracks)

    async def _hide_in_cache(self, hides: dict[int, set[int]]) -> bool:
        """Whether both stores did as asked."""
        loop = asyncio.get_running_loop()

        def hide(client: redis.Redis) -> None:
            for user, tracks in hides.items():
                hide_in_cache(client, self._prefix, user, tracks)

        def forget(client: redis.Redis) -> None:
            for user in erased:
                forget_in_cache(client, self._prefix, user)

        try:
            await loop.run_in_executor(self._thread, self._with_redis, hide)
            # Who was erased meanwhile is not to be noted anew. An erasure deletes rows first, keys
            # later: whoever still has rows here is found by it.
            erased = hides.keys() - await self._looks.commit(hides, len(hides))
            if erased:
                await loop.run_in_executor(self._thread, self._with_redis, forget)
        except _DOWN:
            return False
        return True

    def _with_redis(self, work: Callable[[redis.Redis], None]) -> None:
        """Do what may be repeated, with a client that is kept for as long as it works."""
        client, self._client = self._client, None
        if client is not None:
            try:
                work(client)
            except _DOWN:  # it may have been closed at the other end
                client.close()
            else:
                self._client = client
                return
        client = self._connect()
        try:
            work(client)
        except BaseException:
            client.close()
            raise
        self._client = client


class FeedbackWriter:
    """Writes the events of requests.

    Args:
        erased: Of whom nothing is taken in.
    """

    def __init__(self, erased: ErasedUsers) -> None:
        self._erased = erased

    async def write(
        self, connection: psycopg.AsyncConnection, requests: list[Sequence[Event]]
    ) -> Sequence[Hidden]:
        """Write the events of some requests in one transaction; each is told what came of all."""
        every = [event for events in requests for event in events]
        async with connection.transaction():
            await connection.execute(_BEFORE_AN_ERASURE)
            erased = await self._erased.among(connection, {event.user_id for event in every})
            kept = [event for event in every if event.user_id not in erased]
            decided = await take_feedback(connection, kept)
        of_erased = {event[:2]: False for event in every if event.user_id in erased}
        return [{**decided, **of_erased}] * len(requests)


async def _look(
    connection: psycopg.AsyncConnection, requests: list[Collection[int]]
) -> Sequence[set[int]]:
    found = await users_with_hides(connection, sorted({one for ids in requests for one in ids}))
    return [found] * len(requests)


def feedback_routes(taking: FeedbackTaking) -> list[Route]:
    """The route, as a plain ASGI application that Starlette routes to."""
    return [Route(FEEDBACK, _FeedbackRoute(taking), methods=["POST"])]


class _FeedbackRoute:
    def __init__(self, taking: FeedbackTaking) -> None:
        self._taking = taking

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        noted: Noted = scope["noted"]
        noted.route = FEEDBACK
        events = read_events(await read_body(receive), get_settings().present())
        try:
            taken = await self._taking.take(events)
        except StoreUnavailable:
            detail = "Nothing was taken in that is sure to stay. Send all of it again in a moment."
            raise ProblemError(503, detail, {"Retry-After": "1"}) from None
        await send_accepted(send, taken)
