"""Random numbers that are looked up, not drawn: each is a function of a seed, a purpose and keys.

What is made of the numbers does not belong here.
"""

from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Bits = NDArray[np.uint64]

_GOLDEN: Final = 0x9E3779B97F4A7C15
_SIXTY_FOUR: Final = (1 << 64) - 1
_TO_UNIT: Final = 2.0**-53


def _mix(bits: Bits) -> Bits:
    """Scatter 64-bit words: the finalizer of SplitMix64 (Steele, Lea, Flood 2014, figure 17)."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Bits = bits ^ (bits >> np.uint64(31))
    return mixed


class Chance:
    """A source of chance without a state: asked again, in any order, it answers the same.

    Args:
        seed: The world's seed, at least 0.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._starts: dict[str, np.uint64] = {}

    def _start(self, purpose: str) -> np.uint64:
        start = self._starts.get(purpose)
        if start is None:
            word = (self.seed * _GOLDEN + (crc32(purpose.encode()) << 20)) & _SIXTY_FOUR
            start = self._starts[purpose] = np.uint64(word)
        return start

    def bits(self, purpose: str, *keys: Integers) -> Bits:
        """Return one random 64-bit word for each row of the keys.

        Args:
            purpose: What the number is for; two purposes are independent.
            keys: Arrays of one length, shape `(n,)`.

        Returns:
            Shape `(n,)`, uint64.
        """
        bits = np.full(len(keys[0]), self._start(purpose), dtype=np.uint64)
        for key in keys:
            bits = _mix(bits + (key.astype(np.uint64) + np.uint64(1)) * np.uint64(_GOLDEN))
        return bits

    def uniform(self, purpose: str, *keys: Integers) -> Floats:
        """Return one number in [0, 1) for each row of the keys, shape `(n,)`, float64."""
        unit: Floats = (self.bits(purpose, *keys) >> np.uint64(11)).astype(np.float64) * _TO_UNIT
        return unit

    def below(self, limit: int, purpose: str, *keys: Integers) -> Integers:
        """Return one integer in [0, limit) for each row of the keys, shape `(n,)`, int64."""
        return (self.uniform(purpose, *keys) * limit).astype(np.int64)

    def of_day(self, day: int) -> np.random.Generator:
        """Return the generator of one day; `day` counts from 0, the world's first day."""
        return np.random.default_rng((self.seed, day))
