"""The pull that some days need: the one that is there, or a new one, by one puller at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime

import uvloop

from moovitamix.errors import NothingToDo, StoreUnavailable
from moovitamix.ingest.before import refuse_while_unfinished
from moovitamix.ingest.client import SourceClient
from moovitamix.ingest.erased import Erased
from moovitamix.ingest.lake import LakeStore
from moovitamix.ingest.pull import covering_pull, last_day_over, pull_source
from moovitamix.ingest.pulls import Pull
from moovitamix.ingest.request_times import RequestTimes
from moovitamix.resources import Held, Source, Warehouse
from moovitamix.settings import get_settings

Log = Callable[[str], None]

_PROGRESS_EVERY_SECONDS = 1.0


def ensure_pull(
    source: Source,
    lake: LakeStore,
    warehouse: Warehouse,
    days: Sequence[date],
    *,
    refresh: bool,
    log: Log,
) -> Pull:
    """The newest kept pull, made now when it does not cover the days.

    It does not when it began before the last of them was over, when one of them was blocked by
    what it brought (the source may have mended it since), or when `refresh` asks for a new one.

    Args:
        source: Where to pull from.
        lake: Where to keep it.
        warehouse: Holds the lock of the pull, and the blocked days.
        days: What the run is about, oldest first.
        refresh: Pull in any case.
        log: Told how it goes, a sentence at a time.

    Raises:
        NothingToDo: When the last of the days is not over yet, or a reset is half done.
        SourceUnavailable: See `pull_source`.
        SourceContractError: See `pull_source`.
        StoreUnavailable: When users were erased, and the key that tells whom is gone. When the lock
            was lost meanwhile.
    """
    from moovitamix.warehouse.erasures import those_erased
    from moovitamix.warehouse.judge import blocked_on

    if days[-1] > last_day_over(_present()):
        raise NothingToDo(
            f"{days[-1]} is not over yet, its listens are still being made. "
            f"Run it after midnight UTC; the last day that is over is {last_day_over(_present())}."
        )
    waits = "Another pull is under way: waiting for it"
    with warehouse.lock("pull", on_wait=lambda: log(waits)) as held:
        refuse_while_unfinished(lake)
        kept = covering_pull(lake, days)
        if kept is not None and not refresh:
            with warehouse.connect() as connection:
                blocked = blocked_on(connection, kept.name, days)
            if not blocked:
                log(f"The pull of {kept.began:%Y-%m-%d %H:%M} UTC covers {days[-1]}")
                return kept
        # Asks and reads in four fifths of the processor time that asyncio's own loop takes.
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            erased = those_erased(warehouse, lake)
            return runner.run(_pull(source.address(), lake, warehouse, erased, held, log))


def _keep(warehouse: Warehouse, times: RequestTimes, log: Log) -> None:
    """Keep how long the source took; no pull fails for that."""
    import psycopg

    from moovitamix.warehouse.figures import keep_request_times

    try:
        with warehouse.connect() as connection:
            keep_request_times(connection, times)
    except (StoreUnavailable, psycopg.Error) as error:
        log(f"How long the source took could not be kept: {type(error).__name__}")


async def _pull(
    url: str, lake: LakeStore, warehouse: Warehouse, erased: Erased, held: Held, log: Log
) -> Pull:
    settings = get_settings()
    token = settings.source_token.get_secret_value() if settings.source_token else None
    log(f"Reading all of {url}")
    progress = _Progress(log)
    async with SourceClient(url, token, settings.source_token_header) as client:
        try:
            pull = await pull_source(
                lake,
                client,
                spool=settings.spool,
                clock=_present,
                first_day=settings.first_day,
                erased=erased,
                confirm=held.confirm,
                on_progress=progress,
                on_trouble=lambda trouble: log(f"Reading again, for {trouble}"),
            )
        finally:  # a source that is slow, or does not answer, is what one wants to know of
            _keep(warehouse, client.times, log)
    told = ", ".join(f"{n.distinct:,} {name}" for name, n in pull.counts.items())
    new = sum(n.stored for n in pull.counts.values())
    log(f"Read {told}; {new:,} records are new")
    return pull


def _present() -> datetime:
    return get_settings().present().astimezone(UTC).replace(tzinfo=None)


class _Progress:
    """Tells how far a pull is, not more often than a reader can follow."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._pages: dict[str, tuple[int, int]] = {}
        self._next = time.monotonic() + _PROGRESS_EVERY_SECONDS

    def __call__(self, endpoint: str, done: int, expected: int) -> None:
        self._pages[endpoint] = (done, expected)
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _PROGRESS_EVERY_SECONDS
            told = ", ".join(f"{name} {n:,}/{of:,}" for name, (n, of) in self._pages.items())
            self._log(f"Pages read: {told}")
