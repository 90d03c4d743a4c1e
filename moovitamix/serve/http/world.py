"""What a process knows of the catalogue: names, who may be served what, what is popular.

Kept up to date by `refresh.py`, read by `tiers.py` without waiting. Lists of users are not here.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from moovitamix.serve.http.hidden import Hidden
from moovitamix.serve.http.tracks import NO_TRACKS, Tracks

if TYPE_CHECKING:
    from moovitamix.serve.fold import Folding
    from moovitamix.serve.http.live import LiveModel
    from moovitamix.serve.http.serving import Told

# After so many seconds without a word from Postgres, answers say that removals may be missing.
REMOVALS_STALE_AFTER = 60.0


@dataclass(frozen=True, eq=False, slots=True)
class Origin:
    """The generation that popular tracks were counted for."""

    generation: str
    model_version: int
    generated_at: datetime


@dataclass(frozen=True, eq=False, slots=True)
class Ranking:
    """All tracks that are known, most heard first, equals by ascending id.

    Attributes:
        ids: int64.
        listeners: float32: how many users heard each; 0 for what nobody heard.
        places: int64: in the name table; -1 where it does not know the track.
    """

    ids: NDArray[np.int64]
    listeners: NDArray[np.float32]
    places: NDArray[np.int64]


@dataclass(frozen=True, eq=False, slots=True)
class Counts:
    """How many users heard which tracks, in any order.

    Attributes:
        ids: int64, each once.
        listeners: float32.
    """

    ids: NDArray[np.int64]
    listeners: NDArray[np.float32]


@dataclass(frozen=True, eq=False, slots=True)
class Favourites:
    """The genres that users have stated.

    Attributes:
        users: int64, ascending, one for each pair.
        genres: int64 genre ids.
    """

    users: NDArray[np.int64]
    genres: NDArray[np.int64]

    def of(self, user: int) -> list[int]:
        """A user's genre ids."""
        first = np.searchsorted(self.users, user)
        last = np.searchsorted(self.users, user, "right")
        return [int(genre) for genre in self.genres[first:last]]


_NO_IDS = np.empty(0, dtype=np.int64)
NO_COUNTS = Counts(_NO_IDS, np.empty(0, dtype=np.float32))


class World:
    """The catalogue as this process knows it. Attributes are replaced as a whole, never changed.

    Attributes:
        tracks: The name table.
        counts: How many users heard which tracks.
        by_genre: The same for the most heard tracks of each genre, as published: what answers
            when there is no name table.
        ranking: Made of both.
        removed: Withdrawn and blocked tracks: no answer may hold one.
        withdrawn_users: Their listens are not used.
        erased_users: What is still known of them here is not used: see `forgetting.py`.
        hidden: What users do not want to be recommended.
        favourites: Stated genres.
        origin: The generation of the counts.
        live: What ranks for users live.
        live_challenger: The same for the challenger's generation of this name, while there is one.
        folding: What lists of users are made anew by, when something new is known of them.
        folding_challenger: The same for the challenger's lists, while there is one.
        removals_at: When `removed` was last read, by `time.monotonic`; None: not by this process.
    """

    def __init__(self) -> None:
        self.tracks: Tracks = NO_TRACKS
        self.counts: Counts = NO_COUNTS
        self.by_genre: Mapping[int, Counts] = {}
        self.ranking = Ranking(_NO_IDS, np.empty(0, np.float32), _NO_IDS)
        self.removed: frozenset[int] = frozenset()
        self.withdrawn_users: frozenset[int] = frozenset()
        self.erased_users: frozenset[int] = frozenset()
        self.hidden = Hidden()
        self.favourites = Favourites(_NO_IDS, _NO_IDS)
        self.origin: Origin | None = None
        self.live: LiveModel | None = None
        self.live_challenger: tuple[str, LiveModel] | None = None
        self.folding: Folding | None = None
        self.folding_challenger: Folding | None = None
        self.removals_at: float | None = None

    @property
    def removals_known(self) -> bool:
        """Whether `removed` is what Postgres said lately."""
        at = self.removals_at
        return at is not None and time.monotonic() - at < REMOVALS_STALE_AFTER

    def live_for(self, told: Told | None) -> tuple[LiveModel | None, bool]:
        """What ranks for the users of an arm live, and whether it is the arm's own version.

        The champion's factors rank for the challenger's arm until the challenger's are there.
        """
        if told is None or told.arm == "champion" or told.challenger is None:
            return self.live, True
        if self.live_challenger is not None and self.live_challenger[0] == told.challenger:
            return self.live_challenger[1], True
        return self.live, False

    def rank(self) -> None:
        """Make the ranking anew, after names or counts have changed."""
        self.ranking = rank_catalogue(self.tracks, self.counts)


def rank_catalogue(tracks: Tracks, counts: Counts) -> Ranking:
    """All tracks of the table and of the counts, most heard first, equals by ascending id."""
    ids = np.union1d(tracks.ids, counts.ids)
    listeners = np.zeros(len(ids), dtype=np.float32)
    listeners[np.searchsorted(ids, counts.ids)] = counts.listeners
    order = np.lexsort((ids, -listeners))
    return Ranking(ids[order], listeners[order], tracks.places(ids[order]))
