"""New releases: tracks of which the model knows too little get a few fixed places of each list.

Their factors are made in `attribute_factors.py`. Everything else in a list is ranked elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from moovitamix.errors import SettingsError
from moovitamix.recommend.als import FEW_ROWS, AlsModel
from moovitamix.recommend.attribute_factors import AttributeFactors
from moovitamix.recommend.blas import one_thread
from moovitamix.recommend.top_n import TopN, rank, rank_scores


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseParameters:
    """Which places of a list are kept for new releases, and what is one. See `docs/model.md`.

    Attributes:
        first: The first place that is kept, from 1.
        every: After it, each so many places one more; 0: no place is kept at all.
        max_age_days: A track is a new release until it is older,
        enough_listeners: or until so many users have heard it and the model knows it.
    """

    first: int = 20
    every: int = 20
    max_age_days: int = 28
    enough_listeners: int = 10

    def __post_init__(self) -> None:
        if self.first < 1 or min(self.every, self.max_age_days, self.enough_listeners) < 0:
            raise SettingsError(
                "first must be at least 1, what else there is at least 0: set it so."
            )

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> ReleaseParameters:
        """Those of a version's parameters; none for versions of before there was a share."""
        return cls(**parameters["releases"]) if "releases" in parameters else NO_RELEASES

    def places(self, n: int) -> NDArray[np.int64]:
        """The places of a list of n that are kept, from 0."""
        return np.arange(self.first - 1, n if self.every else 0, max(self.every, 1))


NO_RELEASES = ReleaseParameters(every=0)


