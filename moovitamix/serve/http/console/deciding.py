"""The page on which something is decided: the rollback of the model.

What a rollback does is told in `moovitamix/rollback.py`, and that a form is one of ours is made
sure of in `console.py`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import psycopg

from moovitamix.errors import MoovitaMixError, NothingToDo
from moovitamix.recommend import mirror, registry, succession
from moovitamix.recommend.archive import DamagedArtifact
from moovitamix.rollback import RolledBack, roll_back
from moovitamix.serve.http.console.aside import Aside, Missing, looking, told_of
from moovitamix.serve.http.console.lists import read_lists
from moovitamix.serve.http.console.page import Asked, Elsewhere, Page, message, read_id
from moovitamix.serve.http.console.versions import VersionRow, read_rows

if TYPE_CHECKING:
    from moovitamix.recommend.succession import Entry
    from moovitamix.serve.http.console.routes import Surroundings

log = logging.getLogger(__name__)

PATH = "/console/rollback"
# Seconds that somebody waits: looking through lists that are to be served again takes its time.
WITHIN = 8.0
_LONGEST_REASON = 500


class Deciding:
    """Shows what would be undone, and undoes it.

    Args:
        surroundings: Where it is done.
        aside: Where the reading is done.
    """

    def __init__(self, surroundings: Surroundings, aside: Aside) -> None:
        self._around = surroundings
        self._aside = aside
        self._under_way: set[asyncio.Task[Any]] = set()

    async def rollback(self, asked: Asked) -> Page | Elsewhere:
        """What would be undone, or what came of undoing it."""
        if not asked.visitor.may("admin"):
            told = (
                f"The key {asked.visitor.name} may {asked.visitor.scope}. A rollback takes a key "
                "of scope admin: sign out, and sign in with one."
            )
            return message("Not with this key", told, 403)
        if not asked.form:
            return await self._form(asked)
        seen = read_id(asked.form.get("seen", ""))
        if seen is None:
            told = "The form was sent without the version it is about. Open the page again."
            return message("Nothing was done", told, 422)
        reason = asked.form.get("reason", "").strip()[:_LONGEST_REASON] or None
        by = "console" if not asked.visitor.digest else f"console, key {asked.visitor.name}"
        return await self._roll_back(by, reason, seen)

    async def _form(self, asked: Asked) -> Page:
        around = self._around

        def standing() -> tuple[list[VersionRow], list[VersionRow], Entry | None]:
            with looking(around.warehouse) as connection:
                champion = registry.champion(connection)
                before = succession.predecessor(connection)
                pinned = succession.pin(connection)
            return (
                read_rows([champion] if champion else []),
                read_rows([before] if before else []),
                pinned,
            )

        found, lists = await asyncio.gather(
            self._aside.read("Postgres", standing),
            self._aside.read("Redis", lambda: read_lists(around.connect, around.prefix)),
        )
        context: dict[str, Any] = {"lists": lists, "done": "done" in asked.query}
        if isinstance(found, Missing):
            return Page("rollback.html", {**context, "missing": found})
        champion, before, pinned = found
        kept: list[str] = []
        if before and not isinstance(lists, Missing):
            version = before[0].version.version
            kept = [one.name for one in lists.living if one.model_version == version]
        return Page(
            "rollback.html",
            {
                **context,
                "missing": None,
                "champion": champion[0] if champion else None,
                "before": before[0] if before else None,
                "pinned": pinned,
                "kept": kept,
            },
        )

    async def _roll_back(self, by: str, reason: str | None, seen: int) -> Page | Elsewhere:
        around = self._around

        def work() -> RolledBack:
            return roll_back(
                around.warehouse,
                around.lake,
                around.cache,
                decided_by=by,
                reason=reason,
                seen=seen,
            )

        # In a thread of its own: it goes on when nobody waits any more, and is not held up by who
        # looks.
        deciding = self._begin(asyncio.to_thread(work))
        await asyncio.wait([deciding], timeout=WITHIN)
        if not deciding.done():
            told = "The rollback goes on. Look at the first page in a moment."
            return message("Under way", told, 202)
        try:
            deciding.result()
        except (NothingToDo, DamagedArtifact) as error:
            return message("Nothing was done", str(error), 409)
        except (MoovitaMixError, psycopg.Error, OSError) as error:
            log.warning("A rollback failed: %s", told_of(error))
            told = (
                "A store does not answer. Look at the first page whether the champion has changed."
            )
            return message("Not done", told, 503)
        self._begin(asyncio.to_thread(self._mirror))
        return Elsewhere(f"{PATH}?done")

    def _mirror(self) -> None:
        mirrored = mirror.mirror(self._around.warehouse)
        if mirrored is not None and not mirrored.well:
            log.warning("%s", mirrored.told)

    def _begin(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task
