"""What Redis tells of generations: which are served, which could be again, until when."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from moovitamix.recommend.arms import Arm
from moovitamix.serve.arms import served_generations
from moovitamix.serve.generations import Generation
from moovitamix.serve.roll import finished

if TYPE_CHECKING:
    import redis


@dataclass(frozen=True)
class Lists:
    """Generations.

    Attributes:
        served: By arm, the one that answers.
        living: All that are whole and have not expired, newest first.
    """

    served: Mapping[Arm, Generation]
    living: Sequence[Generation]

    @property
    def current(self) -> Generation | None:
        """The champion's."""
        return self.served.get("champion")


def read_lists(connect: Callable[[], redis.Redis], prefix: str) -> Lists:
    """The generations by their roll, without going through all keys.

    Args:
        connect: Opens a client, which answers bytes and has time limits.
        prefix: What every key begins with, without the colon.

    Raises:
        StoreUnavailable: When Redis does not answer.
    """
    with closing(connect()) as client:
        living = finished(client, prefix)
        served = served_generations(client, prefix)
    return Lists(served, sorted(living, key=lambda one: (one.published_at, one.name), reverse=True))
