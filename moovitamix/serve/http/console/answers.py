"""Answers of the API as the console reads them back: what is shown is what is sent to the app."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from moovitamix.serve.http.serving import Told

if TYPE_CHECKING:
    from moovitamix.serve.http.world import World

# What each tier is, in the words of `docs/serving.md`.
TIERS = {
    "cached top-N": "the list in Redis",
    "cached similar": "the list in Redis",
    "live fold-in": "ranked now, from the model's factors and what they heard",
    "live factors": "ranked now, from the model's factors",
    "popular in favourite genres": "what most people hear in the genres they have stated",
    "popular in genre": "what most people hear in its genres",
    "popular": "what most people hear",
    "nothing yet": "nothing was ever published",
}

LACKS = {
    "redis": "Redis did not answer: this is the next tier.",
    "postgres": "Postgres has not told for a minute what was removed.",
    "model": "There are no factors to explain with.",
    "names": "The name table is not there.",
    "challenger": "The challenger's lists are gone: the champion answers.",
}


class Reason(msgspec.Struct, frozen=True):
    """A track heard, and what it adds to the score of another."""

    track_id: int
    name: str | None
    artist: str | None
    adds: float


class Item(msgspec.Struct, frozen=True):
    """A track of an answer."""

    track_id: int
    name: str | None
    artist: str | None
    score: float
    tier: str
    because: Sequence[Reason] = ()


class Shown(msgspec.Struct, frozen=True):
    """An answer."""

    items: Sequence[Item]
    tier: str
    model_version: int | None
    generation: str | None
    generated_at: datetime | None
    degraded: Sequence[str] = ()
    experiment: Told | None = None


class Named(msgspec.Struct, frozen=True):
    """A track as the name table tells it."""

    track_id: int
    name: str | None
    artist: str | None


def read_names(world: World, tracks: Collection[int]) -> list[Named]:
    """Some tracks by ascending id, with the names that answers have."""
    ids = np.array(sorted(tracks), dtype=np.int64)
    return [msgspec.json.decode(b"{%b}" % told, type=Named) for told in world.tracks.members(ids)]


def read_answer(body: bytes) -> Shown:
    """What the app is sent."""
    return msgspec.json.decode(body, type=Shown)
