"""Brings the lists of a generation up to what the app has told since its matrix was made.

How lists are made anew is told in `fold.py`, how they replace others in `replacing.py`. It may be
called at any time, by several processes at once, and killed anywhere: the next call goes on.

Nothing is lost when another generation becomes current meanwhile. A publication calls this before
the switch and once more after it. What was told before the switch is therefore in the lists of the
new generation; who folds a user in afterwards reads which one is current after it was told, and so
finds the new one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

import psycopg
import redis

from moovitamix.serve.fold import Folding, Known, read_known
from moovitamix.serve.generations import Generation
from moovitamix.serve.hides import by_user, hide_in_generation
from moovitamix.serve.replacing import Replaced, known_marks, replace_lists
from moovitamix.warehouse.feedback import TEACHING, hides_of

USERS_AT_ONCE = 200

# Of whom more is known than a matrix of that day holds: what is to be loaded with a later day, and
# what could not be loaded yet (a blocked day, a user whom no pull has brought); what they have
# skipped, hidden or shown again since.
_MORE_IS_KNOWN = """
SELECT m.user_id, m.mark FROM activity_marks m
WHERE m.mark > %(after)s
  AND NOT EXISTS (SELECT FROM users u WHERE u.id = m.user_id AND u.withdrawn_at IS NOT NULL)
  AND EXISTS (
      SELECT FROM activity a WHERE a.user_id = m.user_id AND (a.day > %(as_of)s OR NOT EXISTS (
          SELECT FROM listen_history h
          WHERE h.user_id = a.user_id AND h.recorded_at = a.recorded_at
            AND h.track_id = a.track_id AND h.nth = a.nth))
      UNION ALL
      SELECT FROM feedback f WHERE f.user_id = m.user_id AND f.kind = ANY(%(teaching)s)
         AND f.taken_at >= %(as_of)s::date + 1)
ORDER BY m.user_id
"""


@dataclass(frozen=True, kw_only=True)
class CaughtUp:
    """What a look came to.

    Attributes:
        users: How many had lists that knew too little.
        lists: How many lists were replaced or have come.
    """

    users: int
    lists: int


def catch_up(
    connect: Callable[[], AbstractContextManager[psycopg.Connection]],
    client: redis.Redis,
    prefix: str,
    generation: Generation,
    folding: Folding,
    now: Callable[[], datetime],
    *,
    after: int = 0,
    tell: Callable[[str], None] = lambda _: None,
) -> CaughtUp:
    """Make anew the lists of all users of whom more is known than their list says.

    Args:
        connect: Opens a transaction of the warehouse; one for each batch of users.
        client: Answers bytes.
        prefix: What every key begins with, without the colon.
        generation: Whose lists; published by `folding.champion`.
        folding: By what.
        now: The present, with a zone.
        after: Only users whose mark is above this.
        tell: Takes a line of progress; called only when there are many users.

    Raises:
        StoreUnavailable: When a store does not answer; what was done is done.
    """
    with connect() as connection:
        values = {"after": after, "as_of": folding.matrix.as_of, "teaching": list(TEACHING)}
        marks: dict[int, int] = dict(connection.execute(_MORE_IS_KNOWN, values).fetchall())
    listed = known_marks(client, prefix, generation, marks)
    behind = [user for user, mark in marks.items() if listed.get(user, -1) < mark]
    lists = 0
    for done, batch in enumerate(_batches(behind), start=1):
        with connect() as connection:
            known = read_known(connection, batch)
        made = folding.lists(known, now(), generation.list_length)
        lists += replace_lists(client, prefix, generation, made).written
        with connect() as connection:
            _hide_what_came(connection, client, prefix, generation, batch, known)
        if done % 50 == 0:
            tell(f"{done * USERS_AT_ONCE:,} of {len(behind):,} users with new listens folded in")
    return CaughtUp(users=len(behind), lists=lists)


def fold_users(
    connection: psycopg.Connection,
    client: redis.Redis,
    prefix: str,
    generation: Generation,
    folding: Folding,
    now: datetime,
    users: Sequence[int],
) -> Replaced:
    """Make the lists of some users anew, whatever they know.

    Raises:
        StoreUnavailable: When Redis does not answer or refuses.
    """
    known = read_known(connection, users)
    made = folding.lists(known, now, generation.list_length)
    replaced = replace_lists(client, prefix, generation, made)
    _hide_what_came(connection, client, prefix, generation, users, known)
    return replaced


def _hide_what_came(
    connection: psycopg.Connection,
    client: redis.Redis,
    prefix: str,
    generation: Generation,
    users: Sequence[int],
    known: Known,
) -> None:
    """Hide what was hidden since lists were made: they may have replaced a shortened one.

    What is hidden later still is taken out of what is there now, by whoever commits it.
    """
    before = by_user(known.hides().rows())
    for user, tracks in hides_of(connection, users).items():
        new = tracks - before.get(user, set())
        if new:
            hide_in_generation(client, prefix, generation, user, new)


def _batches(users: Sequence[int]) -> Iterator[list[int]]:
    left = iter(users)
    while batch := list(islice(left, USERS_AT_ONCE)):
        yield batch
