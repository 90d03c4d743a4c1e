"""Reads how much is kept where: tables, folders of the lake, the cache."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from moovitamix.observe.report.of_data import Store
from moovitamix.serve.connection import is_of_a_cluster
from moovitamix.serve.generations import redis_answering
from moovitamix.warehouse.publish import row_counts

if TYPE_CHECKING:
    import psycopg
    import redis

    from moovitamix.ingest.lake import LakeStore

# Rows are Postgres' estimate, which is -1 before a table was looked at for the first time.
_TABLES = """
SELECT c.relname, pg_total_relation_size(c.oid), greatest(c.reltuples, 0)::bigint
FROM pg_class c
WHERE c.relkind = 'r' AND c.relnamespace::regnamespace::text = ANY(current_schemas(false)::text[])
"""

OTHERS = "all other tables"


def read_tables(connection: psycopg.Connection) -> list[Store]:
    """The six tables with their exact rows, and all others together."""
    rows = row_counts(connection)
    found = connection.execute(_TABLES).fetchall()
    sizes = {name: size for name, size, _ in found}
    others = [(size, count) for name, size, count in found if name not in rows]
    six = [
        Store(name=str(name), where="Postgres", size=sizes[name], count=count, grown=None)
        for name, count in rows.items()
    ]
    size, count = (sum(column) for column in zip(*others, strict=True))
    return [*six, Store(name=OTHERS, where="Postgres", size=size, count=count, grown=None)]


def read_lake(lake: LakeStore) -> list[Store]:
    """The lake's folders, with all that is below them."""
    return [
        Store(name=f"{folder}/", where="lake", size=size, count=files, grown=None)
        for folder, (files, size) in sorted(lake.sizes().items())
    ]


def read_cache(client: redis.Redis) -> list[Store]:
    """All that the server holds, whoever put it there; nothing of a cluster, which is many.

    Raises:
        StoreUnavailable: When Redis does not answer.
    """
    with redis_answering():
        if is_of_a_cluster(client):
            return []
        memory = cast("dict[str, int]", client.info("memory"))
        keys = client.dbsize()
    return [Store(name="memory", where="cache", size=memory["used_memory"], count=keys, grown=None)]


def with_growth(stores: Iterable[Store], before: Sequence[Store]) -> tuple[Store, ...]:
    """The same, each with how many bytes it has more than in the report before."""
    sizes = {(one.where, one.name): one.size for one in before}
    return tuple(
        replace(one, grown=one.size - sizes[one.where, one.name])
        if (one.where, one.name) in sizes
        else one
        for one in stores
    )
