"""A mail server, a webhook and a quiet world. The stores are the top-level conftest's."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import redis

from moovitamix.observe.channels import Channel
from moovitamix.observe.failed_runs import FailedRun
from moovitamix.observe.failed_ticks import FailedTick
from moovitamix.observe.watch import Post, watch
from moovitamix.resources import Cache, Warehouse
from moovitamix_tests.observe.alerting.receivers import Hook, Mailbox, mail_server, webhook

NOW = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)
RUNBOOK = "docs/runbook.md"


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    """A mail server on loopback."""
    with mail_server() as running:
        yield running


@pytest.fixture
def hook() -> Iterator[Hook]:
    """A webhook on loopback."""
    with webhook() as running:
        yield running


class NoRuns:
    """A history in which nothing ran."""

    def failed(self) -> list[FailedRun]:
        return []

    def made_good(self, _job: str, _run_id: str, _ended: datetime) -> bool:
        return False

    def failed_since(self, _job: str, _since: datetime) -> int:
        return 0

    def failed_ticks(self) -> list[FailedTick]:
        return []


class World:
    """Stores, channels, and looks at any moment."""

    def __init__(self, warehouse: Warehouse, cache: Cache, channels: tuple[Channel, ...]) -> None:
        self.warehouse = warehouse
        self.cache = cache
        self.post = Post(
            channels=channels,
            ui_url="http://dagster.example:3000/",
            runbook=RUNBOOK,
            late_after=timedelta(hours=6),
        )
        self.told: list[str] = []
        self.runs: Any = NoRuns()

    def look(self, after: timedelta = timedelta()) -> str:
        """Look around at a moment."""
        return watch(
            self.warehouse,
            self.cache,
            self.runs,
            self.post,
            now=NOW + after,
            present=NOW + after,
            tell=self.told.append,
        )

    def write(self, statement: str, *parameters: object) -> None:
        """Change a table."""
        with self.warehouse.connect() as connection:
            connection.execute(statement.encode(), parameters)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Read a table."""
        with self.warehouse.connect() as connection:
            return connection.execute(query.encode()).fetchall()

    @property
    def open(self) -> list[str]:
        """The keys of what is open."""
        return [
            key
            for (key,) in self.rows("SELECT key FROM alerts WHERE resolved_at IS NULL ORDER BY 1")
        ]

    def block(self, *days: int) -> None:
        """Block days of November."""
        for day in days:
            self.write(
                "INSERT INTO blocked_days (day, endpoint, check_name, pull) "
                "VALUES (%s, 'staged_listens', 'volume_usual', 'p')",
                date(2026, 11, day),
            )

    def unblock(self) -> None:
        """Let all days go."""
        self.write("DELETE FROM blocked_days")


@pytest.fixture
def world(warehouse: Warehouse, valkey: redis.Redis, valkey_url: str) -> World:
    """Empty stores and no channel: nothing is wrong."""
    assert not valkey.dbsize()
    return World(warehouse, Cache(url=valkey_url, namespace="mvx"), ())


@pytest.fixture
def both(world: World, mailbox: Mailbox, hook: Hook) -> World:
    """The same with both channels."""
    return _with(world, mailbox.url, hook.url)


@pytest.fixture
def hooked(world: World, hook: Hook) -> World:
    """The same with the webhook alone."""
    return _with(world, hook.url)


def _with(world: World, *urls: str) -> World:
    return World(world.warehouse, world.cache, tuple(Channel(url) for url in urls))
