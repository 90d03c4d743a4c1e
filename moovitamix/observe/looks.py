"""When alerts were last looked after: by that others than Dagster's daemon can tell that it lives.

Every function works inside the caller's transaction.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psycopg

# It looks once a minute; the rule MoovitamixDaemonSilent of Prometheus waits as long.
SILENT_AFTER = timedelta(minutes=15)

_LOOKED = """
INSERT INTO alert_looks ("by", looked_at) VALUES ('alerts', %s)
ON CONFLICT ("by") DO UPDATE SET looked_at = excluded.looked_at
"""

_LAST = """SELECT looked_at FROM alert_looks WHERE "by" = 'alerts'"""


def note(connection: psycopg.Connection, now: datetime) -> None:
    """Keep that somebody has looked around, at this moment, UTC."""
    connection.execute(_LOOKED, (now,))


def last(connection: psycopg.Connection) -> datetime | None:
    """When somebody last did, UTC; None where nobody has: no daemon ever ran on these tables."""
    row = connection.execute(_LAST).fetchone()
    return row[0] if row else None
