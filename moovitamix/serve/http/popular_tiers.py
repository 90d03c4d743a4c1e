"""The last tiers: picks what is popular, over all, under a filter, or in favourite genres.

What is popular is told in `world.py`, who is asked before in `tiers.py`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from moovitamix.serve.http.answer import Picker, Tier
from moovitamix.serve.http.world import World


def take_popular(
    world: World, picker: Picker, allowed: NDArray[np.bool_] | None, tier: Tier
) -> None:
    """What is popular, under a mask by place; in pieces, for the best mostly do."""
    ranking = world.ranking
    size = 4 * max(picker.wanting, 25)
    ids, listeners = ranking.ids, ranking.listeners
    if allowed is not None and picker.wanting:
        known = ranking.places >= 0
        chosen = np.flatnonzero(known & np.append(allowed, False)[ranking.places])
        ids, listeners = ids[chosen], listeners[chosen]
    for start in range(0, len(ids), size):
        if not picker.wanting:
            return
        piece = slice(start, start + size)
        picker.take(ids[piece], listeners[piece], tier)


def take_favourites(world: World, picker: Picker, genre_ids: list[int]) -> None:
    """What is popular in the genres that a user has stated; without names, as published."""
    if len(world.tracks):
        places = [world.tracks.genre_place(genre) for genre in genre_ids]
        known = [place for place in places if place is not None]
        if known:
            in_genres = world.tracks.in_genres(known, every=False)
            take_popular(world, picker, in_genres, "popular in favourite genres")
        return
    for found in filter(None, map(world.by_genre.get, genre_ids)):
        picker.take(found.ids, found.listeners, "popular in favourite genres")
