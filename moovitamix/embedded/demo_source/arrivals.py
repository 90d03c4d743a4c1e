"""When the n-th user or track came: a closed form, both ways, for ever.

Who the user is and what the track is do not belong here.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from moovitamix.embedded.demo_source.chance import Chance, Integers

Moments = NDArray[np.datetime64]

DAY_MICROSECONDS: Final = 86_400_000_000


@dataclass(frozen=True)
class Arrivals:
    """Arrivals number 0, 1, 2, … in the order of time.

    Before the first day there was exponential growth, from the first day on a constant number
    comes each day; on the first day both rates are the same.

    Attributes:
        chance: Where the irregularity within the order comes from.
        purpose: What arrives, to tell its chance from others.
        first_day: The start of the world's first day, UTC.
        initial: How many are there on the first day, at least 1.
        growth: The rate of growth per day, as a share of `initial`.
    """

    chance: Chance
    purpose: str
    first_day: np.datetime64
    initial: int
    growth: float

    @classmethod
    def reaching(
        cls,
        total: int,
        *,
        days: int,
        chance: Chance,
        purpose: str,
        first_day: np.datetime64,
        growth: float,
    ) -> "Arrivals":
        """Return the arrivals that make `total` after `days` days."""
        initial = max(1, round(total / (1 + growth * days)))
        return cls(chance, purpose, first_day, initial, growth)

    def moments(self, index: Integers) -> Moments:
        """Return when each came.

        Args:
            index: Numbers of arrivals, shape `(n,)`, int64.

        Returns:
            Shape `(n,)`, datetime64[us], UTC, increasing with the index.
        """
        jitter = self.chance.uniform(f"{self.purpose} arrival", index)
        relative = (index + 0.02 + 0.96 * jitter) / self.initial
        days = np.where(relative < 1, np.log(relative), relative - 1) / self.growth
        return self.first_day + (days * DAY_MICROSECONDS).astype("timedelta64[us]")

    def count(self, now: np.datetime64) -> int:
        """Return how many have come by `now`, UTC, that moment included."""
        days = float((now - self.first_day) / np.timedelta64(DAY_MICROSECONDS, "us"))
        change = days * self.growth
        estimate = int(self.initial * (np.exp(change) if change < 0 else 1 + change))
        near = np.arange(max(0, estimate - 2), estimate + 3, dtype=np.int64)
        return int(near[0]) + int((self.moments(near) <= now).sum())
