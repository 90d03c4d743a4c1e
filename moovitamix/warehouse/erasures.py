"""The table `erasures`: keyed hashes of those who were erased, written before all else.

What the hashes mean is told by `ingest/erased.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

import psycopg

from moovitamix.ingest.erased import NOBODY, Erased, read_key

if TYPE_CHECKING:
    from moovitamix.ingest.lake import LakeStore
    from moovitamix.resources import Warehouse

_REMEMBER = """
INSERT INTO erasures (hash, kind) VALUES (%s, %s)
ON CONFLICT (hash) DO UPDATE SET erased_at = excluded.erased_at
"""

_ALL = "SELECT kind, hash, erased_at AT TIME ZONE 'UTC' FROM erasures"


def those_erased(warehouse: Warehouse, lake: LakeStore) -> Erased:
    """Everybody who was erased; the lake is only asked when somebody was.

    Raises:
        StoreUnavailable: When the key of the hashes is gone.
    """
    with warehouse.connect() as connection:
        rows = connection.execute(_ALL).fetchall()
    if not rows:
        return NOBODY
    hashes: dict[str, dict[bytes, datetime]] = {"account": {}, "person": {}}
    for kind, found, erased_at in rows:
        hashes[kind][bytes(found)] = erased_at
    return Erased(read_key(lake), frozenset(hashes["account"]), hashes["person"])


def remember(
    connection: psycopg.Connection, *, accounts: Iterable[bytes], persons: Iterable[bytes]
) -> None:
    """Note the hashes of ids and of persons; those that are there already are erased anew."""
    rows = [*((one, "account") for one in accounts), *((one, "person") for one in persons)]
    connection.cursor().executemany(_REMEMBER, rows)
