"""Which arm of an experiment a user is in: by a keyed hash, so the same wherever it is asked.

What the arms are answered with is told in `serve/experiment.py`, how they are compared in
`experiment_figures.py`.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Literal

Arm = Literal["champion", "challenger"]

ARMS: tuple[Arm, Arm] = ("champion", "challenger")

_RANGE = 2**64


def place_of(user_id: int, salt: str) -> float:
    """Where a user stands in [0, 1]: uniform over users, and independent for another salt.

    BLAKE2b (RFC 7693) keyed with the salt, of the id in decimal; its first 64 bits over 2⁶⁴.

    Args:
        user_id: Of any size.
        salt: At most 64 bytes.
    """
    digest = blake2b(b"%d" % user_id, digest_size=8, key=salt.encode()).digest()
    return int.from_bytes(digest, "big") / _RANGE


def arm_of(user_id: int, salt: str, share: float) -> Arm:
    """The arm of a user. Who is in the challenger's stays there when its share is raised.

    Args:
        user_id: Of any size.
        salt: Of the experiment, at most 64 bytes.
        share: Of users in the challenger's arm, from 0 to 1.
    """
    return "challenger" if place_of(user_id, salt) < share else "champion"
