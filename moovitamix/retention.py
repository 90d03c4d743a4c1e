"""What is kept for how long, and the one function that sees to it, after each load and every night.

Settings say how long; what may go at all is told where it is kept: `ingest/prune.py` for pulls,
`warehouse/quarantine.py`, `warehouse/told.py`, `warehouse/feedback.py`, `warehouse/exports.py`,
`warehouse/figures.py`, and `erasure.py` for users whom the source does not have any more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import polars as pl

from moovitamix.erasure import alone_with_people, erase_users
from moovitamix.ingest.contract import USERS
from moovitamix.ingest.erased import unfinished
from moovitamix.ingest.prune import Pruned, is_prunable, prune_files
from moovitamix.ingest.pulls import gone_keys, newest_pull
from moovitamix.ingest.spool_folder import own_folder, remove_left
from moovitamix.serve.memory import used_memory
from moovitamix.warehouse import feedback, figures, quarantine
from moovitamix.warehouse.days import published_days
from moovitamix.warehouse.exports import Passed, remove_expired
from moovitamix.warehouse.told import forget_loaded

if TYPE_CHECKING:
    from moovitamix.ingest.lake import LakeStore
    from moovitamix.resources import Cache, Warehouse
    from moovitamix.settings import Settings


@dataclass(frozen=True)
class Tidied:
    """What was removed; all zero on most days.

    Attributes:
        users: Erased, for the source has not had them for so long.
        contents: Contents of records that a later one replaced long ago.
        files: Files of old pulls that nothing reads any more.
        quarantined: Rows of the quarantine that were resolved, or last sent, long ago.
        exports: Folders of exports.
        elsewhere: Exports that are too old, and not on this machine.
        told: Plays that the app had told, loaded long ago.
        shown: Impressions and clicks that were counted long ago.
        figures: Rows of figures of runs, loads, checks and sizes of long ago.
    """

    users: int
    contents: int
    files: int
    quarantined: int
    exports: int = 0
    elsewhere: int = 0
    told: int = 0
    shown: int = 0
    figures: int = 0

    def __bool__(self) -> bool:
        """Whether there was anything."""
        return any(astuple(self))

    def sentence(self) -> str:
        """The counts in words."""
        return (
            f"Removed {self.users:,} users who are gone from the source, {self.contents:,} "
            f"replaced contents, {self.files:,} files of old pulls, {self.quarantined:,} rows of "
            f"the quarantine, {self.told:,} plays that the app told and that are loaded, "
            f"{self.shown:,} impressions and clicks, {self.figures:,} old figures, "
            f"{self.exports:,} exports"
            + (f"; {self.elsewhere:,} old exports are not on this machine" * bool(self.elsewhere))
        )


def keep_house(
    warehouse: Warehouse,
    lake: LakeStore,
    cache: Cache,
    settings: Settings,
    *,
    on_wait: Callable[[], None] = lambda: None,
) -> Tidied:
    """Remove what is older than the settings allow. Waits for nobody when there is nothing.

    What is left is measured, so that its growth can be told.

    Args:
        warehouse: The tables.
        lake: The files.
        cache: Only needed when a user is erased, or an erasure was killed and is completed.
        settings: Say how long, and what the time is.
        on_wait: Called when somebody is at work, for whom this waits.

    Raises:
        StoreUnavailable: When Postgres, or Redis where it is needed, does not answer.
    """
    present = settings.present().astimezone(UTC).replace(tzinfo=None)
    withdrawn = _withdrawn(lake, present - timedelta(days=settings.erase_withdrawn_after_days))
    if withdrawn or unfinished(lake):
        erase_users(
            warehouse,
            lake,
            cache,
            withdrawn,
            spool=settings.spool,
            for_good=False,
            on_wait=on_wait,
        )
    # The next pull here would do so, and an erasure; but either may be made elsewhere.
    remove_left(settings.spool)
    before = present - timedelta(days=settings.keep_replaced_days)
    with warehouse.connect() as connection:
        published = published_days(connection)
    pruned = Pruned()
    if is_prunable(lake, before, published):
        with (
            alone_with_people(warehouse, lake, on_wait=on_wait),
            own_folder(settings.spool) as folder,
        ):
            pruned = prune_files(lake, before, published, folder)
    with warehouse.connect() as connection:
        quarantined = quarantine.forget(connection, before)
        told = forget_loaded(connection, (present - timedelta(settings.keep_activity_days)).date())
        shown = feedback.forget_shown(
            connection, present - timedelta(days=settings.keep_feedback_days)
        )
        forgotten = figures.forget(connection, present - timedelta(days=settings.keep_figures_days))
    old = Passed([], [])
    if settings.keep_exports_days is not None:
        with warehouse.connect() as connection:
            old = remove_expired(connection, timedelta(days=settings.keep_exports_days))
    with warehouse.connect() as connection:
        sizes = {folder: size for folder, (_, size) in lake.sizes().items()}
        figures.keep_sizes(connection, present.date(), sizes)
    return Tidied(
        len(withdrawn),
        pruned.contents,
        pruned.files,
        quarantined,
        len(old.folders),
        len(old.not_here),
        told.plays,
        shown,
        forgotten,
    )


def measure_cache(warehouse: Warehouse, cache: Cache, settings: Settings) -> int:
    """Keep how many bytes Redis holds, so that its growth can be told too; answers them.

    Apart from `keep_house`, which needs no Redis.

    Raises:
        StoreUnavailable: When Postgres or Redis does not answer; nothing is kept of that day.
    """
    with cache.connect() as client:
        held = used_memory(client)
    with warehouse.connect() as connection:
        figures.keep_cache_size(connection, settings.present().date(), held)
    return held


def _withdrawn(lake: LakeStore, before: datetime) -> list[int]:
    """Users whom every pull has missed since a moment; the newest alone tells."""
    gone = gone_keys(lake, USERS, newest_pull(lake))
    return gone.filter(pl.col("since") < before)["id"].to_list()
