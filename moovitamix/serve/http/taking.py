"""Writes what was heard into `activity`: each play once, whoever tells it first.

Where plays come from is told in `listens.py`, how requests share a transaction in
`group_commit.py`, and how `activity` is loaded with its day in `warehouse/stage.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple, cast

import msgspec
import psycopg

from moovitamix.serve.http.erased_users import ErasedUsers

# One statement, and so one transaction and one round trip. Where somebody was erased and the key of
# these hashes is not at hand, nothing is taken in. What a record has had from the first was heard
# at its `created_at`, what a later content of it adds at that content's `updated_at`, whether the
# contents come one after the other or at once. Of a new account that was given an erased one's id
# what it hears is kept.
_TAKE = """
WITH sent AS (
    SELECT * FROM unnest(%(users)s::bigint[], %(recorded)s::timestamp[], %(tracks)s::bigint[],
                         %(nth)s::smallint[], %(updated)s::timestamp[], %(hashes)s::bytea[])
             AS s (user_id, recorded_at, track_id, nth, updated_at, hash)
), unclear AS (
    SELECT WHERE EXISTS (SELECT FROM erasures)
             AND 'erasures'::regclass::oid::bigint IS DISTINCT FROM %(key_of)s::bigint
), believed AS (
    SELECT * FROM sent s
    WHERE NOT EXISTS (SELECT FROM unclear)
      AND (NOT EXISTS (SELECT FROM erasures e WHERE e.hash = s.hash AND e.kind = 'account')
           OR EXISTS (SELECT FROM users u
                      WHERE u.id = s.user_id AND u.created_at <= s.recorded_at))
), begun AS (
    SELECT DISTINCT s.user_id, s.recorded_at FROM believed s
    WHERE EXISTS (SELECT FROM activity a
                  WHERE a.user_id = s.user_id AND a.recorded_at = s.recorded_at)
       OR EXISTS (SELECT FROM listen_history h
                  WHERE h.user_id = s.user_id AND h.recorded_at = s.recorded_at)
), taken AS (
    INSERT INTO activity (user_id, recorded_at, track_id, nth, listened_at, day)
    SELECT s.user_id, s.recorded_at, s.track_id, s.nth,
           CASE WHEN b.user_id IS NULL AND s.updated_at = min(s.updated_at) OVER (
                         PARTITION BY s.user_id, s.recorded_at)
                THEN s.recorded_at ELSE greatest(s.recorded_at, s.updated_at) END,
           %(day)s
    FROM believed s LEFT JOIN begun b USING (user_id, recorded_at)
    WHERE NOT EXISTS (SELECT FROM listen_history h
                      WHERE h.user_id = s.user_id AND h.recorded_at = s.recorded_at
                        AND h.track_id = s.track_id AND h.nth = s.nth)
    ORDER BY s.user_id, s.recorded_at, s.track_id, s.nth, s.updated_at
    ON CONFLICT DO NOTHING
    RETURNING user_id, recorded_at, track_id, nth
), marked AS (
    INSERT INTO activity_marks (user_id, mark)
    SELECT user_id, nextval('activity_mark')
    FROM (SELECT DISTINCT user_id FROM taken ORDER BY user_id) AS heard
    ON CONFLICT (user_id) DO UPDATE SET mark = nextval('activity_mark'), marked_at = now()
)
SELECT user_id, recorded_at, track_id, nth FROM taken
UNION ALL SELECT NULL, NULL, NULL, NULL FROM unclear
"""


class Play(NamedTuple):
    """The natural key of a play."""

    user_id: int
    recorded_at: datetime
    track_id: int
    nth: int


@dataclass(frozen=True, slots=True)
class Sent:
    """What a request brings.

    Attributes:
        plays: Each once.
        updated: Of each: `updated_at` of the first content of its record that has it.
    """

    plays: list[Play]
    updated: list[datetime]


class TakenIn(msgspec.Struct, frozen=True):
    """What came of a request.

    Attributes:
        taken: Plays that are new, and on disk now.
        known: Plays that were told or pulled before; those of erased users are counted here too.
    """

    taken: int
    known: int


class Listens:
    """Writes what requests bring into `activity`.

    Args:
        erased: Of whom nothing is taken in.
        present: The present, with a zone.
    """

    def __init__(self, erased: ErasedUsers, present: Callable[[], datetime]) -> None:
        self._erased = erased
        self._present = present

    async def write(
        self, connection: psycopg.AsyncConnection, requests: list[Sent]
    ) -> Sequence[tuple[TakenIn, frozenset[int]]]:
        """Write the plays of some requests; of each what came of it, and whose lists are old now.

        Raises:
            StoreUnavailable: When the key of the hashes is gone.
        """
        new = await self._take(connection, requests)
        if new is None:
            await self._erased.learn(connection)
            new = await self._take(connection, requests) or set()
        outcomes = []
        for sent in requests:
            own = new.intersection(sent.plays)
            new -= own  # of two requests that bring the same, the first has told it
            outcomes.append(
                (
                    TakenIn(len(own), len(sent.plays) - len(own)),
                    frozenset(play[0] for play in own),
                )
            )
        return outcomes

    async def _take(
        self, connection: psycopg.AsyncConnection, requests: list[Sent]
    ) -> set[Play] | None:
        """The plays that are new; None, and nothing written, where the key has to be read first."""
        plays = [play for sent in requests for play in sent.plays]
        rows = await connection.execute(
            _TAKE,
            {
                "users": [play.user_id for play in plays],
                "recorded": [play.recorded_at for play in plays],
                "tracks": [play.track_id for play in plays],
                "nth": [play.nth for play in plays],
                "updated": [moment for sent in requests for moment in sent.updated],
                "hashes": self._erased.hashes([play.user_id for play in plays]),
                "key_of": self._erased.table,
                "day": self._present().astimezone(UTC).date(),
            },
        )
        found = await rows.fetchall()
        if found and found[-1][0] is None:
            return None
        return set(cast("list[Play]", found))
