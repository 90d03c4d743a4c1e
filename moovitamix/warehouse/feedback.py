"""Takes feedback into its tables: what happened, what is hidden by it, whose lists are now old.

What an event must look like is told in `serve/http/feedback_events.py`; which figures are made of
events, in `observe/online.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal, NamedTuple

import polars as pl

from moovitamix.resources import copy_out

if TYPE_CHECKING:
    import psycopg

PAIRS = pl.Schema({"user_id": pl.Int64(), "track_id": pl.Int64()})

Kind = Literal["impression", "click", "skip", "hide", "unhide"]

# What changes what a user's lists should be.
TEACHING = ("skip", "hide", "unhide")
_HIDING = ("hide", "unhide")

# First of all: it lets one transaction at a time decide what is hidden from a user. Ascending, as
# everywhere where marks are set, lest two wait for each other.
_MARK = """
INSERT INTO activity_marks (user_id, mark)
SELECT user_id, nextval('activity_mark') FROM unnest(%s::bigint[]) AS changed (user_id)
ON CONFLICT (user_id) DO UPDATE SET mark = nextval('activity_mark'), marked_at = now()
"""

_TAKE = """
INSERT INTO feedback
    (user_id, track_id, kind, at, model_version, generation, tier, arm, day)
SELECT *, at::date
FROM unnest(
    %s::bigint[], %s::bigint[], %s::text[], %s::timestamp[],
    %s::bigint[], %s::text[], %s::text[], %s::text[]
) AS taken (user_id, track_id, kind, at, model_version, generation, tier, arm)
ON CONFLICT DO NOTHING
"""

# By the newest word of the user, whatever came in last: a repeated hide does not undo an unhide.
# Of two at one moment the hide counts.
_DECIDE = """
WITH said AS (
    SELECT DISTINCT ON (user_id, track_id) user_id, track_id, kind, at
    FROM feedback
    JOIN (SELECT DISTINCT * FROM unnest(%s::bigint[], %s::bigint[]) AS pair (user_id, track_id))
        AS named USING (user_id, track_id)
    WHERE kind IN ('hide', 'unhide')
    ORDER BY user_id, track_id, at DESC, kind
), shown AS (
    DELETE FROM hides USING said
    WHERE (hides.user_id, hides.track_id) = (said.user_id, said.track_id) AND kind = 'unhide'
), hidden AS (
    INSERT INTO hides (user_id, track_id, hidden_at)
    SELECT user_id, track_id, at FROM said WHERE kind = 'hide'
    ON CONFLICT (user_id, track_id) DO UPDATE SET hidden_at = EXCLUDED.hidden_at
)
SELECT user_id, track_id, kind = 'hide' FROM said
"""

_HIDES = "SELECT user_id, track_id FROM hides ORDER BY user_id, track_id"

_OF_USERS = "SELECT user_id, track_id FROM hides WHERE user_id = ANY(%s)"

_FORGET_SHOWN = "DELETE FROM feedback WHERE day < %s AND kind IN ('impression', 'click')"

_CHANGED = """
SELECT DISTINCT user_id FROM feedback
WHERE kind IN ('hide', 'unhide') AND taken_at > now() - %s::interval
"""


class Event(NamedTuple):
    """Something a user did with a track that was recommended.

    Attributes:
        user_id: Who.
        track_id: What.
        kind: Which.
        at: When, UTC, without a zone.
        model_version: Of the answer it is about; None: not told.
        generation: As above.
        tier: As above.
        arm: Of an experiment, as above.
    """

    user_id: int
    track_id: int
    kind: Kind
    at: datetime
    model_version: int | None = None
    generation: str | None = None
    tier: str | None = None
    arm: str | None = None


Hidden = dict[tuple[int, int], bool]


async def take_feedback(connection: psycopg.AsyncConnection, events: Iterable[Event]) -> Hidden:
    """Write events, within the caller's transaction. May be repeated: each counts once.

    Returns:
        Of each user and track that a hide or unhide was about: whether it is hidden now.
    """
    # In the order of the key: two that bring the same events then wait for each other in turn.
    rows = sorted({event[:4]: event for event in events}.values(), key=lambda row: row[:4])
    marked = sorted({row.user_id for row in rows if row.kind in TEACHING})
    pairs = sorted({row[:2] for row in rows if row.kind in _HIDING})
    async with connection.pipeline():
        if marked:
            await connection.execute(_MARK, (marked,))
        if rows:
            await connection.execute(_TAKE, [list(column) for column in zip(*rows, strict=True)])
        if not pairs:
            return {}
        users, tracks = zip(*pairs, strict=True)
        decided = await connection.execute(_DECIDE, (list(users), list(tracks)))
        return {(user, track): hidden for user, track, hidden in await decided.fetchall()}


def read_hides(connection: psycopg.Connection) -> pl.DataFrame:
    """What all users have hidden: `user_id`, `track_id` (i64), ascending."""
    return copy_out(connection, _HIDES, schema=PAIRS)


def hides_of(connection: psycopg.Connection, users: Sequence[int]) -> dict[int, set[int]]:
    """What some users have hidden; each of them is in the answer."""
    found: dict[int, set[int]] = {user: set() for user in users}
    for user, track in connection.execute(_OF_USERS, (list(users),)).fetchall():
        found[user].add(track)
    return found


async def users_with_hides(connection: psycopg.AsyncConnection, users: Iterable[int]) -> set[int]:
    """Those of some users of whom a row of `hides` is there."""
    found = await connection.execute(_OF_USERS, (list(users),))
    return {user for user, _ in await found.fetchall()}


def forget_shown(connection: psycopg.Connection, before: datetime) -> int:
    """Remove the impressions and clicks of before a moment, UTC without a zone; how many."""
    return connection.execute(_FORGET_SHOWN, (before.date(),)).rowcount


def changed_lately(connection: psycopg.Connection, seconds: float) -> list[int]:
    """The users who hid something, or took it back, within so many last seconds."""
    rows = connection.execute(_CHANGED, (f"{seconds} seconds",)).fetchall()
    return [user for (user,) in rows]
