"""One look around: what is wrong now is entered in the book, and told to whom it is to be told.

Dagster is known here by `Runs` alone. A store that does not answer is told to the caller's log, and
leaves the rest of the look as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from moovitamix.errors import StoreUnavailable
from moovitamix.observe import (
    drift_blindness,
    facts,
    failed_runs,
    failed_ticks,
    ledger,
    looks,
    outbox,
    standing,
)
from moovitamix.observe.channels import Channel, read_channels
from moovitamix.observe.conditions import RULES, Condition, Kind
from moovitamix.observe.failed_runs import FailedRun
from moovitamix.observe.failed_ticks import FailedTick
from moovitamix.recommend import registry
from moovitamix.serve.generations import Generation, read_current
from moovitamix.settings import Settings
from moovitamix.warehouse.acceptance import awaited_days
from moovitamix.warehouse.days import blocked_days, published_days

if TYPE_CHECKING:
    import psycopg

    from moovitamix.resources import Cache, Warehouse

_OF_RUNS: tuple[Kind, ...] = ("run_failed", "check_failed")
_OF_CACHE: tuple[Kind, ...] = ("nothing_served", "lists_expiring")


class Runs(Protocol):
    """What is asked of Dagster's history."""

    def failed(self) -> list[FailedRun]:
        """The runs that failed since the last look, or some that were seen then already."""

    def made_good(self, job: str, run_id: str, ended: datetime) -> bool:
        """Whether what a failed run was to do was done since it ended."""

    def failed_since(self, job: str, since: datetime) -> int:
        """How many runs of a job have ended since a moment, or at it, by failing."""

    def failed_ticks(self) -> list[FailedTick]:
        """The last looks of sensors and schedules, where they failed."""


@dataclass(frozen=True, kw_only=True)
class Post:
    """To whom alerts go, and what they link to.

    Attributes:
        channels: Where to; none: they are only logged.
        ui_url: Dagster's UI; None: no link.
        runbook: Where the runbook is read.
        late_after: How long after its end a day is expected to be published.
    """

    channels: tuple[Channel, ...]
    ui_url: str | None
    runbook: str
    late_after: timedelta


def post_of(settings: Settings) -> Post:
    """What the settings say of it."""
    urls = settings.alert_urls.get_secret_value() if settings.alert_urls else None
    return Post(
        channels=tuple(read_channels(urls)),
        ui_url=settings.ui_url,
        runbook=settings.runbook_url,
        late_after=settings.late_after,
    )


def watch(
    warehouse: Warehouse,
    cache: Cache,
    runs: Runs,
    post: Post,
    *,
    now: datetime,
    present: datetime,
    tell: Callable[[str], None],
) -> str:
    """Look, enter, send; a sentence on what came of it.

    Args:
        warehouse: Where alerts are kept, and most of what they are about.
        cache: What is served.
        runs: Dagster's history.
        post: To whom it goes.
        now: UTC.
        present: The same, or the simulated present, by which days are late.
        tell: Told, in a sentence, what opens, what is over, and what could not be done.

    Raises:
        StoreUnavailable: When Postgres does not answer: nothing was lost, the next look finds it.
    """
    current = _current(cache, tell)
    kinds = [kind for kind in RULES if current is not None or kind not in _OF_CACHE]
    with warehouse.connect() as connection:
        found = conditions(connection, current, runs, post, now=now, present=present)
        names = [channel.name for channel in post.channels]
        entered = ledger.enter(connection, ledger.Look(found, kinds), names, now)
        looks.note(connection, now)
    for one in entered.opened:
        tell(f"{one.title}. {one.text} See {post.runbook}#{one.entry}")
    for title in entered.over:
        tell(f"Over: {title}.")
    sent = outbox.deliver(warehouse, post.channels, now, runbook=post.runbook)
    for delivery in sent:
        if delivery.fault is not None:
            tell(f"{delivery.channel} did not take an alert, and gets it later: {delivery.fault}")
    taken = sum(delivery.fault is None for delivery in sent)
    return (
        f"{len(entered.opened)} new, {len(entered.over)} over, {len(found)} found; "
        f"{taken} of {len(sent)} messages taken."
    )


def conditions(
    connection: psycopg.Connection,
    current: tuple[Generation | None] | None,
    runs: Runs,
    post: Post,
    *,
    now: datetime,
    present: datetime,
) -> list[Condition]:
    """All that is the case, whether or not it was told; each key once.

    Args:
        connection: A transaction of the warehouse.
        current: What is served, in a tuple; None where nobody can tell.
        runs: Dagster's history.
        post: Says when a day is late, and what is linked to.
        now: UTC.
        present: The same, or the simulated present, by which days are late.
    """
    held_back = blocked_days(connection)
    return [
        *_of_runs(connection, runs, {*held_back, *awaited_days(connection)}, post, now),
        *failed_ticks.conditions_of(runs.failed_ticks(), post.ui_url, now),
        *_of_stores(connection, current, held_back, post, now, present),
    ]


def _current(cache: Cache, tell: Callable[[str], None]) -> tuple[Generation | None] | None:
    """What is served, in a tuple; None where nobody can tell."""
    try:
        with cache.connect() as client:
            return (read_current(client, cache.prefix),)
    except StoreUnavailable as error:
        tell(f"Whether lists are served cannot be told: {error}")
        return None


def _of_runs(
    connection: psycopg.Connection,
    runs: Runs,
    held_back: Collection[date],
    post: Post,
    now: datetime,
) -> list[Condition]:
    before = ledger.open_conditions(connection, _OF_RUNS)
    gone_before = bool(ledger.open_conditions(connection, ["source_gone"]))
    fresh = [
        failed_runs.condition_of(run, post.ui_url)
        for run in runs.failed()
        if not failed_runs.is_told_by_days(run, held_back)
    ]
    every = list({one.key: one for one in [*fresh, *before]}.values())
    failures = failed_runs.still_open(every, runs.made_good, now)
    # Seen before and over by now: entering it again is refused, for each run is told once.
    return [
        *failed_runs.once_each(failures),
        *failed_runs.source_trouble(
            failures, gone_before=gone_before, failed_since=runs.failed_since
        ),
    ]


def _of_stores(
    connection: psycopg.Connection,
    current: tuple[Generation | None] | None,
    held_back: Mapping[date, Sequence[str]],
    post: Post,
    now: datetime,
    present: datetime,
) -> list[Condition]:
    published = published_days(connection)
    champion = registry.champion(connection)
    found = [
        *standing.blocked(held_back),
        *standing.late(published, held_back, present, post.late_after),
        *standing.quarantine(*facts.quarantine_levels(connection, now)),
        *standing.drift(facts.drifted(connection)),
        *drift_blindness.conditions(connection),
        *standing.experiment(facts.running_experiment(connection), now),
        *standing.model_news(facts.model_news(connection, now)),
    ]
    if current is not None:
        version, promoted = (champion.version, champion.promoted_at) if champion else (None, None)
        found += standing.served(standing.Served(current[0], version, promoted), now)
    else:
        found.append(standing.REDIS_DOWN)
    return found
