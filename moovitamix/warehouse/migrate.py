"""The tables' schemas at the current revision, brought there when a connection is first used.

The revisions themselves are in `migrations/`, built with Alembic.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from moovitamix.errors import SettingsError

if TYPE_CHECKING:
    from sqlalchemy import Connection

VERSION_TABLE = "schema_version"
HEAD = "0014"
_MIGRATIONS = Path(__file__).parent / "migrations"

# One key for the whole server: two schemas that migrate at once only wait for each other.
MIGRATION_LOCK = 0x6D76_785F_6D69_67

_current: set[tuple[str, str]] = set()
_guard = threading.Lock()


def ensure_current(address: str, schema: str) -> None:
    """Create or upgrade the schemas of a namespace, unless this process has done so already.

    Safe in any number of processes at once: an advisory lock lets one migrate, the others wait.

    Args:
        address: The libpq URL of the database.
        schema: The namespace; the staging area is `{schema}_staging`.

    Raises:
        SettingsError: When the tables are those of a newer version.
    """
    with _guard:
        if (address, schema) in _current:
            return
        if not _is_at_head(address, schema):
            _upgrade(address, schema)
        _current.add((address, schema))


def forget() -> None:
    """Look again at the next use: for tests, which drop schemas under a living process."""
    with _guard:
        _current.clear()


def _is_at_head(address: str, schema: str) -> bool:
    """Ask without Alembic, whose import alone would cost each short command half a second."""
    with psycopg.connect(address, autocommit=True, connect_timeout=10) as connection:
        found = connection.execute(
            "SELECT to_regclass(%s)", (f'"{schema}".{VERSION_TABLE}',)
        ).fetchone()
        if not found or found[0] is None:
            return False
        row = connection.execute(f'SELECT version_num FROM "{schema}".{VERSION_TABLE}').fetchone()  # noqa: S608
        if row is not None and row[0] > HEAD:
            raise SettingsError(
                f"The tables of {schema} are at revision {row[0]}, and this version knows them up "
                f"to {HEAD}: install the newer one, or restore a backup of before the upgrade."
            )
        return row is not None and row[0] == HEAD


def _upgrade(address: str, schema: str) -> None:
    from sqlalchemy import create_engine, pool, text

    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(address, connect_timeout=10),
        poolclass=pool.NullPool,
    )
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        # Whoever had the lock before may have been a newer version.
        if _is_at_head(address, schema):
            return
        connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{schema}"'))
        connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{schema}_staging"'))
        run_alembic(connection, schema)


def run_alembic(connection: Connection, schema: str) -> None:
    """Run the missing revisions inside the caller's transaction."""
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import text

    # The map names what is created; ALTER TABLE goes by the path, for Alembic does not map it.
    connection.execute(text(f'SET LOCAL search_path = "{schema}", "{schema}_staging"'))
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["schema"] = schema
    config.attributes["connection"] = connection.execution_options(
        schema_translate_map={None: schema, "staging": f"{schema}_staging"}
    )
    command.upgrade(config, "head")
