"""What Postgres tells of one user or track: what was heard, and by how many.

Of a user only the id is known here: no name, no address. What they get is asked of `tiers.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psycopg

HEARD = 25
FOUND = 50
_SUGGESTED = 12
# So many of the newest listens are looked at to suggest who heard something lately.
_LATELY = 300

# What the app has told is in both tables once it is loaded.
_HEARD = """
WITH heard AS (
    (SELECT track_id, recorded_at, nth, listened_at FROM listen_history
     WHERE user_id = %(user)s ORDER BY recorded_at DESC LIMIT %(limit)s)
    UNION ALL
    (SELECT track_id, recorded_at, nth, listened_at FROM activity
     WHERE user_id = %(user)s ORDER BY recorded_at DESC LIMIT %(limit)s)
), once AS (
    SELECT DISTINCT ON (recorded_at, track_id, nth) track_id, listened_at
    FROM heard ORDER BY recorded_at, track_id, nth, listened_at
)
SELECT o.track_id, t.name, t.artist, o.listened_at
FROM once o LEFT JOIN tracks t ON t.id = o.track_id
ORDER BY o.listened_at DESC, o.track_id LIMIT %(limit)s
"""

# What is heard by many is not counted to the end.
_COUNTED_TO = 100_000

_PLAYS_OF_USER = f"""
SELECT count(*) FROM (SELECT FROM listen_history WHERE user_id = %s LIMIT {_COUNTED_TO}) l
"""  # noqa: S608 - a number of this file

_KNOWN = "SELECT withdrawn_at IS NOT NULL FROM users WHERE id = %s"

_LATELY_HEARD = f"""
SELECT user_id FROM (
    SELECT user_id, listened_at FROM listen_history ORDER BY listened_at DESC LIMIT {_LATELY}
) l
GROUP BY user_id ORDER BY max(listened_at) DESC, user_id LIMIT {_SUGGESTED}
"""  # noqa: S608 - numbers of this file

_TRACK = """
SELECT t.id, t.name, t.artist, t.album, t.withdrawn_at IS NOT NULL,
       (SELECT coalesce(array_agg(g.name ORDER BY g.name), '{}')
        FROM track_genres tg JOIN genres g ON g.id = tg.genre_id WHERE tg.track_id = t.id)
FROM tracks t WHERE t.id = %s
"""

_PLAYS_OF_TRACK = f"""
SELECT count(*), count(DISTINCT user_id)
FROM (SELECT user_id FROM listen_history WHERE track_id = %s LIMIT {_COUNTED_TO}) l
"""  # noqa: S608 - a number of this file

# Without an order, so that it ends as soon as enough are found.
_SEARCH = """
SELECT id, name, artist FROM tracks
WHERE name ILIKE %(like)s OR artist ILIKE %(like)s LIMIT %(limit)s
"""


@dataclass(frozen=True)
class Play:
    """A track heard once; without a name where the tables do not hold it yet."""

    track_id: int
    name: str | None
    artist: str | None
    at: datetime


@dataclass(frozen=True)
class Past:
    """What a user heard last.

    Attributes:
        plays: Newest first.
        total: How many there are in the tables.
        state: What is to be said of the account; empty: nothing.
    """

    plays: Sequence[Play]
    total: int
    state: str


@dataclass(frozen=True)
class Found:
    """A track that a search has found."""

    track_id: int
    name: str
    artist: str


@dataclass(frozen=True)
class Track:
    """A track, and how often it was heard.

    Attributes:
        plays: Counted up to a number.
        listeners: Of the plays that were counted.
    """

    track_id: int
    name: str
    artist: str
    album: str
    withdrawn: bool
    genres: Sequence[str]
    plays: int
    listeners: int

    @property
    def counted(self) -> bool:
        """Whether these are all plays."""
        return self.plays < _COUNTED_TO


def read_past(connection: psycopg.Connection, user: int) -> Past:
    """What a user heard last, loaded or told by the app."""
    asked = {"user": user, "limit": HEARD}
    plays = [Play(*row) for row in connection.execute(_HEARD, asked).fetchall()]
    total = connection.execute(_PLAYS_OF_USER, (user,)).fetchone()
    known = connection.execute(_KNOWN, (user,)).fetchone()
    state = "The tables hold no such account." if known is None else ""
    if known and known[0]:
        state = "The account is gone from the source."
    return Past(plays, total[0] if total else 0, state)


def read_suggested(connection: psycopg.Connection) -> list[int]:
    """Some who heard something lately, the latest first."""
    return [user for (user,) in connection.execute(_LATELY_HEARD).fetchall()]


def read_track(connection: psycopg.Connection, track: int) -> Track | None:
    """A track; None where the tables do not hold it."""
    row = connection.execute(_TRACK, (track,)).fetchone()
    counted = connection.execute(_PLAYS_OF_TRACK, (track,)).fetchone()
    return Track(*row, *(counted or (0, 0))) if row else None


def search_tracks(connection: psycopg.Connection, text: str) -> list[Found]:
    """Tracks whose name or artist holds a text, whatever its case: at most `FOUND`, any of them."""
    escaped = text.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")
    asked = {"like": f"%{escaped}%", "limit": FOUND}
    return [Found(*row) for row in connection.execute(_SEARCH, asked).fetchall()]
