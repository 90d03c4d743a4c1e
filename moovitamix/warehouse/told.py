"""What the app told at once (`activity`), on its way to the staging area with its day.

What a pull brings is read from the lake by `stage.py`; how both become one play is told in
`statements.py`. The rows are written by the API.

A day takes the rows that were taken in on it. A row can be there later than its day was loaded: its
transaction was still open then, or the day was loaded before it was over. Hence each load of any
day also takes what it finds of days that are published and that is neither loaded nor waiting in
quarantine, judges it with its own last day, and publishes it with that. There is no moment at
which a row can come too late.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl
import psycopg

from moovitamix.resources import copy_out
from moovitamix.warehouse.statements import LISTEN_PAYLOAD

_OF_DAYS = "SELECT a.*, a.day AS loaded_with FROM activity a WHERE a.day = ANY(%(days)s)"

# What waits in quarantine is not taken again each night: it is replayed from there.
_LATE = f"""
SELECT a.*, %(last)s::date AS loaded_with
FROM activity a
WHERE a.day IN (SELECT day FROM published_days) AND a.day <> ALL(%(days)s)
  AND NOT EXISTS (SELECT FROM listen_history h
                  WHERE h.user_id = a.user_id AND h.recorded_at = a.recorded_at
                    AND h.track_id = a.track_id AND h.nth = a.nth)
  AND NOT EXISTS (SELECT FROM quarantine q
                  WHERE q.endpoint = 'listens' AND q.resolved_at IS NULL
                    AND q.sha256 = sha256({LISTEN_PAYLOAD.format(row="a", at="a.listened_at")}))
"""  # noqa: S608 - our own text

_TOLD = f"({_OF_DAYS} UNION ALL {_LATE})"

_NAMED = f"SELECT DISTINCT t.user_id, t.track_id FROM {_TOLD} AS t"  # noqa: S608 - our own text

_STAGE = f"""
INSERT INTO staged_listens
       (run_id, day, pull, user_id, track_id, listened_at, recorded_at, nth, told)
SELECT %(run_id)s, t.loaded_with, %(pull)s,
       t.user_id, t.track_id, t.listened_at, t.recorded_at, t.nth, TRUE
FROM {_TOLD} AS t
"""  # noqa: S608 - our own text

# What was told and pulled on one day is one row of it: else the day would seem twice as busy.
# Not left out by the statement above: that would go through what it has itself inserted.
_SAME_DAY = """
DELETE FROM staged_listens t USING staged_listens l
WHERE t.run_id = %(run_id)s AND t.told AND l.run_id = %(run_id)s AND NOT l.told
  AND l.day = t.day AND l.user_id = t.user_id AND l.recorded_at = t.recorded_at
  AND l.track_id = t.track_id AND l.nth = t.nth
"""

_FORGET = """
DELETE FROM activity a
WHERE a.day < %(before)s
  AND EXISTS (SELECT FROM listen_history h
              WHERE h.user_id = a.user_id AND h.recorded_at = a.recorded_at
                AND h.track_id = a.track_id AND h.nth = a.nth)
"""

# Old ones only: of one that is being made this minute, the activity cannot be seen yet.
_FORGET_MARKS = """
DELETE FROM activity_marks m
WHERE m.marked_at < %(before)s
  AND NOT EXISTS (SELECT FROM activity a WHERE a.user_id = m.user_id)
"""


@dataclass(frozen=True)
class Forgotten:
    """What of the activity was removed.

    Attributes:
        plays: Rows that had long been loaded.
        marks: Marks of users of whom no activity is left.
    """

    plays: int
    marks: int


def named(connection: psycopg.Connection, days: Sequence[date]) -> pl.DataFrame:
    """Who is told of with some days, and what: `user_id` and `track_id`, each pair once."""
    schema = {"user_id": pl.Int64, "track_id": pl.Int64}
    return copy_out(connection, _NAMED, _values(days), schema=schema)


def stage_told(
    connection: psycopg.Connection, *, run_id: str, days: Sequence[date], pull: str
) -> int:
    """Put what was told with some days beside the pulled rows that are staged; how many rows.

    Args:
        connection: The transaction in which the pulled rows of this run were staged.
        run_id: Of the run that will publish them.
        days: What the run is about.
        pull: The newest kept pull.
    """
    values = {"run_id": run_id, "pull": pull, **_values(days)}
    staged = connection.execute(_STAGE, values).rowcount
    if staged:
        connection.execute("ANALYZE staged_listens")
        staged -= connection.execute(_SAME_DAY, values).rowcount
    return staged


def forget_loaded(connection: psycopg.Connection, before: date) -> Forgotten:
    """Remove what was told before a day and is loaded; what is not loaded yet stays for ever.

    Args:
        connection: A transaction of the warehouse; the caller commits it.
        before: The first day, in UTC, of which everything is kept.
    """
    values = {"before": before}
    plays = connection.execute(_FORGET, values).rowcount
    return Forgotten(plays, connection.execute(_FORGET_MARKS, values).rowcount)


def _values(days: Sequence[date]) -> dict[str, object]:
    return {"days": list(days), "last": max(days)}
