"""What a search may spend, and what it has come to: the terms in which others speak of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from moovitamix.recommend.configuration import Configuration


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How long to search: until the time is over or the trials are done, whichever comes first.

    Attributes:
        time: None: without end.
        trials: Of the study, those of a search that was killed included; None: without end.
    """

    time: timedelta | None = None
    trials: int | None = None

    @property
    def is_none(self) -> bool:
        """Whether there is nothing to spend."""
        return self == Budget() or self.time == timedelta() or self.trials == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """What a search has come to.

    Attributes:
        configuration: The best, or the first where none can be told from it.
        better: Whether it is another than the first.
        study: Of the trials: the same name, the same data, space and first configuration.
        trials: How many were looked at, of this search and those before it.
        pruned: How many of them were given up on the way.
        seconds: What they took together.
        ndcg: Mean NDCG of what was chosen, on the validation window; None without any trial.
        first_ndcg: That of the first configuration.
        gain: Of the best over the first, by the same users.
        error: The standard error of the gain.
        users: How many users were judged by.
    """

    configuration: Configuration
    better: bool
    study: str
    trials: int
    pruned: int
    seconds: float
    ndcg: float | None
    first_ndcg: float | None
    gain: float | None
    error: float | None
    users: int

    def to_json(self) -> dict[str, Any]:
        """The figures, for the registry."""
        fields = asdict(self)
        del fields["configuration"], fields["better"]
        return fields
