"""The three records of the source's contract, as they go over the wire.

Times are text here, ISO 8601 with microseconds and without a zone, UTC. What the records say is
made by `people`, `catalogue` and `listening`.
"""

from typing import TypeVar

import msgspec
import numpy as np

from moovitamix.embedded.demo_source.arrivals import DAY_MICROSECONDS, Moments
from moovitamix.embedded.demo_source.chance import Chance, Integers

_ID_GAP = 37


class TrackRecord(msgspec.Struct, gc=False):
    """One record of `GET /tracks`."""

    id: int
    name: str
    artist: str
    songwriters: str
    duration: str
    genres: str
    album: str
    created_at: str
    updated_at: str


class UserRecord(msgspec.Struct, gc=False):
    """One record of `GET /users`."""

    id: int
    first_name: str
    last_name: str
    email: str
    gender: str
    favorite_genres: str
    created_at: str
    updated_at: str


class ListenRecord(msgspec.Struct, gc=False):
    """One record of `GET /listen_history`: a session, its tracks in the order heard."""

    user_id: int
    items: list[int]
    created_at: str
    updated_at: str


Record = TypeVar("Record", TrackRecord, UserRecord, ListenRecord)


def sparse_ids(chance: Chance, purpose: str, index: Integers) -> Integers:
    """Return the source's ids of the n-th users or tracks: distinct, rising, with gaps."""
    return 1 + _ID_GAP * index + chance.below(_ID_GAP, f"{purpose} id", index)


def timestamps(moments: Moments) -> list[str]:
    """Return the moments as the contract writes them."""
    texts: list[str] = np.datetime_as_string(moments, unit="us").tolist()
    return texts


def edit_moments(
    chance: Chance, purpose: str, index: Integers, created: Moments, *, share: float, mean_days: int
) -> Moments:
    """Return when each record is edited, once: never (NaT) for all but `share` of them.

    Args:
        chance: The world's chance.
        purpose: What is edited.
        index: Numbers of the records, shape `(n,)`.
        created: When they were created, shape `(n,)`, datetime64[us].
        share: The part of the records that is ever edited.
        mean_days: The mean of the exponential delay.
    """
    delay = -np.log1p(-chance.uniform(f"{purpose} edit delay", index)) * mean_days
    moments: Moments = created + (delay * DAY_MICROSECONDS + 1).astype("timedelta64[us]")
    never = chance.uniform(f"{purpose} is edited", index) >= share
    moments[never] = np.datetime64("NaT")
    return moments
