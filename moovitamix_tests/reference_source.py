"""A source for tests with every trap the real one has, on real HTTP.

Its figures are those measured on the real instance. What a pull makes of them is the tests' job.
"""

import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from random import Random
from types import TracebackType
from typing import Annotated, Any, Final, Self

import msgspec
import uvicorn
from fastapi import FastAPI, Query, Response

Record = dict[str, Any]

FAVORITE_GENRES: Final = (
    "Pop", "Rock", "Hip Hop", "R&B", "Jazz", "Techno", "Indie", "Funk", "Blues", "Soul", "Reggae",
    "Metal", "Classical", "Country", "Folk", "House", "Punk",
)  # fmt: skip

_EARLIEST: Final = datetime(2025, 4, 1)  # noqa: DTZ001 - the contract's times have no zone
_GREATEST_ID: Final = 100_000
_BACKDATED_SHARE: Final = 0.26  # updated_at before created_at, of tracks and users
_DISTINCT_NAMES_SHARE: Final = 0.626
_REPEATED_EMAILS: Final = 3
_NULL_USERS: Final = 3
_NULL_ITEMS: Final = 4
_LISTENS_PER_USER: Final = 5
_GENDERS: Final = ("Female", "Male", "Non-binary", "Genderqueer", "Agender", "Bigender")
_FIRST_NAMES: Final = ("Samuel", "April", "Shannon", "Cheryl", "Mallory", "Eric", "Noël", "Zoë")
_LAST_NAMES: Final = ("Ball", "Scott", "Garrett", "Snyder", "Taylor", "Hunt", "O'Neill", "Núñez")
_ONSETS: Final = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "st", "tr", "bl")
_RHYMES: Final = (
    "ake",
    "all",
    "and",
    "ear",
    "eep",
    "end",
    "ight",
    "ill",
    "ine",
    "ock",
    "ore",
    "un",
)


@contextmanager
def serve_app(app: Any) -> Iterator[str]:
    """Serve an ASGI application on a free loopback port for as long as the block runs.

    Args:
        app: The application.

    Yields:
        The URL of its root, without a slash at the end.
    """
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(256)  # from here on connections wait, so no one has to poll
        config = uvicorn.Config(
            app, log_level="error", access_log=False, ws="none", timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listening]}, name="test source", daemon=True
        )
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(timeout=10)
            if thread.is_alive():
                raise RuntimeError("The test's server did not stop: look for a request that hangs.")


