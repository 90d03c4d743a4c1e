"""What was read of published lists, and what an answer lacks for it.

How Redis is asked is told in `reads.py`, what becomes of the lists in `tiers.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from moovitamix.errors import StoreUnavailable
from moovitamix.serve.codec import DamagedValue, TopN, decode_list
from moovitamix.serve.generations import Generation
from moovitamix.serve.http.answer import Lack
from moovitamix.serve.http.reads import ListReader, Outcome, Wanted
from moovitamix.serve.http.serving import Found, Told
from moovitamix.serve.http.world import World


class Reads:
    """Told what became of the values that were read; `metrics.py` counts it."""

    def read(self, *, hits: int = 0, misses: int = 0, damaged: int = 0) -> None:
        """So many values were there, were not, or could not be read."""


class Read(NamedTuple):
    """What was read for one request.

    Attributes:
        generation: All the values are from it; None when nothing is published, or Redis is gone.
        values: One for each list that was wanted; none without a generation.
        lacks: What the answer lacks.
        told: Of the experiment that runs, to a user.
    """

    generation: Generation | None
    values: list[bytes | None]
    lacks: list[Lack]
    told: Told | None


class Lists:
    """Reads lists.

    Args:
        reader: Of Redis.
        world: Whether removals are known.
        observer: Told of hits and misses.
    """

    def __init__(self, reader: ListReader, world: World, observer: Reads) -> None:
        self._reader = reader
        self._world = world
        self._observer = observer

    @property
    def readable(self) -> bool:
        """Whether Redis may be asked."""
        return self._reader.breaker.closed

    def ask(self, user: int, then: Callable[[Outcome], None]) -> None:
        """Have a user's list read, while it may be; `then` is told, and must not raise."""
        self._reader.ask((("u", user),), user, then)

    async def outcome(self, wanted: list[Wanted], user: int | None = None) -> Outcome:
        """What was read; never raises for a store that is gone."""
        try:
            return await self._reader.read(wanted, user)
        except StoreUnavailable as gone:
            return gone

    def of(self, outcome: Outcome) -> Read:
        """The same, whatever it was."""
        lacks = self.lacks(outcome)
        if not isinstance(outcome, Found):
            return Read(None, [], lacks, None)
        return Read(outcome.generation, outcome.values, lacks, outcome.told)

    def lacks(self, outcome: Outcome) -> list[Lack]:
        """What an answer lacks whose lists were read so."""
        lacks = self.removal_lacks()
        if isinstance(outcome, StoreUnavailable):
            return ["redis", *lacks]
        if outcome is not None and outcome.told is not None and outcome.told.lost:
            lacks.append("challenger")
        return lacks

    def removal_lacks(self) -> list[Lack]:
        """What an answer lacks that takes no list."""
        return [] if self._world.removals_known else ["postgres"]

    def decoded(self, value: bytes | None) -> TopN | None:
        """A list out of its value; None when there is none, or it is damaged."""
        if value is None:
            self._observer.read(misses=1)
            return None
        try:
            found = decode_list(value)
        except DamagedValue:
            self._observer.read(damaged=1)
            return None
        self._observer.read(hits=1)
        return found
