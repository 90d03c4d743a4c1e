"""Names of tracks, for people who read lists: the cache holds ids only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from moovitamix.resources import Warehouse


class TrackName(NamedTuple):
    """What a track is called."""

    name: str
    artist: str


def track_names(warehouse: Warehouse, track_ids: Iterable[int]) -> dict[int, TrackName]:
    """The names of some tracks, by id; ids that the warehouse does not hold are left out.

    Raises:
        StoreUnavailable: When Postgres does not answer.
    """
    with warehouse.connect() as connection:
        rows = connection.execute(
            "SELECT id, name, artist FROM tracks WHERE id = ANY(%s)", (list(track_ids),)
        ).fetchall()
    return {track_id: TrackName(name, artist) for track_id, name, artist in rows}
