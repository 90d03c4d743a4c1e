"""The HTTP face of the demonstration world: exactly the contract of the real source.

What the pages hold is `world`'s job; running a server is `server`'s.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated

import msgspec
from fastapi import FastAPI, Query, Response
from fastapi.responses import RedirectResponse

from moovitamix.embedded.demo_source.contract import (
    ListenHistoryOut,
    PageCustomized,
    TracksOut,
    UsersOut,
)
from moovitamix.embedded.demo_source.records import ListenRecord, TrackRecord, UserRecord
from moovitamix.embedded.demo_source.world import DemoParameters, DemoWorld

PageNumber = Annotated[int, Query(ge=1, description="Page number")]
PageSize = Annotated[int, Query(ge=1, le=100)]
Count = Callable[[datetime], int]
Records = Callable[
    [int, int, datetime], Sequence[TrackRecord] | Sequence[UserRecord] | Sequence[ListenRecord]
]

_encode = msgspec.json.Encoder().encode


def create_app(parameters: DemoParameters, clock: Callable[[], datetime]) -> FastAPI:
    """Return the demonstration source as an ASGI application.

    Args:
        parameters: What the world is made from.
        clock: Tells the moment the world is shown at, naive UTC; it must not go backwards.
    """
    app = FastAPI(title="MooVitamix", description="A music recommendation system.", version="1.1")
    world = DemoWorld(parameters)

    def answer(count: Count, records: Records, page: int, size: int) -> Response:
        now = clock()
        total = count(now)
        start, stop = (page - 1) * size, min(page * size, total)
        envelope = {
            "items": records(start, stop, now) if start < stop else (),
            "total": total,
            "page": page,
            "size": size,
            "pages": -(-total // size),
        }
        return Response(_encode(envelope), media_type="application/json")

    # The routes are coroutines, though they compute: a page takes a millisecond, and on one thread
    # the days that the world keeps need no lock.

    @app.get("/")
    async def docs_redirect() -> RedirectResponse:
        return RedirectResponse("/docs")

    @app.get("/tracks", tags=["HTTP methods"], response_model=PageCustomized[TracksOut])
    async def get_tracks(page: PageNumber = 1, size: PageSize = 100) -> Response:
        return answer(world.count_tracks, world.tracks, page, size)

    @app.get("/users", tags=["HTTP methods"], response_model=PageCustomized[UsersOut])
    async def get_users(page: PageNumber = 1, size: PageSize = 100) -> Response:
        return answer(world.count_users, world.users, page, size)

    @app.get(
        "/listen_history", tags=["HTTP methods"], response_model=PageCustomized[ListenHistoryOut]
    )
    async def get_listen_history(page: PageNumber = 1, size: PageSize = 100) -> Response:
        return answer(world.count_listens, world.listens, page, size)

    return app
