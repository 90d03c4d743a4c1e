"""What Dagster makes anew for each instance and each connection, made once in a process of tests.

Tests use its stock storage on hundreds of new folders. Each file of each reads all of Dagster's
revisions three times, each connection compiles its statements anew: a third of what such tests
take. What is stored, and how, stays Dagster's. Our own storage is the business of
`moovitamix/embedded/event_log.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage
from sqlalchemy import Engine, NullPool, create_engine

_KEPT_ENGINES = 32


@contextmanager
def kept_revisions() -> Iterator[None]:
    """Alembic reads the revisions of a folder once."""
    read = ScriptDirectory.from_config
    found: dict[str | None, ScriptDirectory] = {}

    def from_config(config: Config) -> ScriptDirectory:
        folder = config.get_main_option("script_location")
        return found.get(folder) or found.setdefault(folder, read(config))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "from_config", from_config)
        yield


@contextmanager
def kept_engines() -> Iterator[None]:
    """Stock storages connect by the engine that they connected by before."""

    @lru_cache(_KEPT_ENGINES)
    def engine(address: str, timeout: float | None) -> Engine:
        arguments = {} if timeout is None else {"timeout": timeout}
        return create_engine(address, poolclass=NullPool, connect_args=arguments)

    def kept(
        address: str, poolclass: type[NullPool], connect_args: dict[str, Any] | None = None
    ) -> Engine:
        assert poolclass is NullPool  # so that nothing is kept open
        return engine(address, (connect_args or {}).get("timeout"))

    with pytest.MonkeyPatch.context() as patch:
        for module in (sqlite_event_log, sqlite_run_storage, sqlite_schedule_storage):
            patch.setattr(module, "create_engine", kept)
        yield
