"""The name table: what is told of each track, ready to send, and by what tracks are filtered.

Held by each process, so that an answer needs no Postgres. Where the table comes from and how often
is told in `refresh.py`; which tracks may be served, in `world.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from operator import itemgetter
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

# So many tracks are kept cut out as well, some 40 MB: looking up takes a quarter of cutting out.
# All, where there are no more; else those that were asked for first, which are mostly the same.
REMEMBERED = 200_000
# Where ids have no larger gaps than so on average, a list holds these by id: a look-up that meets
# fewer pieces of memory than that of a dictionary.
DENSE = 4

_encode = msgspec.json.encode


@dataclass(frozen=True, eq=False, slots=True)
class Tracks:
    """All tracks of the warehouse, compact: two arrays and one block of bytes for their texts.

    Attributes:
        ids: int64, ascending.
        ends: int64 [len(ids)]: where each track's text ends in `texts`; it begins where the one
            before ends.
        texts: JSON members, one track after the other: `"track_id":1,"name":"…","artist":"…"`.
        artists: int32: a number for each artist, spelling folded.
        genre_ids: int64, ascending.
        genre_names: Of `genre_ids`, as the warehouse has them: folded.
        genre_starts: int64 [len(genre_ids) + 1]: where each genre's tracks begin in `genre_places`.
        genre_places: int32: places in `ids`, genre after genre.
    """

    ids: NDArray[np.int64]
    ends: NDArray[np.int64]
    texts: bytes
    artists: NDArray[np.int32]
    genre_ids: NDArray[np.int64]
    genre_names: tuple[str, ...]
    genre_starts: NDArray[np.int64]
    genre_places: NDArray[np.int32]
    _by_name: dict[str, int] = field(init=False)
    _bounds: NDArray[np.int64] = field(init=False)
    _told: dict[int, bytes] = field(init=False, default_factory=dict)
    _by_id: list[bytes] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        names = {name: genre for genre, name in enumerate(self.genre_names)}
        object.__setattr__(self, "_by_name", names)
        object.__setattr__(self, "_bounds", np.concatenate(([0], self.ends)).astype(np.int64))
        if len(self.ids) <= REMEMBERED:
            bounds = self._bounds.tolist()
            texts = (self.texts[first:last] for first, last in pairwise(bounds))
            ids = self.ids.tolist()
            if ids and ids[0] >= 0 and ids[-1] < DENSE * len(ids):
                self._by_id.extend([b""] * (ids[-1] + 1))
                for track, text in zip(ids, texts, strict=True):
                    self._by_id[track] = text
            else:
                self._told.update(zip(ids, texts, strict=True))

    def __len__(self) -> int:
        return len(self.ids)

    def places(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where tracks are in the table; -1 for those that are not."""
        if not len(self.ids):
            return np.full(len(ids), -1, dtype=np.int64)
        found = self.ids.searchsorted(ids)
        found[found == len(self.ids)] = 0
        return np.where(self.ids[found] == ids, found, -1)

    def members(self, ids: NDArray[np.int64]) -> Sequence[bytes]:
        """The JSON members of tracks; names are null where the table does not know the track."""
        return self.members_of(ids.tolist())

    def members_of(self, ids: Sequence[int]) -> Sequence[bytes]:
        """The same for ids that are no array."""
        known, by_id = self._told, self._by_id
        if by_id and len(ids) > 1 and min(ids) >= 0:
            try:
                # One call looks all of them up: of several, it makes a tuple.
                found: tuple[bytes, ...] = itemgetter(*ids)(by_id)
            except IndexError:
                found = (b"",)
            if all(found):
                return found
        try:
            return [known[track] for track in ids]
        except KeyError:
            told = self._cut_out(np.array(ids, dtype=np.int64))
        if len(known) < REMEMBERED:
            known.update(zip(ids, told, strict=True))
        return told

    def _cut_out(self, ids: NDArray[np.int64]) -> list[bytes]:
        texts, places = self.texts, self.places(ids)
        # Where a place is -1 these are of the last track, and not used.
        bounds = zip(self._bounds[places].tolist(), self._bounds[places + 1].tolist(), strict=True)
        told = [texts[first:last] for first, last in bounds]
        for lost in np.flatnonzero(places < 0).tolist():
            told[lost] = b'"track_id":%d,"name":null,"artist":null' % ids[lost]
        return told

    def genre(self, wanted: str) -> int | None:
        """The place of a genre in `genre_ids`, by id or by name, case and white space folded."""
        found = self._by_name.get(fold(wanted))
        if found is None and wanted.strip().isdecimal() and len(wanted) < 19:
            found = self.genre_place(int(wanted))
        return found

    def genre_place(self, genre_id: int) -> int | None:
        """The place of a genre in `genre_ids`, by id; None when it is not there."""
        place = int(np.searchsorted(self.genre_ids, genre_id))
        known = place < len(self.genre_ids) and self.genre_ids[place] == genre_id
        return place if known else None

    def in_genres(self, genres: Sequence[int], *, every: bool) -> NDArray[np.bool_]:
        """Which tracks of the table are in any, or in every one, of some genres, by place."""
        counted = np.zeros(len(self.ids), dtype=np.int32)
        for genre in set(genres):
            first, last = self.genre_starts[genre], self.genre_starts[genre + 1]
            counted[self.genre_places[first:last]] += 1
        return counted >= (len(set(genres)) if every else 1)

    def genres_of(self, place: int) -> list[int]:
        """The places of a track's genres in `genre_ids`."""
        positions = np.flatnonzero(self.genre_places == place)
        found = np.searchsorted(self.genre_starts, positions, side="right") - 1
        return [int(genre) for genre in found]


