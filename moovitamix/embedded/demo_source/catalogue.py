"""The tracks of the demonstration world: artists, tastes, popularity, and their records.

Who hears them is `listening`'s job.
"""

from typing import Final

import numpy as np

from moovitamix.embedded.demo_source.arrivals import Arrivals
from moovitamix.embedded.demo_source.chance import Chance, Floats, Integers
from moovitamix.embedded.demo_source.names import album_title, artist_name, person, track_title
from moovitamix.embedded.demo_source.people import tastes_at
from moovitamix.embedded.demo_source.records import (
    TrackRecord,
    edit_moments,
    sparse_ids,
    timestamps,
)
from moovitamix.embedded.demo_source.vocabulary import TASTES

_TRACKS_PER_ARTIST: Final = 10
_ZIPF_EXPONENT: Final = 1.1  # of a track's popularity over its rank
_ZIPF_SHIFT: Final = (
    0.006  # as a share of all ranks (Mandelbrot's): no single hit outshines the rest
)
_ARTIST_ZIPF_EXPONENT: Final = 0.35
_EDITED_SHARE: Final = 0.2
_EDITED_AFTER_DAYS: Final = 400
_ALBUMS_PER_ARTIST: Final = 3
_SECONDS: Final = (125, 330)


class _Shelf:
    """Tracks grouped by one property, to be drawn within a group by popularity."""

    def __init__(self, groups: Integers, weights: Floats, first_track: int) -> None:
        order = np.argsort(groups, kind="stable")
        count = int(groups.max()) + 1 if len(groups) else 1
        self._tracks = (order + first_track).astype(np.int64)
        self._limits = np.concatenate((np.zeros(1), np.cumsum(weights[order])))
        self._bounds = np.searchsorted(groups[order], np.arange(count + 1))

    def draw(self, groups: Integers, unit: Floats) -> Integers:
        """Draw one track from each group, from all tracks where the group has none."""
        known = np.minimum(groups, len(self._bounds) - 2)
        begin, end = self._bounds[known], self._bounds[known + 1]
        empty = (groups != known) | (begin == end)
        begin, end = np.where(empty, 0, begin), np.where(empty, len(self._tracks), end)
        target = self._limits[begin] + unit * (self._limits[end] - self._limits[begin])
        at = np.searchsorted(self._limits, target, side="right") - 1
        drawn: Integers = self._tracks[np.clip(at, begin, end - 1)]
        return drawn

    def draw_from_all(self, unit: Floats) -> Integers:
        """Draw tracks whatever their group."""
        at = np.searchsorted(self._limits[1:-1], unit * self._limits[-1], side="right")
        drawn: Integers = self._tracks[at]
        return drawn


class Edition:
    """The tracks that were out at one time, to be drawn by taste or by artist.

    Args:
        catalogue: The catalogue.
        start: The number of the first track of the edition.
        stop: The number after the last.
    """

    def __init__(self, catalogue: "Catalogue", start: int, stop: int) -> None:
        index = np.arange(start, stop, dtype=np.int64)
        artists = catalogue.artists(index)
        weights = catalogue.popularity(index, artists)
        self.size = len(index)
        self._by_taste = _Shelf(catalogue.tastes(index, artists), weights, start)
        self._by_artist = _Shelf(artists, weights, start)

    def of_taste(self, tastes: Integers, unit: Floats) -> Integers:
        """Draw a track of each taste by popularity; shape `(n,)`, numbers of tracks."""
        return self._by_taste.draw(tastes, unit)

    def of_any_kind(self, unit: Floats) -> Integers:
        """Draw tracks by popularity alone; shape `(n,)`, numbers of tracks."""
        return self._by_taste.draw_from_all(unit)

    def of_artist(self, artists: Integers, unit: Floats) -> Integers:
        """Draw a track of each artist by popularity; shape `(n,)`, numbers of tracks."""
        return self._by_artist.draw(artists, unit)


