"""What is served at one moment: the current generation, and beside it a challenger's while one is.

How it is read, and found to have changed, is told in `reads.py`; what Redis holds of an experiment,
in `serve/arms.py`.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import msgspec

from moovitamix.recommend.arms import Arm
from moovitamix.serve.arms import ServedExperiment, decode_experiment
from moovitamix.serve.generations import Generation, meta_key


class Told(msgspec.Struct, frozen=True):
    """What an answer tells of the experiment that runs.

    Attributes:
        id: In the table `experiments`.
        arm: The user's.
        champion: The champion's generation.
        challenger: The challenger's generation; None when it is gone, so that both arms are
            answered from the champion's.
    """

    id: int
    arm: Arm
    champion: str
    challenger: str | None

    @property
    def lost(self) -> bool:
        """Whether the user's arm has no lists of its own any more."""
        return self.arm == "challenger" and self.challenger is None


class Found(NamedTuple):
    """What was read for one request.

    Attributes:
        generation: All the values are from it.
        values: One for each that was wanted.
        told: Of the experiment; None when none runs, or no user was named.
    """

    generation: Generation
    values: list[bytes | None]
    told: Told | None = None


class Serving:
    """The generations that answer.

    Args:
        champion: What is current.
        value: What the key of the experiment holds.
        challenger: The description of the challenger's generation; None when it is gone.
    """

    def __init__(
        self, champion: Generation, value: bytes | None = None, challenger: Generation | None = None
    ) -> None:
        self.champion = champion
        self._value = value
        experiment = decode_experiment(value)
        counts = experiment is not None and experiment.champion == champion.model_version
        self.experiment: ServedExperiment | None = experiment if counts else None
        self.challenger = challenger if counts else None

    @cached_property
    def _told(self) -> dict[Arm, Told]:
        experiment, challenger = self.experiment, self.challenger
        if experiment is None:
            return {}
        name = None if challenger is None else challenger.name
        champion = self.champion.name
        return {
            "champion": Told(experiment.id, "champion", champion, name),
            "challenger": Told(experiment.id, "challenger", champion, name),
        }

    def watched(self, prefix: str) -> list[str]:
        """Keys that, besides `current` and the experiment's, tell whether this is still so."""
        if self.experiment is None:
            return []
        return [meta_key(prefix, self.experiment.generation)]

    def holds(
        self, current: bytes | None, value: bytes | None, watched: list[bytes | None]
    ) -> bool:
        """Whether what was read just now says the same."""
        if current is None or current.decode() != self.champion.name or value != self._value:
            return False
        return not watched or (watched[0] is None) == (self.challenger is None)

    def answers(self, user: int | None) -> tuple[Generation, Told | None]:
        """The generation that answers a user, or what is asked for without one."""
        if user is None or self.experiment is None:
            return self.champion, None
        told = self._told[self.experiment.arm(user)]
        if told.arm == "challenger" and self.challenger is not None:
            return self.challenger, told
        return self.champion, told
