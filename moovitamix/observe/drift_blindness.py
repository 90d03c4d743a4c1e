"""Drift that could be told before, and for some days cannot: whether it is so, and what is told.

What is wrong when it can be told is `standing.drift`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moovitamix.observe.conditions import Condition

if TYPE_CHECKING:
    import psycopg

# One day alone may just have been quiet.
BLIND_DAYS = 3

# Since the last day of which any feature was told; a platform that was never told of any is too
# young or too small, and nobody has to know. Days that the champion was trained on do not count.
_BLIND = """
WITH days AS (
    SELECT day, bool_or(verdict <> 'cannot tell') AS told, bool_and(as_of < day) AS counts,
           min(reason) AS reason
    FROM drift_readings GROUP BY day
)
SELECT count(*), min(day), (array_agg(reason ORDER BY day DESC))[1]
FROM days WHERE counts AND day > (SELECT max(day) FROM days WHERE told)
"""


def conditions(connection: psycopg.Connection) -> list[Condition]:
    """One condition where no feature could be told of the newest days, though once they could.

    Args:
        connection: A transaction of the warehouse.
    """
    row = connection.execute(_BLIND).fetchone()
    if row is None or row[0] < BLIND_DAYS:
        return []
    count, since, reason = row
    return [
        Condition(
            key="drift_unknown",
            kind="drift_unknown",
            title="Nobody can tell whether the data has drifted",
            text=f"Of {count} days since {since} no feature could be read, most lately because: "
            f"{reason}. A shift would start no training. `moovitamix drift` tells more.",
        )
    ]