class ReferenceSource:
    """The traps of the real source: a server, and its records as lists that a test may edit.

    Args:
        seed: Equal seeds (and `now`) make equal data.
        records: The total of each endpoint, at least 20.
        now: The newest time in the data, naive UTC; None is the system's time.

    Attributes:
        tracks: What `GET /tracks` answers, in the server's order.
        users: What `GET /users` answers.
        listens: What `GET /listen_history` answers.
        requests: How many requests each endpoint had, by its name; refused ones are not counted.
        on_request: Called with endpoint and page before each answer is made, on the server's
            thread: to restart or edit in the middle of a pull, or to raise `fastapi.HTTPException`.
    """

    def __init__(self, seed: int = 0, *, records: int = 1_000, now: datetime | None = None) -> None:
        self._random = Random(seed)
        self._size = records
        self._now = now or datetime.now(UTC).replace(tzinfo=None)
        self._running: Any = None
        self._url: str | None = None
        self.requests: Counter[str] = Counter()
        self.on_request: Callable[[str, int], None] | None = None
        self.tracks: list[Record] = []
        self.users: list[Record] = []
        self.listens: list[Record] = []
        self.restart()

    @property
    def url(self) -> str:
        """The URL of the running server's root.

        Raises:
            RuntimeError: It is not running.
        """
        if self._url is None:
            raise RuntimeError("The reference source is not running: call start() first.")
        return self._url

    def start(self) -> Self:
        """Start the server; return the source itself."""
        self._running = serve_app(self._app())
        self._url = self._running.__enter__()
        return self

    def stop(self) -> None:
        """Stop the server; the records stay."""
        running, self._running, self._url = self._running, None, None
        if running is not None:
            running.__exit__(None, None, None)

    def __enter__(self) -> Self:
        """Start the server."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the server."""
        self.stop()

    def restart(self) -> None:
        """Make all data anew, as the real source does at each start: other ids, same totals."""
        users = self._made_users()
        tracks = self._made_tracks()
        self.users, self.tracks, self.listens = users, tracks, self._made_listens(users, tracks)

    def _app(self) -> FastAPI:
        app = FastAPI(title="MooVitamix", version="1.1")
        encode = msgspec.json.Encoder().encode

        def add_route(endpoint: str, records: Callable[[], list[Record]]) -> None:
            @app.get(f"/{endpoint}")
            async def read(
                page: Annotated[int, Query(ge=1)] = 1,
                size: Annotated[int, Query(ge=1, le=100)] = 100,
            ) -> Response:
                self.requests[endpoint] += 1
                if self.on_request is not None:
                    self.on_request(endpoint, page)
                held = records()
                envelope = {
                    "items": held[(page - 1) * size : page * size],
                    "total": len(held),
                    "page": page,
                    "size": size,
                    "pages": -(-len(held) // size),
                }
                return Response(encode(envelope), media_type="application/json")

        add_route("tracks", lambda: self.tracks)
        add_route("users", lambda: self.users)
        add_route("listen_history", lambda: self.listens)
        return app

    def _made_tracks(self) -> list[Record]:
        chance = self._random
        names = self._words(round(_DISTINCT_NAMES_SHARE * self._size))
        names += chance.choices(names, k=self._size - len(names))
        chance.shuffle(names)
        return [
            {
                "id": track_id,
                "name": name,
                "artist": self._person(),
                "songwriters": self._person(),
                "duration": f"{chance.randrange(60):02}:{chance.randrange(60):02}",
                "genres": self._word(),
                "album": self._word(),
            }
            | times
            for track_id, name, times in zip(self._ids(), names, self._times(), strict=True)
        ]

    def _made_users(self) -> list[Record]:
        chance = self._random
        emails = [f"{self._word()}{n}@example.{'org' if n % 2 else 'net'}" for n in self._ids()]
        for taken in range(_REPEATED_EMAILS):
            emails[-1 - taken] = emails[taken]
        chance.shuffle(emails)
        return [
            {
                "id": user_id,
                "first_name": chance.choice(_FIRST_NAMES),
                "last_name": chance.choice(_LAST_NAMES),
                "email": email,
                "gender": chance.choice(_GENDERS),
                "favorite_genres": chance.choice(FAVORITE_GENRES),
            }
            | times
            for user_id, email, times in zip(self._ids(), emails, self._times(), strict=True)
        ]

    def _made_listens(self, users: list[Record], tracks: list[Record]) -> list[Record]:
        chance = self._random
        track_ids = [track["id"] for track in tracks]
        listens: list[Record] = []
        for user in users:
            created = self._moment(_EARLIEST, self._now)
            updated = self._moment(created, self._now)
            heard = chance.sample(track_ids, _LISTENS_PER_USER)
            listens.append({"user_id": user["id"], "items": heard} | _stamps(created, updated))
        chosen = chance.sample(listens, _NULL_USERS + _NULL_ITEMS)
        for listen in chosen[:_NULL_USERS]:
            listen["user_id"] = None
        for listen in chosen[_NULL_USERS:]:
            listen["items"] = None
        return listens

    def _ids(self) -> list[int]:
        return self._random.sample(range(1, _GREATEST_ID + 1), self._size)

    def _times(self) -> list[dict[str, str]]:
        backdated = round(_BACKDATED_SHARE * self._size)
        times = []
        for number in range(self._size):
            created = self._moment(_EARLIEST, self._now)
            updated = (
                self._moment(_EARLIEST, created)
                if number < backdated
                else self._moment(created, self._now)
            )
            times.append(_stamps(created, updated))
        self._random.shuffle(times)
        return times

    def _moment(self, earliest: datetime, latest: datetime) -> datetime:
        microseconds = (latest - earliest) // timedelta(microseconds=1)
        return earliest + timedelta(microseconds=self._random.randrange(max(1, microseconds)))

    def _person(self) -> str:
        return f"{self._random.choice(_FIRST_NAMES)} {self._random.choice(_LAST_NAMES)}"

    def _word(self) -> str:
        return self._random.choice(_ONSETS) + self._random.choice(_RHYMES)

    def _words(self, count: int) -> list[str]:
        """Return that many different words."""
        words: dict[str, None] = {}
        while len(words) < count:
            words[self._word() + self._random.choice(("", "er", "ing", "ed", "ly"))] = None
        return list(words)


def _stamps(created: datetime, updated: datetime) -> dict[str, str]:
    return {
        "created_at": created.isoformat(timespec="microseconds"),
        "updated_at": updated.isoformat(timespec="microseconds"),
    }
