"""Collects a report: all stores and Dagster's history are read, nothing is changed in them.

What it says is told in `model.py`, where each part comes from in the `read_…` modules.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING

from moovitamix.due import Outcome
from moovitamix.errors import StoreUnavailable
from moovitamix.observe.alert_sensor import InstanceRuns
from moovitamix.observe.report import (
    read_data,
    read_runs,
    read_service,
    read_storage,
    shelf,
)
from moovitamix.observe.report.model import SHAPE, Report
from moovitamix.observe.report.needs import needs
from moovitamix.observe.report.of_data import Store
from moovitamix.observe.watch import Post, conditions
from moovitamix.serve.generations import Generation, read_current, with_added
from moovitamix.warehouse.days import blocked_days, published_days

if TYPE_CHECKING:
    import dagster as dg

    from moovitamix.ingest.lake import LakeStore
    from moovitamix.resources import Cache, Warehouse


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What a report is read from.

    Attributes:
        instance: Dagster's history.
        warehouse: The tables.
        lake: The files, and the reports of other days.
        cache: What is served.
        post: Says when a day is late, and what is linked to.
        run_id: The run that writes the report, which is not told of.
    """

    instance: dg.DagsterInstance
    warehouse: Warehouse
    lake: LakeStore
    cache: Cache
    post: Post
    run_id: str | None = None


@dataclass(frozen=True)
class _Cached:
    """What was found in the cache; `fault` where it did not answer."""

    current: Generation | None
    stores: list[Store]
    fault: str | None = None


def outcome_of(
    day: date, published: Collection[date], held_back: Mapping[date, Collection[str]]
) -> Outcome:
    """What became of a day."""
    if day in held_back:
        return "blocked"
    return "published" if day in published else "missing"


def collect(sources: Sources, day: date, *, now: datetime, present: datetime) -> Report:
    """The report of a day.

    Args:
        sources: Where it is read.
        day: That is over.
        now: UTC.
        present: The same, or the simulated present, by which days are late.

    Raises:
        StoreUnavailable: When Postgres does not answer. A cache that does not is in the report.
    """
    before, after = shelf.neighbours(sources.lake, day)
    since, until = read_runs.stretch_of(
        now, before.written_at if before else None, after.written_at if after else None
    )
    work = read_runs.read_work(sources.instance, since, until, without=sources.run_id)
    cached = _look_into(sources.cache)
    lake = read_storage.read_lake(sources.lake)
    with sources.warehouse.connect() as connection:
        # All figures of one moment.
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        model = read_service.read_model(connection, day)
        blocked = read_data.read_blocked(connection)
        stores = [*read_storage.read_tables(connection), *lake, *cached.stores]
        wrong = conditions(
            connection,
            (cached.current,) if cached.fault is None else None,
            InstanceRuns(sources.instance, since),
            sources.post,
            now=now,
            present=present,
        )
        return Report(
            shape=SHAPE,
            day=day,
            written_at=now,
            namespace=sources.warehouse.schema_name,
            outcome=outcome_of(day, published_days(connection), blocked_days(connection)),
            needs=needs(wrong, work.checks.not_good, blocked, model, cache_fault=cached.fault),
            work=work,
            volumes=read_data.read_volumes(connection, day),
            quarantine=read_data.read_quarantine(connection, day),
            blocked=blocked,
            drift=read_data.read_drift(connection, day),
            model=model,
            verdicts=read_service.read_verdicts(connection, now),
            serving=read_service.read_serving(connection, cached.current, now),
            online=read_service.read_online(connection, day),
            storage=read_storage.with_growth(stores, before.storage if before else ()),
        )


def _look_into(cache: Cache) -> _Cached:
    try:
        with cache.connect() as client:
            current = read_current(client, cache.prefix)
            if current is not None:
                current = with_added(client, cache.prefix, current)
            return _Cached(current, read_storage.read_cache(client))
    except StoreUnavailable as error:
        return _Cached(None, [], str(error))