def fold(text: str) -> str:
    """A spelling for comparisons: lower case, white space folded to one."""
    return " ".join(text.lower().split())


def tell_tracks(
    rows: Sequence[tuple[int, str, str]],
    genres: Sequence[tuple[int, str]],
    track_genres: NDArray[np.int64],
) -> Tracks:
    """The table of some rows.

    Args:
        rows: Id, name and artist, ascending by id.
        genres: Id and name, ascending by id.
        track_genres: int64 [n, 2]: genre id and track id, ascending; of genres and tracks that
            are in the other arguments, others fall away.
    """
    ids = np.fromiter((row[0] for row in rows), dtype=np.int64, count=len(rows))
    numbers: dict[str, int] = {}
    artists = np.empty(len(rows), dtype=np.int32)
    ends = np.empty(len(rows), dtype=np.int64)
    texts = bytearray()
    for place, (track, name, artist) in enumerate(rows):
        artists[place] = numbers.setdefault(fold(artist), len(numbers))
        texts += b'"track_id":%d,"name":%b,"artist":%b' % (track, _encode(name), _encode(artist))
        ends[place] = len(texts)
    genre_ids = np.array([genre for genre, _ in genres], dtype=np.int64)
    pairs = track_genres.reshape(-1, 2)
    pairs = pairs[np.isin(pairs[:, 0], genre_ids) & np.isin(pairs[:, 1], ids)]
    return Tracks(
        ids=ids,
        ends=ends,
        texts=bytes(texts),
        artists=artists,
        genre_ids=genre_ids,
        genre_names=tuple(fold(name) for _, name in genres),
        genre_starts=np.append(np.searchsorted(pairs[:, 0], genre_ids), len(pairs)).astype(
            np.int64
        ),
        genre_places=np.searchsorted(ids, pairs[:, 1]).astype(np.int32),
    )


def to_arrays(tracks: Tracks) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The table as a JSON-able header and arrays, to be packed into a file."""
    arrays: dict[str, NDArray[Any]] = {
        "ids": tracks.ids,
        "ends": tracks.ends,
        "texts": np.frombuffer(tracks.texts, dtype=np.uint8),
        "artists": tracks.artists,
        "genre_ids": tracks.genre_ids,
        "genre_starts": tracks.genre_starts,
        "genre_places": tracks.genre_places,
    }
    return {"genre_names": list(tracks.genre_names)}, arrays


def from_arrays(header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Tracks:
    """The table that `to_arrays` was given.

    Raises:
        KeyError: When an array is missing.
    """
    return Tracks(
        ids=arrays["ids"],
        ends=arrays["ends"],
        texts=arrays["texts"].tobytes(),
        artists=arrays["artists"],
        genre_ids=arrays["genre_ids"],
        genre_names=tuple(header["genre_names"]),
        genre_starts=arrays["genre_starts"],
        genre_places=arrays["genre_places"],
    )


NO_TRACKS = tell_tracks([], [], np.empty((0, 2), dtype=np.int64))
