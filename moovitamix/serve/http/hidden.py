"""What users have hidden, as this process knows it: what it took in itself, and what Postgres says.

It is what answers when Redis is down, and what makes a hide count here before Redis has it.
How lists in Redis are changed is told in `serve/hides.py`.
"""

from __future__ import annotations

import threading
import time
from array import array
from bisect import bisect_left
from collections.abc import Iterable
from typing import TYPE_CHECKING

from moovitamix.warehouse.feedback import changed_lately, hides_of, read_hides

if TYPE_CHECKING:
    import psycopg

# Seconds after which everything is read again; until then, whose hides have changed.
READ_ALL_EVERY = 600.0
# Seconds that changes are looked back for beyond the last look: transactions take a while.
_OVERLAP = 60.0

_NOTHING: frozenset[int] = frozenset()


class Hidden:
    """Hidden tracks by user, 16 bytes each; what has changed since they were read is beside them.

    Read by the event loop without waiting, brought up to date by another thread.
    """

    def __init__(self) -> None:
        self._read: tuple[array[int], array[int]] = (array("q"), array("q"))
        self._changed: dict[int, frozenset[int]] = {}
        self._changed_at: dict[int, float] = {}
        self._changing = threading.Lock()
        self._all_at: float | None = None
        self._looked_at = 0.0

    def of(self, user: int) -> frozenset[int]:
        """The tracks that a user has hidden, as far as this process knows."""
        changed = self._changed.get(user)
        return _of(*self._read, user) if changed is None else changed

    def note(self, user: int, *, hidden: Iterable[int] = (), shown: Iterable[int] = ()) -> None:
        """A user has hidden tracks, or taken it back, and it is committed."""
        with self._changing:
            self._changed[user] = self.of(user).union(hidden).difference(shown)
            self._changed_at[user] = time.monotonic()

    def refresh(self, connection: psycopg.Connection) -> None:
        """What Postgres says: all of it now and then, else of whom something has changed."""
        now = time.monotonic()
        if self._all_at is None or now - self._all_at > READ_ALL_EVERY:
            self._take_all(connection, now)
            self._all_at = now
        else:
            self._take_changes(connection, now)
        self._looked_at = now

    def _take_all(self, connection: psycopg.Connection, now: float) -> None:
        pairs = read_hides(connection)
        found = tuple(array("q", pairs[name].to_numpy().tobytes()) for name in pairs.columns)
        with self._changing:
            # First this, then without what it holds: who reads meanwhile finds either.
            self._read = (found[0], found[1])
            # What came in while it was read may not be in it.
            late = {user: at for user, at in self._changed_at.items() if at >= now}
            self._changed = {user: self._changed[user] for user in late}
            self._changed_at = late

    def _take_changes(self, connection: psycopg.Connection, now: float) -> None:
        changed = changed_lately(connection, now - self._looked_at + _OVERLAP)
        found = hides_of(connection, changed) if changed else {}
        with self._changing:
            for user, tracks in found.items():
                if self._changed_at.get(user, 0.0) < now:
                    self._changed[user] = frozenset(tracks)
                    self._changed_at[user] = now


def _of(users: array[int], tracks: array[int], user: int) -> frozenset[int]:
    first = bisect_left(users, user)
    if first == len(users) or users[first] != user:
        return _NOTHING
    return frozenset(tracks[first : bisect_left(users, user + 1, first)])
