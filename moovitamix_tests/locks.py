"""Named locks whose session is lost, as by a restart of Postgres."""

from __future__ import annotations

from moovitamix.resources import Warehouse

_END = """
SELECT pg_terminate_backend(pid, 10000) FROM pg_locks
WHERE locktype = 'advisory' AND granted
  AND (classid::bigint << 32) | objid::bigint = hashtextextended(%s, 0)
"""


def lose(warehouse: Warehouse, name: str) -> None:
    """End the sessions that hold a lock (`Warehouse.lock`), and wait until they have ended."""
    with warehouse.connect() as connection:
        ended = connection.execute(_END, (f"{warehouse.schema_name}:{name}",)).fetchall()
    assert ended, "somebody held it"
    assert all(done for (done,) in ended)
