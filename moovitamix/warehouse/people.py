"""Where the tables name users: found, and erased. The lake's part is told by `ingest/people.py`.

Every table with a column `user_id` is one, so that a new table is erased from without a word here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import polars as pl
import psycopg
from psycopg import sql
from sqlalchemy import Table

from moovitamix.ingest.contract import LISTENS, USERS, Endpoint
from moovitamix.ingest.named import NAMED_SCHEMA, Kind, Named
from moovitamix.ingest.people import legible
from moovitamix.ingest.whose import key_text
from moovitamix.resources import copy_out
from moovitamix.warehouse import statements
from moovitamix.warehouse.publish import take_turn
from moovitamix.warehouse.tables import metadata

# Tables of accounts; elsewhere an account is named by `user_id`.
_ACCOUNTS = ("users", "staged_users")

# Referring tables first, as foreign keys allow it.
TABLES: tuple[tuple[Table, str], ...] = tuple(
    (table, "id" if table.name in _ACCOUNTS else "user_id")
    for table in reversed(metadata.sorted_tables)
    if table.name in _ACCOUNTS or "user_id" in table.columns
)

# The endpoints of `quarantine` whose rows are of users. `listens` are single listens.
_OF_USERS: dict[str, Endpoint] = {
    USERS.name: USERS,
    LISTENS.name: LISTENS,
    "listens": LISTENS,
}

_NAMED_IN_QUARANTINE = """
FROM quarantine
WHERE endpoint = ANY(%(endpoints)s) AND split_part(key, ' ', 1) = ANY(%(ids)s)
"""

_WITHOUT_KEY = """
SELECT endpoint, sha256, payload FROM quarantine
WHERE endpoint = ANY(%(endpoints)s) AND key IS NULL
"""

_GIVE_KEY = """
UPDATE quarantine SET key = %(key)s WHERE endpoint = %(endpoint)s AND sha256 = %(sha256)s
"""

_KEYS = """
SELECT split_part(key, ' ', 1)::bigint, nullif(split_part(key, ' ', 2), '')::bigint
FROM quarantine WHERE endpoint IN ('listen_history', 'listens') AND key IS NOT NULL
"""

_ACCOUNTS_IN_QUARANTINE = """
SELECT payload FROM quarantine WHERE endpoint = 'users' AND key IS NOT NULL
"""

# In the order in which the API writes to them, so that neither waits for the other for ever.
_WHILE_NOBODY_TELLS = (
    "LOCK TABLE feedback, hides, activity, activity_marks IN SHARE ROW EXCLUSIVE MODE"
)

# Where there is a moment, by which it is told who is meant.
_MOMENTS: Mapping[str, tuple[Kind, str]] = {
    "users": ("account", "created_at"),
    "staged_users": ("account", "created_at"),
    "listen_history": ("listen", "recorded_at"),
    "staged_listens": ("listen", "recorded_at"),
    "activity": ("listen", "recorded_at"),
}


def count_rows(connection: psycopg.Connection, ids: Sequence[int]) -> dict[str, int]:
    """How many rows name some users, by table; tables that do not are left out."""
    give_keys(connection)
    found = {}
    for table, column in TABLES:
        query = sql.SQL("SELECT count(*) FROM {} WHERE {} = ANY(%s)")
        named = query.format(sql.Identifier(table.name), sql.Identifier(column))
        found[table.name] = _one(connection.execute(named, (list(ids),)))
    found["quarantine"] = _one(
        connection.execute(f"SELECT count(*) {_NAMED_IN_QUARANTINE}", _quarantined(ids))
    )
    return {table: count for table, count in found.items() if count}


def accounts_of(connection: psycopg.Connection, ids: Sequence[int]) -> set[tuple[int, datetime]]:
    """When the accounts that have these ids were created, as far as the tables know."""
    found: set[tuple[int, datetime]] = set()
    for table in _ACCOUNTS:
        query = sql.SQL("SELECT id, created_at FROM {} WHERE id = ANY(%s)")
        rows = connection.execute(query.format(sql.Identifier(table)), (list(ids),)).fetchall()
        found.update((user_id, created) for user_id, created in rows if created is not None)
    give_keys(connection)
    wanted = pl.DataFrame({"id": ids}, schema={"id": pl.Int64})
    waiting = _accounts_in_quarantine(connection).join(wanted, on="id", how="semi")
    found.update(waiting.drop_nulls().rows())
    return found


def erase_rows(connection: psycopg.Connection, ids: Sequence[int]) -> dict[str, int]:
    """Delete all rows that name some users, and the genres that only they named.

    Args:
        connection: A transaction of the warehouse; the caller commits it.
        ids: Of the users.

    Returns:
        Deleted rows by table; tables without are left out.
    """
    take_turn(connection)
    give_keys(connection)
    # What the API is writing is waited for, and goes too. What it begins to write meanwhile waits,
    # and finds in `erasures` whom it must not write down any more.
    connection.execute(_WHILE_NOBODY_TELLS)
    deleted = {}
    for table, column in TABLES:
        query = sql.SQL("DELETE FROM {} WHERE {} = ANY(%s)")
        named = query.format(sql.Identifier(table.name), sql.Identifier(column))
        deleted[table.name] = connection.execute(named, (list(ids),)).rowcount
    deleted["quarantine"] = connection.execute(
        f"DELETE {_NAMED_IN_QUARANTINE}", _quarantined(ids)
    ).rowcount
    if any(deleted.values()):
        # What somebody typed in as a genre may be about them.
        deleted["genres"] = connection.execute(statements.UNNAMED_GENRES).rowcount
    return {table: count for table, count in deleted.items() if count}


def give_keys(connection: psycopg.Connection) -> None:
    """Note whose the rows of the quarantine are that earlier versions left without a key."""
    rows = connection.execute(_WITHOUT_KEY, {"endpoints": list(_OF_USERS)}).fetchall()
    known = [
        {"endpoint": endpoint, "sha256": sha256, "key": key}
        for endpoint, sha256, payload in rows
        if (key := key_text(_OF_USERS[endpoint], bytes(payload))) is not None
    ]
    if known:
        connection.cursor().executemany(_GIVE_KEY, known)


def named_in_tables(connection: psycopg.Connection) -> Iterator[Named]:
    """Everybody whom the tables name, a table at a time."""
    for table, column in TABLES:
        kind, moment = _MOMENTS.get(table.name, ("id", ""))
        at = f"(extract(epoch FROM {moment}) * 1000000)::bigint" if moment else "NULL::bigint"
        query = f"SELECT DISTINCT {column}, {at} FROM {table.name}"  # noqa: S608 - our names
        yield Named(table.name, kind, _rows(connection, query))
    give_keys(connection)
    yield Named("quarantine", "listen", _rows(connection, _KEYS))
    yield Named("quarantine", "account", _accounts_in_quarantine(connection))


def _accounts_in_quarantine(connection: psycopg.Connection) -> pl.DataFrame:
    rows = connection.execute(_ACCOUNTS_IN_QUARANTINE).fetchall()
    return legible(USERS, [bytes(payload) for (payload,) in rows])


def _rows(connection: psycopg.Connection, query: str) -> pl.DataFrame:
    frame = copy_out(connection, query, schema={"id": pl.Int64, "at": pl.Int64})
    return frame.filter(pl.col("id").is_not_null()).cast(NAMED_SCHEMA)


def _quarantined(ids: Sequence[int]) -> dict[str, object]:
    return {"endpoints": list(_OF_USERS), "ids": [str(one) for one in ids]}


def _one(cursor: psycopg.Cursor[tuple[int, ...]]) -> int:
    row = cursor.fetchone()
    return row[0] if row else 0
