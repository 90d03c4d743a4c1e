"""Whom this process must not remember, although its memory still holds something of them.

What a process holds of users is in `world.py`; it is read anew by `refresh.py` after an erasure, in
its own time. Until then the erased are hidden here. How they are erased is told in `erasing.py`.
"""

from __future__ import annotations

import threading
from collections import Counter

from moovitamix.serve.http.refresh import Watcher
from moovitamix.serve.http.world import World

# What holds users. The reading that is under way when somebody has been erased may hold them still,
# the one after it does not.
_PARTS = ("names", "model", "challenger")
_READINGS = 2


class Forgetting(Watcher):
    """Hides users from answers until nothing in memory is from before their erasure.

    An id is not hidden for ever: a new account may be given it.

    Args:
        world: From whose answers.
        watcher: Told of everything that this is told of; None: nobody.
    """

    def __init__(self, world: World, watcher: Watcher | None = None) -> None:
        self._world = world
        self._watcher = watcher or Watcher()
        self._changing = threading.Lock()
        self._hidden: set[int] = set()
        self._readings: dict[int, Counter[str]] = {}

    def hide(self, user: int) -> None:
        """Answer from now on as if nothing were known of a user."""
        with self._changing:
            self._hidden.add(user)
            self._readings.pop(user, None)
            self._show()

    def keep(self, user: int) -> None:
        """Nothing was erased, or not all: what is in memory is as right as what is stored."""
        with self._changing:
            self._end(user)

    def erased(self, user: int) -> None:
        """The stores hold nothing any more: hide the user until they have been read anew."""
        with self._changing:
            if user in self._hidden:
                self._readings[user] = Counter()

    def refreshed(self, what: str) -> None:
        """A part of the world is as its store has it now."""
        with self._changing:
            for user, readings in list(self._readings.items()):
                readings[what] += 1
                if all(readings[part] >= _READINGS for part in _PARTS):
                    self._end(user)
        self._watcher.refreshed(what)

    def refresh_failed(self, what: str) -> None:
        """It could not be brought up to date."""
        self._watcher.refresh_failed(what)

    def _end(self, user: int) -> None:
        self._hidden.discard(user)
        self._readings.pop(user, None)
        self._show()

    def _show(self) -> None:
        self._world.erased_users = frozenset(self._hidden)
