"""The migrations build what the tables declare, once, whoever comes first."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import MetaData, create_engine, pool

from moovitamix.errors import SettingsError
from moovitamix.resources import Warehouse
from moovitamix.warehouse import migrate
from moovitamix.warehouse.tables import STAGING, metadata
from moovitamix_tests.conftest import drop_schemas
from moovitamix_tests.schema_copies import SchemaCopies

MIGRATE = (
    "import sys; from moovitamix.warehouse.migrate import ensure_current; "
    "ensure_current(sys.argv[1], sys.argv[2])"
)


@pytest.fixture
def warehouse(postgres_url: str) -> Iterator[Warehouse]:
    """A warehouse under a name of its own that nobody has migrated yet."""
    opened = Warehouse(url=postgres_url, namespace=f"m{uuid.uuid4().hex[:12]}")
    yield opened
    drop_schemas(opened)


def test_the_copies_that_other_tests_use_are_what_the_migrations_make(
    warehouse: Warehouse, schema_copies: SchemaCopies
) -> None:
    with warehouse.connect():
        pass
    copy = Warehouse(url=warehouse.url, namespace=schema_copies.another())
    migrated, copied = (
        schema_copies.dumped(one.schema_name).replace(one.schema_name, "")
        for one in (warehouse, copy)
    )
    assert copied == migrated
    drop_schemas(copy)


def test_the_migrated_schemas_are_the_declared_tables(warehouse: Warehouse) -> None:
    with warehouse.connect():
        pass
    schemas = {None: warehouse.schema_name, STAGING: f"{warehouse.schema_name}_staging"}
    declared = MetaData(naming_convention=metadata.naming_convention)
    for table in metadata.tables.values():
        table.to_metadata(
            declared,
            schema=schemas[table.schema],
            referred_schema_fn=lambda _table, to_schema, *_: to_schema,
        )
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(warehouse.address()),
        poolclass=pool.NullPool,
    )
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "include_schemas": True,
                "include_name": lambda name, kind, _: kind != "schema" or name in schemas.values(),
                "include_object": lambda _, name, kind, *__: (
                    (kind, name) != ("table", migrate.VERSION_TABLE)
                ),
                "compare_type": True,
                "compare_server_default": True,
                "version_table": migrate.VERSION_TABLE,
                "version_table_schema": warehouse.schema_name,
            },
        )
        assert compare_metadata(context, declared) == []


def test_the_head_that_is_looked_for_is_the_newest_revision() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
    assert ScriptDirectory.from_config(config).get_heads() == [migrate.HEAD]


def test_staging_is_unlogged_and_the_tables_are_not(warehouse: Warehouse) -> None:
    with warehouse.connect() as connection:
        kinds = connection.execute(
            "SELECT n.nspname, c.relpersistence, count(*)::int FROM pg_class c "
            "JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE c.relkind = 'r' AND n.nspname = ANY(current_schemas(false)) "
            "GROUP BY 1, 2 ORDER BY 1"
        ).fetchall()
    assert [(name.removeprefix(warehouse.schema_name), kind) for name, kind, _ in kinds] == [
        ("", "p"),
        ("_staging", "u"),
    ]


def test_threads_and_processes_that_come_first_at_once_do_no_harm(warehouse: Warehouse) -> None:
    address, schema = warehouse.address(), warehouse.schema_name
    migration = [sys.executable, "-c", MIGRATE, address, schema]
    process = subprocess.Popen(migration, stderr=subprocess.PIPE, text=True)

    def use(_: int) -> str:
        with warehouse.connect() as connection:
            row = connection.execute("SELECT version_num FROM schema_version").fetchone()
            return str(row[0]) if row else ""

    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(use, range(3))) == [migrate.HEAD] * 3
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 0, complaint
    with warehouse.connect() as connection:
        assert connection.execute("SELECT count(*) FROM schema_version").fetchone() == (1,)


def test_namespaces_share_a_database_without_seeing_each_other(warehouse: Warehouse) -> None:
    other = Warehouse(url=warehouse.url, namespace=f"{warehouse.namespace}x")
    try:
        with warehouse.connect() as connection:
            connection.execute("INSERT INTO genres (name) VALUES ('jazz')")
        with other.connect() as connection:
            assert connection.execute("SELECT count(*) FROM genres").fetchone() == (0,)
    finally:
        with psycopg.connect(warehouse.address()) as connection:
            for schema in (other.schema_name, f"{other.schema_name}_staging"):
                connection.execute(f'DROP SCHEMA "{schema}" CASCADE'.encode())


def test_a_warehouse_of_the_first_revision_is_upgraded_with_what_it_holds(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade = command.upgrade
    with monkeypatch.context() as patch:
        patch.setattr(command, "upgrade", lambda config, _: upgrade(config, "0001"))
        with warehouse.connect() as connection:
            connection.execute(
                "INSERT INTO users (id, first_name, last_name, email, gender, created_at, "
                "updated_at, pull) VALUES (1, '', '', '', '', now(), now(), 'p')"
            )
            connection.execute(
                "INSERT INTO model_versions (status, algorithm, as_of, pull, matrix_fingerprint, "
                "parameters, artifact, code_version, run_id, promoted_at) "
                "SELECT status, 'als', now(), 'p', 'f', '{}', 'a', '0', 'r', "
                "now() + n * interval '1h' "
                "FROM (VALUES (1, 'retired'), (2, 'champion'), (NULL, 'candidate')) v(n, status)"
            )
            assert connection.execute("SELECT * FROM schema_version").fetchone() == ("0001",)
    migrate.forget()
    with warehouse.connect() as connection:
        assert connection.execute("SELECT * FROM schema_version").fetchone() == (migrate.HEAD,)
        assert connection.execute("SELECT id, withdrawn_at FROM users").fetchall() == [(1, None)]
        # So that a rollback knows what came before the champion.
        followed = "SELECT version, predecessor FROM model_decisions ORDER BY id"
        assert connection.execute(followed).fetchall() == [(1, None), (2, 1)]


def test_an_older_version_that_waited_while_a_newer_one_upgraded_says_what_to_do(
    warehouse: Warehouse,
) -> None:
    with warehouse.connect() as connection:
        connection.execute("UPDATE schema_version SET version_num = '0001'")
    migrate.forget()
    upgraded = sql.SQL("UPDATE {} SET version_num = '9999'").format(
        sql.Identifier(warehouse.schema_name, migrate.VERSION_TABLE)
    )

    def is_waiting() -> bool:
        found = watcher.execute(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
        ).fetchone()
        return bool(found and found[0])

    with (
        psycopg.connect(warehouse.address()) as newer,
        psycopg.connect(warehouse.address(), autocommit=True) as watcher,
        ThreadPoolExecutor(1) as thread,
    ):
        newer.execute("SELECT pg_advisory_xact_lock(%s)", (migrate.MIGRATION_LOCK,))
        older = thread.submit(migrate.ensure_current, warehouse.address(), warehouse.schema_name)
        while not is_waiting():
            assert not older.done(), older.exception()
        newer.execute(upgraded)
        newer.commit()
        with pytest.raises(SettingsError, match=r"at revision 9999.*install the newer one"):
            older.result()
