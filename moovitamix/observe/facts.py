"""The figures that alerts are judged by, read from the warehouse. What they mean: `standing.py`."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from moovitamix.observe.standing import DriftReading, ModelNews, RunningExperiment

if TYPE_CHECKING:
    import psycopg

# Decisions that are older are no news: not to somebody who has just set a channel, either.
NEWS_FOR = timedelta(days=3)

_USUAL_OVER_DAYS = 7

# What waited at a moment is what waits now, and what was resolved since, less what came since: so
# the many rows that just wait are counted once, not for each day.
# Before anything was published there was no level that could be usual.
_QUARANTINE = """
WITH looked AS (
    SELECT n AS days_ago, %(now)s::timestamptz - n * interval '1 day' AS moment
    FROM generate_series(0, %(days)s) n
), waiting AS (
    SELECT count(*) AS rows FROM quarantine WHERE resolved_at IS NULL
), changed AS (
    SELECT first_seen, resolved_at FROM quarantine
    WHERE first_seen > (SELECT min(moment) FROM looked)
       OR resolved_at > (SELECT min(moment) FROM looked)
)
SELECT days_ago, rows
     + (SELECT count(*) FROM changed WHERE resolved_at > moment)
     - (SELECT count(*) FROM changed WHERE first_seen > moment)
FROM looked, waiting
WHERE days_ago = 0 OR moment > (SELECT min(published_at) FROM published_days)
ORDER BY days_ago
"""

_DRIFT = """
SELECT day, feature, model_version, value, alarm
FROM drift_readings
WHERE day = (SELECT max(day) FROM drift_readings) AND verdict = 'drifted'
  AND model_version = (SELECT version FROM model_versions WHERE status = 'champion')
"""

_EXPERIMENT = """
SELECT id, challenger, started_at, ends_at FROM experiments WHERE stopped_at IS NULL
"""

_PROMOTED = """
SELECT 'model_promoted:' || d.id, d.version, d.action, d.predecessor, d.decided_by IS NOT NULL,
       v.verdict, v.reason
FROM model_decisions d JOIN model_versions v USING (version)
WHERE d.action IN ('promote', 'rollback') AND d.decided_at > %(since)s
ORDER BY d.id
"""

# A version that was never the champion, and was judged.
_KEPT = """
SELECT 'model_kept:' || v.version, v.version, 'keep', c.version, false, v.verdict, v.reason
FROM model_versions v LEFT JOIN model_versions c ON c.status = 'champion'
WHERE v.verdict IS NOT NULL AND v.promoted_at IS NULL AND v.created_at > %(since)s
ORDER BY v.version
"""


def quarantine_levels(connection: psycopg.Connection, now: datetime) -> tuple[int, list[int]]:
    """How many rows wait in quarantine, and how many did at this hour of each day before."""
    found = connection.execute(_QUARANTINE, {"now": now, "days": _USUAL_OVER_DAYS}).fetchall()
    return found[0][1], [count for _, count in found[1:]]


def drifted(connection: psycopg.Connection) -> list[DriftReading]:
    """What has drifted on the newest day that was read."""
    return [DriftReading(*row) for row in connection.execute(_DRIFT).fetchall()]


def running_experiment(connection: psycopg.Connection) -> RunningExperiment | None:
    """The experiment that runs."""
    row = connection.execute(_EXPERIMENT).fetchone()
    return None if row is None else RunningExperiment(*row)


def model_news(connection: psycopg.Connection, now: datetime) -> list[ModelNews]:
    """What was promoted, rolled back to, or judged and kept out lately."""
    since = {"since": now - NEWS_FOR}
    return [
        ModelNews(*row)
        for query in (_PROMOTED, _KEPT)
        for row in connection.execute(query, since).fetchall()
    ]