class Catalogue:
    """The tracks by number, in the order of their release.

    Args:
        chance: The world's chance.
        arrivals: When they were released.
    """

    def __init__(self, chance: Chance, arrivals: Arrivals) -> None:
        self._chance = chance
        self.arrivals = arrivals

    def ids(self, index: Integers) -> Integers:
        """Return the source's ids of the tracks, shape `(n,)`."""
        return sparse_ids(self._chance, "track", index)

    def artists(self, index: Integers) -> Integers:
        """Return each track's artist, shape `(n,)`; the catalogue's growth brings new ones."""
        active = 8 + index // _TRACKS_PER_ARTIST
        return (active * self._chance.uniform("artist", index) ** 1.5).astype(np.int64)

    def tastes(self, index: Integers, artists: Integers) -> Integers:
        """Return each track's taste, shape `(n,)`: nine times in ten the artist's."""
        own = tastes_at(self._chance.uniform("artist's taste", artists))
        other = tastes_at(self._chance.uniform("taste of the odd one", index))
        return np.where(self._chance.uniform("is an odd one", index) < 0.9, own, other)

    def popularity(self, index: Integers, artists: Integers) -> Floats:
        """Return each track's share of the attention, in no unit, shape `(n,)`: Zipf over ranks."""
        rank = self._chance.uniform("popularity", index) + _ZIPF_SHIFT
        artist_rank = self._chance.uniform("artist's popularity", artists) + _ZIPF_SHIFT
        weight: Floats = rank**-_ZIPF_EXPONENT * artist_rank**-_ARTIST_ZIPF_EXPONENT
        return weight

    def records(self, start: int, stop: int, now: np.datetime64) -> list[TrackRecord]:
        """Return the records of the tracks `start` to `stop` as they are at `now`, UTC."""
        index = np.arange(start, stop, dtype=np.int64)
        artists = self.artists(index)
        created = self.arrivals.moments(index)
        edits = edit_moments(
            self._chance,
            "track",
            index,
            created,
            share=_EDITED_SHARE,
            mean_days=_EDITED_AFTER_DAYS,
        )
        edited = edits <= now
        albums = self._chance.below(_ALBUMS_PER_ARTIST, "album", index)
        seconds = self._chance.below(_SECONDS[1] - _SECONDS[0], "duration", index) + _SECONDS[0]
        return [
            TrackRecord(
                id=track_id,
                name=track_title(title_bits),
                artist=artist_name(artist_bits),
                songwriters=_songwriters(writer_bits),
                duration=f"{duration // 60:02}:{duration % 60:02}",
                genres=_genres(taste, title_bits),
                album=album_title(album_bits) + (" (Deluxe Edition)" if is_edited else ""),
                created_at=created_at,
                updated_at=updated_at,
            )
            for track_id, title_bits, artist_bits, writer_bits, album_bits, duration, taste, (
                is_edited
            ), created_at, updated_at in zip(
                self.ids(index).tolist(),
                self._chance.bits("title", index).tolist(),
                self._chance.bits("artist's name", artists).tolist(),
                self._chance.bits("songwriters", artists, albums).tolist(),
                self._chance.bits("album title", artists, albums).tolist(),
                seconds.tolist(),
                self.tastes(index, artists).tolist(),
                edited.tolist(),
                timestamps(created),
                timestamps(np.where(edited, edits, created)),
                strict=True,
            )
        ]


def _songwriters(bits: int) -> str:
    writers = [" ".join(person(bits))]
    if bits % 3 == 0:
        writers.append(" ".join(person(bits >> 20)))
    return ", ".join(dict.fromkeys(writers))


def _genres(taste: int, bits: int) -> str:
    """Return a track's genres: those of its taste, the neighbour's name now and then."""
    genre, neighbour, _ = TASTES[taste]
    return (genre, genre, genre, f"{genre}, {neighbour}", neighbour)[(bits >> 8) % 5]
