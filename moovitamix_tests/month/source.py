"""A source that grows from day to day and has bad days: it is down, restarts, or sends nonsense.

Its records are those of the demonstration world, on real HTTP.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any, Literal

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from moovitamix.embedded.demo_source.records import ListenRecord, UserRecord
from moovitamix.embedded.demo_source.world import DemoParameters, DemoWorld

Mood = Literal["well", "down", "torn", "mangled e-mails"]

FIRST_DAY = date(2026, 10, 12)
_PAGE = 100


class MoodySource:
    """The API of a world, as of a moment that is set from outside.

    Args:
        users: Of the world, at the end of its founding month.
        past: Days of listening before the first partition, which holds all of them.

    Attributes:
        now: The moment it is shown at, naive UTC.
        mood: What is wrong with it.
        torn: Whether a reading has met the people of two worlds, since it is in that mood.
        readings: How often the first page of tracks was read since then: at the beginning of a
            reading, and once more at its end.
        shifted: From this day on everybody hears what one genre has; None: never.
    """

    def __init__(self, users: int, past: int = 0) -> None:
        self.now = datetime.combine(FIRST_DAY, datetime.min.time())
        self.mood: Mood = "well"
        self.shifted: date | None = None
        days = 30 + past
        self._size = {"users": users, "tracks": 2 * users, "listens": 70 * users * days // 30}
        self._age = {"first_day": FIRST_DAY - timedelta(days=past), "days": days}
        self._world = self._make(seed=20)
        self._other = self._make(seed=99)
        self._restarted = False
        self.torn = False
        self.readings = 0
        self._genre: list[int] = []

    def start_anew(self) -> None:
        """Hold other people and tracks from now on."""
        self._world, self.shifted = self._other, None

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route(f"/{name}", self._answering(name))
                for name in ("tracks", "users", "listen_history")
            ]
        )

    def _make(self, seed: int) -> DemoWorld:
        return DemoWorld(DemoParameters(seed=seed, **self._age, **self._size))  # type: ignore[arg-type]  # two kinds of values

    def _answering(self, name: str) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            if self.mood == "down":
                return Response(status_code=503)
            page = int(request.query_params.get("page", "1"))
            size = int(request.query_params.get("size", str(_PAGE)))
            self._note(name, page)
            world = self._other if self._restarted else self._world
            listed = {"tracks": "tracks", "users": "users", "listen_history": "listens"}[name]
            total = getattr(world, f"count_{listed}")(self.now)
            start, stop = (page - 1) * size, min(page * size, total)
            records = getattr(world, listed)(start, stop, self.now) if start < stop else []
            body = {
                "items": [self._sent(record) for record in records],
                "total": total,
                "page": page,
                "size": size,
                "pages": -(-total // size),
            }
            return Response(msgspec.json.encode(body), media_type="application/json")

        return answer

    def _note(self, name: str, page: int) -> None:
        """A torn pull: other people from the middle of the first reading to its end."""
        if self.mood != "torn":
            self.readings, self.torn, self._restarted = 0, False, False
            return
        if name == "tracks" and page == 1:
            self.readings += 1
            self._restarted = self.readings == 2  # the first page again, at the end
        elif name == "users" and page == 2 and self.readings == 1:
            self._restarted = self.torn = True

    def _sent(self, record: Any) -> Any:
        if isinstance(record, ListenRecord):
            created = date.fromisoformat(record.created_at[:10])
            if self.shifted is not None and created >= self.shifted:
                return msgspec.structs.replace(record, items=self._of_one_genre(record.items))
            return record
        if self.mood == "mangled e-mails" and isinstance(record, UserRecord):
            return msgspec.structs.replace(record, email="nowhere")
        return record

    def _of_one_genre(self, items: list[int]) -> list[int]:
        if not self._genre:
            tracks = self._world.tracks(0, self._world.count_tracks(self.now), self.now)
            by_genre: dict[str, list[int]] = {}
            for track in tracks:
                by_genre.setdefault(track.genres.split(",")[0].strip().lower(), []).append(track.id)
            self._genre = min(by_genre.values(), key=lambda found: abs(len(found) - 60))
        return [self._genre[item % len(self._genre)] for item in items]
