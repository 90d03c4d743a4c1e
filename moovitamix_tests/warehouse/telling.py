"""What the app told, put into `activity` as the API puts it there: known plays are left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime

import psycopg

from moovitamix.resources import Warehouse
from moovitamix_tests.warehouse.loading import november

Play = tuple[int, datetime, int, int]

_TELL = """
INSERT INTO activity (user_id, recorded_at, track_id, nth, listened_at, day)
SELECT %(user)s, %(recorded)s, %(track)s, %(nth)s, %(listened)s, %(day)s
WHERE NOT EXISTS (SELECT FROM listen_history
                  WHERE user_id = %(user)s AND recorded_at = %(recorded)s
                    AND track_id = %(track)s AND nth = %(nth)s)
ON CONFLICT DO NOTHING
"""

_MARK = """
INSERT INTO activity_marks (user_id, mark) VALUES (%s, nextval('activity_mark'))
ON CONFLICT (user_id) DO UPDATE SET mark = excluded.mark
"""


def plays_of(user: int, moment: datetime, tracks: Sequence[int]) -> list[Play]:
    """The natural keys of a record's plays."""
    heard: Counter[int] = Counter()
    plays = []
    for track in tracks:
        heard[track] += 1
        plays.append((user, moment, track, heard[track]))
    return plays


def tell_within(
    connection: psycopg.Connection,
    user: int,
    moment: datetime,
    tracks: Sequence[int],
    *,
    day: date | int | None = None,
    listened: datetime | None = None,
) -> None:
    """The same as `tell`, inside a transaction that the caller commits."""
    for play in plays_of(user, moment, tracks):
        values = dict(zip(("user", "recorded", "track", "nth"), play, strict=True))
        taken = november(day) if isinstance(day, int) else day or moment.date()
        times = {"listened": listened or moment, "day": taken}
        connection.execute(_TELL, {**values, **times})
    connection.execute(_MARK, (user,))


def tell(
    warehouse: Warehouse,
    user: int,
    moment: datetime,
    tracks: Sequence[int],
    *,
    day: date | int | None = None,
    listened: datetime | None = None,
) -> None:
    """Take in a listen record.

    Args:
        warehouse: Where.
        user: Who heard it.
        moment: `created_at` of the record.
        tracks: In the order heard.
        day: When it was taken in, or which of November; unset, that of the record.
        listened: What is told of later than the record was made was heard then.
    """
    with warehouse.connect() as connection:
        tell_within(connection, user, moment, tracks, day=day, listened=listened)
