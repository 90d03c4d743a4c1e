"""Tracks and artists that people do not want recommended: entered, listed and removed.

That no list holds them is the business of `serve/catalogue.py`. An entry that was removed, or
has run out, stays on record, for lists made before have to be made again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

import psycopg

from moovitamix.errors import NothingToDo

# One spelling for artists, on both sides of every comparison.
_FOLDED = "lower(btrim(regexp_replace({}, '\\s+', ' ', 'g')))"

BLOCKED_TRACKS = f"""
SELECT t.id FROM tracks t
WHERE EXISTS (SELECT FROM blocklist b
              WHERE b.removed_at IS NULL AND (b.until IS NULL OR b.until >= %(today)s)
                AND (b.track_id = t.id OR b.artist = {_FOLDED.format("t.artist")}))
"""  # noqa: S608

_BLOCK_TRACK = """
INSERT INTO blocklist (track_id, reason, until) VALUES (%(track)s, %(reason)s, %(until)s)
ON CONFLICT (track_id) WHERE removed_at IS NULL DO UPDATE
SET reason = excluded.reason, until = excluded.until, blocked_at = now()
"""

_BLOCK_ARTIST = f"""
INSERT INTO blocklist (artist, reason, until)
VALUES ({_FOLDED.format("%(artist)s::text")}, %(reason)s, %(until)s)
ON CONFLICT (artist) WHERE removed_at IS NULL DO UPDATE
SET reason = excluded.reason, until = excluded.until, blocked_at = now()
"""  # noqa: S608

_TRACKS_OF = """
SELECT count(*) FROM tracks WHERE id = %(track)s
"""

_TRACKS_BY = f"""
SELECT count(*) FROM tracks t
WHERE {_FOLDED.format("t.artist")} = {_FOLDED.format("%(artist)s::text")}
"""  # noqa: S608

_REMOVE = f"""
UPDATE blocklist SET removed_at = now()
WHERE removed_at IS NULL
  AND (track_id = %(track)s OR artist = {_FOLDED.format("%(artist)s::text")})
"""  # noqa: S608

_ENTRIES = f"""
SELECT b.track_id, b.artist, b.reason, b.until, b.blocked_at,
       (SELECT count(*) FROM tracks t
        WHERE t.id = b.track_id OR {_FOLDED.format("t.artist")} = b.artist)
FROM blocklist b
WHERE b.removed_at IS NULL
ORDER BY b.blocked_at, b.id
"""  # noqa: S608

# The generation's clock is that of Redis, this is Postgres': a minute between them is forgiven.
_CHANGED_SINCE = """
SELECT EXISTS (
    SELECT FROM blocklist
    WHERE greatest(blocked_at, removed_at) > %(moment)s - interval '1 minute'
       OR removed_at IS NULL AND until BETWEEN %(day)s AND %(today)s::date - 1)
"""


@dataclass(frozen=True)
class Entry:
    """A blocked track, or a blocked artist.

    Args:
        track: The track's id, or None.
        artist: The artist's folded name, or None.
        reason: What was said about it.
        until: The last day on which it counts, or None.
        since: When it was entered.
        tracks: How many tracks of the warehouse it names.
    """

    track: int | None
    artist: str | None
    reason: str | None
    until: date | None
    since: datetime
    tracks: int


def block(
    connection: psycopg.Connection,
    *,
    track: int | None = None,
    artist: str | None = None,
    reason: str | None = None,
    until: date | None = None,
) -> int:
    """Enter a track or an artist, or replace the reason and end of its entry.

    Args:
        connection: A transaction of the warehouse.
        track: An id; this or an artist.
        artist: A name; case and white space do not count.
        reason: For those who read the list.
        until: The last day on which it counts; without one, until it is removed.

    Returns:
        How many tracks of the warehouse it names now.
    """
    values = {"track": track, "artist": artist, "reason": reason, "until": until}
    connection.execute(_BLOCK_ARTIST if track is None else _BLOCK_TRACK, values)
    named = connection.execute(_TRACKS_BY if track is None else _TRACKS_OF, values).fetchone()
    return int(named[0]) if named else 0


def entries(connection: psycopg.Connection) -> list[Entry]:
    """What is on the list, oldest first; what has run out is there until it is removed."""
    return [Entry(*row) for row in connection.execute(_ENTRIES).fetchall()]


def unblock(
    connection: psycopg.Connection, *, track: int | None = None, artist: str | None = None
) -> None:
    """Remove the entry of a track or an artist.

    Raises:
        NothingToDo: When there is none.
    """
    if not connection.execute(_REMOVE, {"track": track, "artist": artist}).rowcount:
        raise NothingToDo(
            f"{artist if track is None else f'Track {track}'} is not on the list. "
            "`moovitamix block list` shows what is."
        )


def changed_since(
    connection: psycopg.Connection, moment: datetime, *, day: date, today: date
) -> bool:
    """Whether lists that were made at a moment may hold what is blocked now, or lack what is not.

    Args:
        connection: A transaction of the warehouse.
        moment: When the lists were begun.
        day: The day on which that was, by the clock that ends of entries go by.
        today: The present day by that clock.
    """
    row = connection.execute(
        _CHANGED_SINCE, {"moment": moment, "day": day, "today": today}
    ).fetchone()
    return bool(row and row[0])
