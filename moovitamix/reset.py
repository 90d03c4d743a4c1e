"""A source that has started anew: the old world is set aside, whole, and all starts empty.

Every step may be repeated, and while the first one's mark is there nobody pulls: a reset that was
killed anywhere is completed by the next.

1. The mark, with the name of the old world, is written to the lake.
2. The namespace's schemas are renamed, in one transaction.
3. `current` and the experiment are removed from the cache: their ids stand for other tracks now, so
   that no list is better than these. After the schemas, for until then a run could publish the old
   lists again.
4. The book of alerts goes on in the new tables: people were told of the old world's troubles, and
   are to be told that they are over.
5. The lake's files are moved.
6. The mark is removed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from psycopg import sql

from moovitamix.errors import NothingToDo
from moovitamix.ingest import before
from moovitamix.ingest.pulls import kept_pulls
from moovitamix.observe import ledger
from moovitamix.serve.arms import withdraw_experiment
from moovitamix.serve.generations import current_key, redis_answering
from moovitamix.warehouse import migrate
from moovitamix.warehouse.days import published_days
from moovitamix.warehouse.publish import row_counts, take_turn

if TYPE_CHECKING:
    import psycopg
    import redis

    from moovitamix.ingest.lake import LakeStore
    from moovitamix.resources import Cache, Warehouse


@dataclass(frozen=True)
class World:
    """What would be set aside.

    Args:
        rows: By table.
        days: How many days are published.
        pulls: How many pulls are in the lake.
        unfinished: Its name, when setting it aside was begun already.
    """

    rows: dict[str, int]
    days: int
    pulls: int
    unfinished: str | None


def present_world(warehouse: Warehouse, lake: LakeStore) -> World:
    """What is there to be set aside.

    Raises:
        NothingToDo: When all is empty.
    """
    begun = before.unfinished(lake)
    pulls = len(kept_pulls(lake)) if begun is None else 0
    with warehouse.connect() as connection:
        rows, days = row_counts(connection), len(published_days(connection))
    if not (pulls or days or begun):
        raise NothingToDo("There is no old world: nothing was pulled yet. Run `moovitamix run`.")
    return World(rows, days, pulls, begun)


def set_aside(
    warehouse: Warehouse,
    lake: LakeStore,
    cache: Cache,
    *,
    on_wait: Callable[[], None] = lambda: None,
) -> str:
    """Set the old world aside, or complete that; the next run begins with an empty warehouse.

    Args:
        warehouse: Its schemas are renamed to the name that is returned.
        lake: Its files are moved to `before/` and that name.
        cache: Must answer before anything is changed.
        on_wait: Called when a run, a pull or a step of Dagster is under way, for which this waits.

    Returns:
        The old world's name, fit to be a namespace.

    Raises:
        StoreUnavailable: When Postgres or Redis does not answer; repeat it then.
    """
    with (
        cache.connect() as client,
        warehouse.lock("run", on_wait=on_wait) as running,
        warehouse.lock("pull", on_wait=on_wait) as pulling,
        # A run of Dagster past its pull holds this from reading to writing.
        warehouse.lock("people", on_wait=on_wait) as people,
    ):
        name = before.unfinished(lake)
        if name is None:
            name = _new_name(warehouse)
            before.begin(lake, name)
        for held in (running, pulling, people):
            held.confirm()
        _rename_schemas(warehouse, name)
        _serve_nothing(client, cache.prefix)
        with warehouse.connect() as connection:  # makes the new tables, if nobody has
            ledger.bring_over(connection, name)
        for held in (running, pulling, people):
            held.confirm()
        before.move(lake, name)
        before.finish(lake)
    return name


def _new_name(warehouse: Warehouse) -> str:
    moment = datetime.now(UTC)
    with warehouse.connect() as connection:
        while _exists(connection, name := f"{warehouse.schema_name}_before_{_stamp(moment)}"):
            moment += timedelta(seconds=1)
    return name


def _stamp(moment: datetime) -> str:
    return f"{moment:%Y%m%dt%H%M%S}"


def _rename_schemas(warehouse: Warehouse, name: str) -> None:
    """Give the old tables another name, unless that has been done."""
    with warehouse.connect() as connection:
        take_turn(connection)
        if _exists(connection, name):
            return
        for suffix in ("", "_staging"):
            connection.execute(
                sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(
                    sql.Identifier(f"{warehouse.schema_name}{suffix}"),
                    sql.Identifier(f"{name}{suffix}"),
                )
            )
    migrate.forget()


def _exists(connection: psycopg.Connection, schema: str) -> bool:
    return (
        connection.execute("SELECT FROM pg_namespace WHERE nspname = %s", (schema,)).fetchone()
        is not None
    )


def _serve_nothing(client: redis.Redis, prefix: str) -> None:
    with redis_answering():
        client.delete(current_key(prefix))
    withdraw_experiment(client, prefix)
