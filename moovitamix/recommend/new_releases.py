"""New releases: tracks that the model does not know yet get a few fixed places of each list.

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
from moovitamix.recommend.als import AlsModel
from moovitamix.recommend.attribute_factors import AttributeFactors
from moovitamix.recommend.top_n import TopN, rank


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseParameters:
    """Which places of a list are kept for new releases, and what is one. See `docs/model.md`.

    Attributes:
        first: The first place that is kept, from 1.
        every: After it, each so many places one more; 0: no place is kept at all.
        max_age_days: A track is a new release until it is older.
    """

    first: int = 20
    every: int = 20
    max_age_days: int = 28

    def __post_init__(self) -> None:
        if self.first < 1 or self.every < 0 or self.max_age_days < 0:
            raise SettingsError(
                "first must be at least 1, every and max_age_days at least 0: set them so."
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
        tracks: int64 ids, ascending; none of them is a track of the model.
        directions: float32 [tracks, factors], each of length 1.
        parameters: Of the share.
    """

    tracks: NDArray[np.int64]
    directions: NDArray[np.float32]
    parameters: ReleaseParameters

    @classmethod
    def find(
        cls,
        model: AlsModel,
        features: pl.DataFrame,
        parameters: ReleaseParameters,
    ) -> NewReleases:
        """The tracks that are young enough and of which the model has no factors.

        Those of whose artist and genres the model knows none are left out: nothing tells whom
        they are for.

        Args:
            model: Whose tracks' factors the directions are made of.
            features: Of all tracks, see `track_features.py`.
            parameters: Of the share.
        """
        young = features.filter(
            pl.col("age_days") <= (parameters.max_age_days if parameters.every else -1),
            ~pl.col("track_id").is_in(model.tracks),
        ).sort("track_id")
        if young.is_empty():
            return cls(
                np.empty(0, np.int64),
                np.empty((0, model.item_factors.shape[1]), np.float32),
                parameters,
            )
        directions = AttributeFactors.fit(model, features).directions(young)
        known = directions.any(axis=1)
        return cls(young["track_id"].to_numpy()[known], directions[known], parameters)

    def without(self, tracks: NDArray[np.int64]) -> NewReleases:
        """The same but for some tracks (withdrawn ones)."""
        left = ~np.isin(self.tracks, tracks)
        return replace(self, tracks=self.tracks[left], directions=self.directions[left])

    def place(self, block: TopN, factors: NDArray[np.float32], heard: csr_matrix) -> TopN:
        """A block of users' lists with the users' own new releases at the places kept for them.

        A user's releases are those unheard ones that point the user's way, nearest first.

        Args:
            block: Lists of tracks of the model.
            factors: float32 [rows, factors]: of the users of the block.
            heard: CSR [rows, tracks]: which of `tracks` they have heard, for some may have been
                since the model was fitted.
        """
        places = self.parameters.places(block.tracks.shape[1])
        if not len(places) or not len(self.tracks):
            return block
        releases = rank(
            block.ids,
            factors,
            self.directions,
            self.tracks,
            len(places),
            leave_out=heard,
        )
        sound = (releases.scores > 0).sum(axis=1)
        return with_releases(block, releases.tracks, np.minimum(sound, releases.lengths), places)

    def similar(self, model: AlsModel, n: int, *, exclude: NDArray[np.int64] | None = None) -> TopN:
        """For each new release the n tracks of the model that point the same way; see `top_n`."""
        lengths = np.linalg.norm(model.item_factors, axis=1, keepdims=True)
        directions = model.item_factors / np.maximum(lengths, np.finfo(np.float32).tiny)
        return rank(self.tracks, self.directions, directions, model.tracks, n, exclude=exclude)


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
    kept = np.isin(target, places) & (nth < put[:, None])
    scores = np.take_along_axis(block.scores, np.where(kept, np.maximum(source - 1, 0), source), 1)
    nth = np.broadcast_to(np.minimum(nth, max(width - 1, 0)), (rows, n))
    if width:
        tracks = np.where(kept, np.take_along_axis(releases, nth, axis=1), tracks)
    return TopN(block.ids, tracks, scores, block.lengths)
