"""Reads from the stores what `due.py` decides on."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from moovitamix.due import Champion, Loaded, Reportable
from moovitamix.observe.report import shelf
from moovitamix.observe.report.collect import outcome_of
from moovitamix.recommend import experiments, registry, succession
from moovitamix.settings import get_settings
from moovitamix.warehouse.acceptance import awaited_days
from moovitamix.warehouse.days import blocked_days, published_days

if TYPE_CHECKING:
    import psycopg

    from moovitamix.ingest.lake import LakeStore
    from moovitamix.serve.generations import Generation

_BLOCKED = "SELECT day, max(pull) FROM blocked_days WHERE accepted_at IS NULL GROUP BY day"


# Of the newest day that was read, as long as it was read against the champion.
_DRIFTED = """
SELECT feature FROM drift_readings
WHERE day = (SELECT max(day) FROM drift_readings) AND model_version = %s AND verdict = 'drifted'
ORDER BY feature
"""

_NEWEST = "SELECT day, published_at FROM published_days ORDER BY day DESC LIMIT 1"
_READ = "SELECT day, max(read_at) FROM drift_readings GROUP BY day ORDER BY day DESC LIMIT 1"

Moment = tuple[date, datetime] | None


def read_readings(connection: psycopg.Connection) -> tuple[Moment, Moment]:
    """The newest day in the tables and when it was loaded; the newest day read, and when."""
    newest = connection.execute(_NEWEST).fetchone()
    read = connection.execute(_READ).fetchone()
    return newest, read


def read_loaded(connection: psycopg.Connection) -> Loaded:
    """Which days are in the tables."""
    newest = connection.execute(
        "SELECT max(pull) FROM (SELECT pull FROM published_days "
        "UNION ALL SELECT pull FROM blocked_days) AS judged"
    ).fetchone()
    return Loaded(
        first=get_settings().first_day,
        published=published_days(connection),
        blocked=dict(connection.execute(_BLOCKED).fetchall()),
        awaited=awaited_days(connection),
        newest_pull=newest[0] if newest else None,
    )


def read_champion(connection: psycopg.Connection) -> Champion | None:
    """The champion, and what speaks for another one."""
    found = registry.champion(connection)
    if found is None or found.promoted_at is None:
        return None
    return Champion(
        version=found.version,
        as_of=found.as_of,
        promoted_at=found.promoted_at.astimezone(UTC),
        pinned=succession.pin(connection) is not None,
        on_trial=experiments.running(connection) is not None,
        drifted=tuple(
            feature for (feature,) in connection.execute(_DRIFTED, (found.version,)).fetchall()
        ),
    )


def read_reportable(
    connection: psycopg.Connection, current: Generation | None, lake: LakeStore, day: date
) -> Reportable:
    """What the report of a day depends on, and what an earlier one of it says."""
    published = published_days(connection)
    _, read = read_readings(connection)
    kept = shelf.get(lake, day)
    return Reportable(
        outcome=outcome_of(day, published, blocked_days(connection)) if published else None,
        reported=kept.outcome if kept is not None else None,
        read=read[0] if read is not None else None,
        served=current.as_of if current is not None else None,
    )