@dataclass(frozen=True, eq=False, slots=True)
class NewReleases:
    """The new releases of a day.

    Attributes:
        tracks: int64 ids, ascending.
        directions: float32 [tracks, factors], each of length 1.
        unheard: [tracks]: which of them nobody has heard.
        parameters: Of the share.
    """

    tracks: NDArray[np.int64]
    directions: NDArray[np.float32]
    unheard: NDArray[np.bool_]
    parameters: ReleaseParameters

    @classmethod
    def find(
        cls,
        model: AlsModel,
        features: pl.DataFrame,
        parameters: ReleaseParameters,
    ) -> NewReleases:
        """The tracks that are young enough and of which the model has no factors, or poor ones.

        Those of whose artist and genres the model knows none are left out: nothing tells whom
        they are for.

        Args:
            model: Whose tracks' factors the directions are made of.
            features: Of all tracks, see `track_features.py`.
            parameters: Of the share.
        """
        young = features.filter(
            pl.col("age_days") <= (parameters.max_age_days if parameters.every else -1),
            ~pl.col("track_id").is_in(model.tracks)
            | (pl.col("listeners") < parameters.enough_listeners),
        ).sort("track_id")
        if young.is_empty():
            return cls(
                np.empty(0, np.int64),
                np.empty((0, model.item_factors.shape[1]), np.float32),
                np.empty(0, np.bool_),
                parameters,
            )
        directions = AttributeFactors.fit(model, features).directions(young)
        known = directions.any(axis=1)
        tracks = young["track_id"].to_numpy()[known]
        unheard = (young["listeners"] == 0).to_numpy()[known]
        return cls(tracks, directions[known], unheard, parameters)

    def without(self, tracks: NDArray[np.int64]) -> NewReleases:
        """The same without some tracks (withdrawn ones)."""
        left = ~np.isin(self.tracks, tracks)
        return replace(
            self,
            tracks=self.tracks[left],
            directions=self.directions[left],
            unheard=self.unheard[left],
        )

    def place(
        self, block: TopN, factors: NDArray[np.float32], heard: csr_matrix, *, after: int = 0
    ) -> TopN:
        """A block of users' lists with the users' own new releases at the places kept for them.

        A user's releases are those that point the user's way and that the user has not heard,
        nearest first. One that is in the list anyhow needs no place. The places go by turns to what
        nobody has heard and to what few have, lest the many of the latter leave none to the former.

        Args:
            block: Lists by the model.
            factors: float32 [rows, factors]: of the users of the block.
            heard: CSR [rows, tracks]: which of `tracks` they have heard.
            after: Where the lists begin: so many places of a longer one come before them.
        """
        places = self.parameters.places(after + block.tracks.shape[1]) - after
        places = places[places >= 0]
        if not len(places) or not len(self.tracks):
            return block
        ranks = self._rank_few if len(block.ids) < FEW_ROWS else self._rank
        ranked = ranks(block, factors, heard, len(places))
        tracks = np.concatenate([found.tracks for found in ranked], axis=1)
        sound = np.concatenate([found.scores > 0 for found in ranked], axis=1)
        turns = np.concatenate([np.arange(found.tracks.shape[1]) for found in ranked])
        order = np.argsort(np.where(sound, turns, len(places)), axis=1, kind="stable")
        tracks = np.take_along_axis(tracks, order, axis=1)
        return with_releases(block, tracks, np.count_nonzero(sound, axis=1), places)

    def similar(self, model: AlsModel, n: int, *, exclude: NDArray[np.int64] | None = None) -> TopN:
        """For each one that the model does not know, the n of its tracks that point the same way.

        Those that it knows are among `top_n.similar_tracks`, as is the rest of the rule.
        """
        lengths = np.linalg.norm(model.item_factors, axis=1, keepdims=True)
        directions = model.item_factors / np.maximum(lengths, np.finfo(np.float32).tiny)
        unknown = ~np.isin(self.tracks, model.tracks)
        return rank(
            self.tracks[unknown],
            self.directions[unknown],
            directions,
            model.tracks,
            n,
            exclude=exclude,
        )

    def _rank(
        self, block: TopN, factors: NDArray[np.float32], heard: csr_matrix, n: int
    ) -> list[TopN]:
        """The best n for each user, neither heard nor listed, of each of the two parts."""
        rows, columns = self._listed(block)
        listed = csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=heard.shape)
        leave_out = (heard + listed).tocsr()
        return [
            rank(
                block.ids,
                factors,
                self.directions[part],
                self.tracks[part],
                n,
                leave_out=leave_out[:, part],
            )
            for part in self._parts()
        ]

    def _rank_few(
        self, block: TopN, factors: NDArray[np.float32], heard: csr_matrix, n: int
    ) -> list[TopN]:
        """The same where there are too few users for matrices to be worth their making."""
        with one_thread():
            scores = factors @ self.directions.T
        scores[self._listed(block)] = -np.inf
        scores[np.repeat(np.arange(len(factors)), np.diff(heard.indptr)), heard.indices] = -np.inf
        return [
            rank_scores(block.ids, scores[:, part], self.tracks[part], n) for part in self._parts()
        ]

    def _parts(self) -> list[NDArray[np.intp]]:
        """What nobody has heard and what few have, where there is any."""
        parts = np.flatnonzero(self.unheard), np.flatnonzero(~self.unheard)
        return [part for part in parts if len(part)]

    def _listed(self, block: TopN) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The rows and places of those that the lists hold."""
        columns = np.minimum(np.searchsorted(self.tracks, block.tracks), len(self.tracks) - 1)
        held = self.tracks[columns] == block.tracks
        held &= np.arange(block.tracks.shape[1]) < block.lengths[:, None]
        rows, _ = np.nonzero(held)
        return rows, columns[held]


def with_releases(
    block: TopN,
    releases: NDArray[np.int64],
    counts: NDArray[np.int64],
    places: NDArray[np.int64],
) -> TopN:
    """Lists with some tracks put at given places; what follows moves down, the end falls out.

    No list becomes longer or shorter, and one without entries stays so. A track that is put in has
    the score of the one before it (at the first place: of the one after it), so that scores still
    fall: it was placed, not compared.

    Args:
        block: The lists.
        releases: int64 [rows, any]: what is put in, best first; none of it is in the row's list.
        counts: int64 [rows]: how many of them count.
        places: int64, ascending: from 0; the i-th release comes to the i-th place.
    """
    rows, n = block.tracks.shape
    width = min(releases.shape[1], len(places))
    places = places[:width]
    # As many as there are, and as have their place before the end of the list.
    put = np.minimum(counts, np.searchsorted(places, block.lengths))
    target = np.arange(n)
    before = np.minimum(np.searchsorted(places, target), put[:, None])
    source = target - before
    tracks = np.take_along_axis(block.tracks, source, axis=1)
    # A kept place takes the score of its left neighbour, which has moved as far as it has.
    nth = np.searchsorted(places, target)
    is_place = np.zeros(n, dtype=np.bool_)
    is_place[places[places < n]] = True
    kept = is_place & (nth < put[:, None])
    scores = np.take_along_axis(block.scores, np.where(kept, np.maximum(source - 1, 0), source), 1)
    nth = np.broadcast_to(np.minimum(nth, max(width - 1, 0)), (rows, n))
    if width:
        tracks = np.where(kept, np.take_along_axis(releases, nth, axis=1), tracks)
    return TopN(block.ids, tracks, scores, block.lengths)
