"""The console's routes. All else is imported when somebody opens it: most processes never show it.

What the pages show is told in `pages.py`. These routes ask for no header with a key, as `gate.py`
knows: who may see them is decided in `console.py`, by a session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

if TYPE_CHECKING:
    import redis

    from moovitamix.ingest.lake import LakeStore
    from moovitamix.resources import Cache, Warehouse
    from moovitamix.serve.http.console.console import Console
    from moovitamix.serve.http.keys import KeyStore
    from moovitamix.serve.http.reads import ListReader
    from moovitamix.serve.http.tiers import Tiers
    from moovitamix.serve.http.world import World

_READ, _FILLED_IN = ["GET"], ["GET", "POST"]

ROUTES: dict[str, tuple[str, list[str]]] = {
    "/": ("status", _READ),
    "/console/users": ("user", _READ),
    "/console/tracks": ("tracks", _READ),
    "/console/tracks/{id}": ("track", _READ),
    "/console/rollback": ("rollback", _FILLED_IN),
    "/console/sign-in": ("sign_in", _FILLED_IN),
    "/console/sign-out": ("sign_out", ["POST"]),
    "/console/static/{name}": ("static", _READ),
}


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What the console looks at, all of it the API's own.

    Attributes:
        warehouse: Postgres.
        lake: With what sessions are signed with, and the files of versions.
        cache: Redis, for a rollback.
        connect: Opens a client of Redis that has time limits.
        prefix: What every key begins with, without the colon.
        world: What this process knows of the catalogue.
        tiers: What answers the app.
        reader: Of Redis: which generation answers, and whether it does.
        keys: Those in force.
    """

    warehouse: Warehouse
    lake: LakeStore
    cache: Cache
    connect: Callable[[], redis.Redis]
    prefix: str
    world: World
    tiers: Tiers
    reader: ListReader
    keys: KeyStore


class ConsoleRoutes:
    """The routes, and the console behind them once it was opened. There is nothing to close.

    Args:
        surroundings: What it looks at.
    """

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._console: Console | None = None
        self._opening = asyncio.Lock()

    def routes(self) -> list[Route]:
        """To be put behind the hot ones."""
        return [
            Route(path, _Endpoint(self, path, name), methods=methods)
            for path, (name, methods) in ROUTES.items()
        ]

    async def opened(self) -> Console:
        """The console, imported beside the event loop at the first call."""
        async with self._opening:
            if self._console is None:
                self._console = await asyncio.to_thread(self._open)
            return self._console

    def _open(self) -> Console:
        from moovitamix.serve.http.console.console import Console

        return Console(self._surroundings)


class _Endpoint:
    """One route as an ASGI application.

    Args:
        console: Behind it.
        path: Its path with names for ids, for figures and the log.
        page: Which page.
    """

    def __init__(self, console: ConsoleRoutes, path: str, page: str) -> None:
        self._console = console
        self._path = path
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        scope["noted"].route = self._path
        console = await self._console.opened()
        response = await console.answer(self._page, Request(scope, receive))
        await response(scope, receive, send)
