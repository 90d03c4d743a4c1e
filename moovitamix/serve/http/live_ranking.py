"""A user's list as it would be published, made now, and what follows it under filters.

The list keeps the places of new releases, put there by the code that publishes
(`recommend/new_releases.py`), and filters take from it as they take from a cached one. What ranks
is told in `live.py`, when it answers in `tiers.py`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple
from weakref import WeakKeyDictionary, ref

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from moovitamix.recommend.top_n import TopN
from moovitamix.serve.http.answer import Picker
from moovitamix.serve.http.live import LiveModel, Ranked, Scored, best_of
from moovitamix.serve.http.tracks import Tracks

# What follows the list comes in pieces, each so many times as long as the one before it: with few
# tracks of an artist wanted, the whole catalogue may have to be gone through.
_GROWTH = 4

_Ids = NDArray[np.int64]


class LiveRequest(NamedTuple):
    """What is asked of the live tier, beside what the picker leaves out.

    Attributes:
        user: Any id.
        repeats: Tracks that the user has heard may be in the list.
        listed: The cached list that was picked from before, with its places; None: there was none.
        never: Tracks that no list of the user may hold: removed, hidden, heard since the matrix.
        heard: Tracks heard since the matrix: no place is kept for them, repeats or not.
        exclude: Tracks that a filter takes from the list.
        allowed: By place in the name table, what a filter leaves of the list; None: all.
        per_artist: Whether a filter thins out the tracks of an artist.
    """

    user: int
    repeats: bool
    listed: NDArray[np.int64] | None
    never: Collection[int]
    heard: Collection[int]
    exclude: Collection[int]
    allowed: NDArray[np.bool_] | None
    per_artist: bool

    @property
    def filtered(self) -> bool:
        """Whether anything in the list may not be picked."""
        return bool(self.exclude) or self.allowed is not None or self.per_artist


class LiveRanking:
    """Picks for users, one at a time."""

    def __init__(self) -> None:
        # Where the tracks of what ranks are in the name table of these ids: 0.5 ms of 20,000.
        self._places: WeakKeyDictionary[LiveModel, tuple[ref[_Ids], _Ids]] = WeakKeyDictionary()

    def pick(
        self, live: LiveModel, picker: Picker, tracks: Tracks, request: LiveRequest
    ) -> Picker | None:
        """Pick until there are enough, or the version has no more.

        Args:
            live: What ranks.
            picker: Is picked with, and is the answer.
            tracks: The name table.
            request: For whom, and what may be in the list.

        Returns:
            None where the version knows none of the user's listens.
        """
        scored = live.score(request.user, repeats=request.repeats)
        if scored is None:
            return None
        ranking = _Ranking(live, scored, request)
        length = live.list_length
        if request.listed is None:
            seen = None if request.filtered else picker.wanting
            picker.take(*ranking.next(length, seen), "live fold-in")
        else:
            ranking.strike(request.listed)
        if not picker.wanting:
            return picker
        ranking.strike(_ids(request.exclude))
        if request.allowed is not None:
            ranking.narrow(request.allowed, self._places_of(live, tracks), tracks)
        ranking.after = length
        while picker.wanting:
            # All of this would be picked, but for a filter by artist.
            seen = None if request.per_artist else picker.wanting
            piece = ranking.next(length, seen)
            if not len(piece.ids):
                break
            picker.take(*piece, "live fold-in")
            length *= _GROWTH
        return picker

    def _places_of(self, live: LiveModel, tracks: Tracks) -> NDArray[np.int64]:
        known = self._places.get(live)
        if known is None or known[0]() is not tracks.ids:
            known = self._places[live] = (ref(tracks.ids), tracks.places(live.tracks))
        return known[1]


class _Ranking:
    """A user's tracks, best first, a piece at a time; each track comes once.

    Attributes:
        after: How many places of the list have gone by.
    """

    def __init__(self, live: LiveModel, scored: Scored, request: LiveRequest) -> None:
        self._live = live
        self._scored = scored
        self._left = np.ones(len(live.tracks), dtype=np.bool_)
        releases = live.releases
        self._releases_left = np.ones(0 if releases is None else len(releases.tracks), np.bool_)
        self._came = np.empty(0, dtype=np.int64)
        self.after = 0
        self.strike(_ids(request.never))
        if releases is not None:
            _strike(live.heard(request.user), releases.tracks, self._releases_left)
            _strike(_ids(request.heard), releases.tracks, self._releases_left)

    def strike(self, ids: NDArray[np.int64]) -> None:
        """Some tracks do not come any more."""
        _strike(ids, self._live.tracks, self._left)
        if self._live.releases is not None:
            _strike(ids, self._live.releases.tracks, self._releases_left)

    def narrow(self, allowed: NDArray[np.bool_], places: NDArray[np.int64], tracks: Tracks) -> None:
        """Only tracks come that a filter allows.

        Args:
            allowed: By place in the name table.
            places: Of the version's tracks.
            tracks: The table.
        """
        known = np.append(allowed, False)  # the last is asked for what the table does not know
        self._left &= known[places]
        if self._live.releases is not None:
            self._releases_left &= known[tracks.places(self._live.releases.tracks)]

    def next(self, n: int, seen: int | None = None) -> Ranked:
        """The best n that have not come yet, with new releases at the places kept for them.

        Args:
            n: How many.
            seen: What is behind so many of them is not looked at; None: all are.
        """
        self.strike(self._came)
        found = best_of(self._live.tracks, self._scored.scores, self._left, n)
        block = TopN(
            np.zeros(1, np.int64),
            found.ids[None, :],
            found.scores[None, :],
            np.array([len(found.ids)]),
        )
        releases = self._live.releases
        looked_at = self.after + (n if seen is None else seen)
        if releases is not None and (releases.parameters.places(looked_at) >= self.after).any():
            columns = np.flatnonzero(~self._releases_left)
            gone = csr_matrix(
                (np.ones(len(columns), np.float32), columns, [0, len(columns)]),
                shape=(1, len(releases.tracks)),
            )
            factors = self._scored.factors[None, :]
            block = releases.place(block, factors, gone, after=self.after)
        self.after += len(found.ids)
        self._came = block.tracks[0]
        return Ranked(block.tracks[0, :seen], block.scores[0, :seen])


def _ids(ids: Collection[int]) -> NDArray[np.int64]:
    return np.fromiter(ids, dtype=np.int64, count=len(ids))


def _strike(ids: NDArray[np.int64], tracks: NDArray[np.int64], left: NDArray[np.bool_]) -> None:
    """Set to false what is of some tracks, ascending, among some ids in any order."""
    if len(tracks) and len(ids):
        places = np.minimum(np.searchsorted(tracks, ids), len(tracks) - 1)
        left[places[tracks[places] == ids]] = False
