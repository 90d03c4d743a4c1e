"""The pages that only look: status, users, tracks. What can be decided is in `deciding.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import psycopg

from moovitamix.observe.looks import SILENT_AFTER
from moovitamix.serve.http.asking import Ask
from moovitamix.serve.http.console import explorer, health
from moovitamix.serve.http.console.answers import LACKS, TIERS, Shown, read_answer, read_names
from moovitamix.serve.http.console.aside import Aside, Missing, looking
from moovitamix.serve.http.console.books import read_books
from moovitamix.serve.http.console.checked import Process
from moovitamix.serve.http.console.lists import Lists, read_lists
from moovitamix.serve.http.console.page import Asked, Page, read_id
from moovitamix.serve.http.console.versions import read_rows
from moovitamix.settings import get_settings

if TYPE_CHECKING:
    from moovitamix.serve.http.console.routes import Surroundings
    from moovitamix.serve.http.world import World

T = TypeVar("T")

_GIVEN = 20
_VERSIONS = 12
_DECISIONS = 8
_NO_ID = "An id is a whole number."


class Pages:
    """Reads what a page shows.

    Args:
        surroundings: Where from.
        aside: Where the reading is done.
    """

    def __init__(self, surroundings: Surroundings, aside: Aside) -> None:
        self._around = surroundings
        self._aside = aside

    async def status(self, asked: Asked) -> Page:
        """How it goes: stages, what needs somebody, generations, versions."""
        around, settings, now = self._around, get_settings(), datetime.now(UTC)
        books, lists = await asyncio.gather(
            self._books(lambda connection: read_books(connection, now)), self._lists()
        )
        known = None if isinstance(books, Missing) else books
        seen = None if isinstance(lists, Missing) else lists
        found = health.needs(
            known,
            seen,
            now=now,
            present=settings.present(),
            late_after=settings.late_after,
        )
        live = around.world.live
        process = Process(
            around.reader.breaker.state,
            len(around.world.tracks),
            len(around.world.ranking.ids),
            live.champion.version if live else None,
            around.world.removals_known,
        )
        return Page(
            "status.html",
            {
                "books": books,
                "lists": lists,
                "missing": [one for one in (books, lists) if isinstance(one, Missing)],
                "found": found,
                "looked": known.looked if known else None,
                "silent": known is not None
                and known.looked is not None
                and now - known.looked > SILENT_AFTER,
                "stages": health.stages(known, seen, process, found),
                "process": process,
                "yesterday": settings.present().date() - timedelta(days=1),
                "versions": read_rows(known.versions[:_VERSIONS]) if known else [],
                "decisions": known.decisions[:_DECISIONS] if known else [],
                "runbook": settings.runbook_url,
                "may_decide": asked.visitor.may("admin"),
            },
        )

    async def user(self, asked: Asked) -> Page:
        """What somebody heard, what they get, and why."""
        around, typed, user = self._around, asked.typed("id"), asked.user
        if user is None:
            suggested = await self._books(explorer.read_suggested)
            fault = _NO_ID if typed else None
            return Page(
                "user.html",
                {"typed": typed, "user": None, "suggested": suggested, "fault": fault},
                422 if fault else 200,
            )
        past, answer = await asyncio.gather(
            self._books(lambda connection: explorer.read_past(connection, user)),
            around.tiers.recommend(user, Ask(limit=_GIVEN, explain=True)),
        )
        if user in around.world.erased_users:
            past = Missing("This user is being erased.")
        return Page(
            "user.html",
            {
                "typed": typed,
                "user": user,
                "fault": None,
                "past": past,
                "answer": read_answer(answer.body),
                "hidden": read_names(around.world, around.world.hidden.of(user)),
                "tiers": TIERS,
                "lacks": LACKS,
            },
        )

    async def tracks(self, asked: Asked) -> Page:
        """Tracks by id or name; what is popular where nothing is asked for."""
        around, typed = self._around, asked.typed("q")
        if not typed:
            popular = await around.tiers.popular(Ask(limit=_GIVEN))
            return Page("tracks.html", {"typed": "", "popular": read_answer(popular.body)})
        found = await self._books(lambda connection: _search(connection, typed))
        ranked = found if isinstance(found, Missing) else _most_heard_first(around.world, found)
        return Page("tracks.html", {"typed": typed, "found": ranked, "most": explorer.FOUND})

    async def track(self, asked: Asked) -> Page:
        """A track, how often it was heard, and its neighbours."""
        around, track = self._around, read_id(str(asked.path["id"]))
        if track is None:
            return Page("message.html", {"title": "No track", "text": _NO_ID}, 422)
        told, answer = await asyncio.gather(
            self._books(lambda connection: explorer.read_track(connection, track)),
            around.tiers.similar(track, _GIVEN),
        )
        shown: Shown = read_answer(answer.body)
        return Page(
            "track.html",
            {
                "track": track,
                "told": told,
                "removed": track in around.world.removed,
                "answer": shown,
                "tiers": TIERS,
                "lacks": LACKS,
            },
        )

    async def _books(self, read: Callable[[psycopg.Connection], T]) -> T | Missing:
        def work() -> T:
            with looking(self._around.warehouse) as connection:
                return read(connection)

        return await self._aside.read("Postgres", work)

    async def _lists(self) -> Lists | Missing:
        around = self._around
        return await self._aside.read("Redis", lambda: read_lists(around.connect, around.prefix))


def _search(connection: psycopg.Connection, typed: str) -> list[explorer.Found]:
    """By name or artist; a number is an id first."""
    named = explorer.search_tracks(connection, typed)
    track = read_id(typed)
    told = None if track is None else explorer.read_track(connection, track)
    if told is None:
        return named
    own = explorer.Found(told.track_id, told.name, told.artist)
    return [own, *(one for one in named if one.track_id != track)]


def _most_heard_first(
    world: World, found: Sequence[explorer.Found]
) -> list[tuple[explorer.Found, int]]:
    """With how many users heard each, as the answers of this process count them."""
    ids = np.array([one.track_id for one in found], dtype=np.int64)
    counts = world.counts
    wanted = np.isin(counts.ids, ids)
    by = dict(
        zip(counts.ids[wanted].tolist(), counts.listeners[wanted].astype(int).tolist(), strict=True)
    )
    pairs = [(one, by.get(one.track_id, 0)) for one in found]
    return sorted(pairs, key=lambda pair: -pair[1])
