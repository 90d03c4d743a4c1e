"""Reads lists from the generation being served. Never writes, and needs nothing but Redis.

Names of tracks are looked up elsewhere (`names.py`). A value that is damaged counts as missing:
the reader falls to the next tier.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import redis

from moovitamix.errors import NothingToDo
from moovitamix.serve.codec import DamagedValue, TopN, decode_list
from moovitamix.serve.generations import (
    Generation,
    Kind,
    current_key,
    key_of,
    meta_key,
    read_generation,
    redis_answering,
)

ListName = tuple[Kind, int | Literal["all"]]
OVERALL: ListName = ("p", "all")

Tier = Literal["cached top-N", "popular in favourite genres", "popular in genre", "popular"]

_NOTHING_SERVED = (
    "Nothing has been published to Redis yet, or it has expired. `moovitamix run` does."
)


class ScoredTrack(NamedTuple):
    """A track and what ranks it; scores compare within one list only."""

    track_id: int
    score: float


@dataclass(frozen=True, kw_only=True)
class TrackList:
    """An answer: tracks, best first, and where they come from.

    Attributes:
        items: At most as many as asked for.
        generation: The name of the generation that was read.
        model_version: The registry's version that made it.
    """

    items: list[ScoredTrack]
    generation: str
    model_version: int


@dataclass(frozen=True, kw_only=True)
class PopularTracks(TrackList):
    """Popular tracks; `score` counts the users who heard the track."""

    tier: Tier


@dataclass(frozen=True, kw_only=True)
class Recommendations(TrackList):
    """A user's recommendations, and the tier that answered."""

    user_id: int
    tier: Tier


class Recommender:
    """Answers from the generation being served, in two round trips to Redis, three for new users.

    Args:
        client: Answers bytes.
        prefix: What every key begins with, without the colon.
    """

    def __init__(self, client: redis.Redis, prefix: str) -> None:
        self._client = client
        self._prefix = prefix

    def recommend(self, user_id: int, limit: int = 20, *, repeats: bool = False) -> Recommendations:
        """What to play to a user next.

        The user's own list; with `repeats` the one that may hold what they have heard, where there
        is one. Without one, or when they have heard everything: what is popular in
        their stated favourite genres, filled up with what is popular over all. Without these:
        what is popular over all. Never what they have hidden.

        Raises:
            NothingToDo: When no generation is being served.
            StoreUnavailable: When Redis does not answer.
        """
        generation, (own, again, stated, overall, noted) = self._read(
            ("u", user_id),
            ("r" if repeats else "u", user_id),
            ("g", user_id),
            OVERALL,
            ("x", user_id),
        )
        own = own if again is None else again
        hidden = frozenset() if noted is None else frozenset(noted.ids.tolist())
        tier: Tier
        if own is not None and len(own.ids):
            tier, items = "cached top-N", _items(own, limit, hidden)
        elif in_genres := self._popular_in(generation, stated):
            tier, items = "popular in favourite genres", _merge(in_genres, overall, limit, hidden)
        else:
            tier, items = "popular", _items(overall, limit, hidden)
        return Recommendations(
            user_id=user_id,
            items=items,
            tier=tier,
            generation=generation.name,
            model_version=generation.model_version,
        )

    def similar(self, track_id: int, limit: int = 20) -> TrackList:
        """The tracks most like one; none when the model does not know it.

        Raises:
            NothingToDo: When no generation is being served.
            StoreUnavailable: When Redis does not answer.
        """
        generation, (found,) = self._read(("t", track_id))
        return TrackList(
            items=_items(found, limit),
            generation=generation.name,
            model_version=generation.model_version,
        )

    def popular(self, genre_id: int | None = None, limit: int = 20) -> PopularTracks:
        """What most users heard, in a genre or over all; over all too when the genre has none.

        Raises:
            NothingToDo: When no generation is being served.
            StoreUnavailable: When Redis does not answer.
        """
        wanted = OVERALL if genre_id is None else ("p", genre_id)
        generation, (found, overall) = self._read(wanted, OVERALL)
        return PopularTracks(
            items=_items(overall if found is None else found, limit),
            tier="popular" if genre_id is None or found is None else "popular in genre",
            generation=generation.name,
            model_version=generation.model_version,
        )

    def _read(self, *wanted: ListName) -> tuple[Generation, list[TopN | None]]:
        with redis_answering():
            name = cast("bytes | None", self._client.get(current_key(self._prefix)))
            if name is None:
                raise NothingToDo(_NOTHING_SERVED)
            pipeline = self._client.pipeline(transaction=False)
            pipeline.get(meta_key(self._prefix, name.decode()))
            for kind, item in wanted:
                pipeline.get(key_of(self._prefix, name.decode(), kind, item))
            meta, *values = cast("list[bytes | None]", pipeline.execute())
        generation = read_generation(meta)
        if generation is None:
            raise NothingToDo(_NOTHING_SERVED)
        return generation, [_decoded(value) for value in values]

    def _popular_in(self, generation: Generation, stated: TopN | None) -> list[TopN]:
        if stated is None:
            return []
        pipeline = self._client.pipeline(transaction=False)
        for genre_id in stated.ids.tolist():
            pipeline.get(key_of(self._prefix, generation.name, "p", genre_id))
        with redis_answering():
            values = cast("list[bytes | None]", pipeline.execute())
        return [found for found in map(_decoded, values) if found is not None]


def _decoded(value: bytes | None) -> TopN | None:
    if value is None:
        return None
    try:
        return decode_list(value)
    except DamagedValue:
        return None


def _items(
    found: TopN | None, limit: int, hidden: frozenset[int] = frozenset()
) -> list[ScoredTrack]:
    if found is None:
        return []
    n = limit + len(hidden)
    pairs = zip(found.ids[:n].tolist(), found.scores[:n].tolist(), strict=True)
    return [ScoredTrack(*pair) for pair in pairs if pair[0] not in hidden][:limit]


def _merge(
    in_genres: list[TopN], overall: TopN | None, limit: int, hidden: frozenset[int]
) -> list[ScoredTrack]:
    """The best of several genres, then of all, each track once."""
    in_any = {item.track_id: item for found in in_genres for item in _items(found, limit, hidden)}
    ranked = sorted(in_any.values(), key=lambda item: (-item.score, item.track_id))
    rest = [item for item in _items(overall, limit, hidden) if item.track_id not in in_any]
    return (ranked + rest)[:limit]
