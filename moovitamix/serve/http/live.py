"""The live tier: ranks for one user from the version's factors, and tells which listens weigh most.

The rule is the one that published lists are ranked by (`recommend/top_n.py`, `recommend/blend.py`),
for one user at a time. How a list is made of the scores is told in `live_ranking.py`, when it
answers in `tiers.py`.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from moovitamix.errors import NothingToDo
from moovitamix.recommend.blend import blended
from moovitamix.recommend.champion import (
    Champion,
    load_champion,
    load_version,
    read_recent_plays,
)
from moovitamix.recommend.matrix import UserItemMatrix, in_columns, rows_of
from moovitamix.recommend.new_releases import NewReleases
from moovitamix.serve.publish import LIST_LENGTH

if TYPE_CHECKING:
    from moovitamix.ingest.lake import LakeStore
    from moovitamix.resources import Warehouse


class Ranked(NamedTuple):
    """Tracks of highest score, best first.

    Attributes:
        ids: int64.
        scores: float32.
    """

    ids: NDArray[np.int64]
    scores: NDArray[np.float32]


class Scored(NamedTuple):
    """What ranks for a user.

    Attributes:
        scores: float32, of all tracks of the version.
        factors: float32: the user's, which tell the way of new releases.
    """

    scores: NDArray[np.float32]
    factors: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class LiveModel:
    """A version's factors and the listens that they are folded in from, in this process.

    Attributes:
        champion: The version.
        matrix: The current one, made as the version needs it.
        recent: Own plays by the version's blend, where they count.
        releases: What has places of its own, withdrawn ones among it; None: nothing.
        list_length: N: how long a published list is.
    """

    champion: Champion
    matrix: UserItemMatrix
    recent: UserItemMatrix | None = None
    releases: NewReleases | None = None
    list_length: int = LIST_LENGTH

    @cached_property
    def _values(self) -> csr_matrix:
        return in_columns(self.matrix, self.champion.model.tracks)

    @cached_property
    def _own(self) -> csr_matrix | None:
        if self.recent is None or not self.champion.blend.own_plays:
            return None
        return rows_of(self.recent, self.matrix.users, self.champion.model.tracks)

    @cached_property
    def _gram(self) -> NDArray[np.float64]:
        """YᵀY + λI, the part of equation 4 that all users share."""
        model = self.champion.model
        factors = model.item_factors.astype(np.float64)
        ridge = model.parameters.regularization * np.eye(factors.shape[1])
        shared: NDArray[np.float64] = factors.T @ factors + ridge
        return shared

    @cached_property
    def _directions(self) -> NDArray[np.float32]:
        factors = self.champion.model.item_factors
        norms = np.linalg.norm(factors, axis=1, keepdims=True)
        found: NDArray[np.float32] = factors / np.maximum(norms, np.finfo(np.float32).tiny)
        return found

    @property
    def tracks(self) -> NDArray[np.int64]:
        """int64, ascending: the tracks that can be ranked."""
        return self.champion.model.tracks

    def prepare(self) -> LiveModel:
        """Work out what all users share, so that no request does."""
        assert self._values is not None and self._gram is not None  # noqa: S101, PT018 - computes
        assert self._directions is not None  # noqa: S101 - computes
        _ = self._own
        return self

    def renewed(self, releases: NewReleases | None, list_length: int) -> LiveModel:
        """The same with other new releases, and all that has been worked out."""
        found = copy(self)
        object.__setattr__(found, "releases", releases)
        object.__setattr__(found, "list_length", list_length)
        return found

    def heard(self, user: int) -> NDArray[np.int64]:
        """The tracks that a user has heard, as far as the matrix knows."""
        row = self._row(user)
        if row is None:
            return np.empty(0, dtype=np.int64)
        indptr, indices = self.matrix.values.indptr, self.matrix.values.indices
        heard: NDArray[np.int64] = self.matrix.tracks[indices[indptr[row] : indptr[row + 1]]]
        return heard

    def score(self, user: int, *, repeats: bool) -> Scored | None:
        """A user's scores of all tracks of the version; None when it knows none of their listens.

        Args:
            user: Any id.
            repeats: By the blend, heard tracks among them; else these are minus infinity.
        """
        found = self._equation(user)
        if found is None:
            return None
        row, columns, confidences, system = found
        factors = self.champion.model.item_factors
        solution = np.linalg.solve(system, factors[columns].T.astype(np.float64) @ confidences)
        own = solution.astype(np.float32)
        scores: NDArray[np.float32] = factors @ own
        if not repeats:
            scores[columns] = -np.inf
        elif self._own is not None:
            best = np.maximum(scores.max(initial=0), np.finfo(np.float32).tiny)
            scores = blended((scores / best)[None, :], self._own[row], self.champion.blend)[0]
        return Scored(scores, own)

    def similarity(self, track: int) -> NDArray[np.float32] | None:
        """Cosines of a track with all tracks of the version.

        None when neither the version nor the new releases know it.
        """
        place = _place_of(track, self.tracks)
        if place is not None:
            cosines: NDArray[np.float32] = self._directions @ self._directions[place]
            cosines[place] = -np.inf
            return cosines
        place = None if self.releases is None else _place_of(track, self.releases.tracks)
        if self.releases is None or place is None:
            return None
        of_release: NDArray[np.float32] = self._directions @ self.releases.directions[place]
        return of_release

    def explain(self, user: int, tracks: NDArray[np.int64]) -> dict[int, Ranked]:
        """What each listen of a user adds to the scores of some tracks, most first.

        Equations 6 and 7 of Hu, Koren & Volinsky (ICDM 2008): the score of track i is
        Σ_j c_uj · y_iᵀ(YᵀCᵘY + λI)⁻¹y_j over the tracks j that the user has heard, so that the
        contributions add up to it.

        Args:
            user: Any id.
            tracks: int64 ids; those that the version does not know are left out of the answer.

        Returns:
            By track: the tracks heard, and what each adds.
        """
        found = self._equation(user)
        if found is None:
            return {}
        _, columns, confidences, system = found
        factors = self.champion.model.item_factors.astype(np.float64, copy=False)
        weighed = np.linalg.solve(system, factors[columns].T * confidences)
        told = {}
        for track in tracks.tolist():
            place = _place_of(track, self.tracks)
            if place is not None:
                adds = (factors[place] @ weighed).astype(np.float32)
                order = np.argsort(-adds, kind="stable")
                told[track] = Ranked(self.tracks[columns[order]], adds[order])
        return told

    def _row(self, user: int) -> int | None:
        return _place_of(user, self.matrix.users)

    def _equation(
        self, user: int
    ) -> tuple[int, NDArray[np.int32], NDArray[np.float64], NDArray[np.float64]] | None:
        """A user's row, columns and confidences c_uj, and YᵀCᵘY + λI; None without any column."""
        row = self._row(user)
        if row is None:
            return None
        first, last = self._values.indptr[row], self._values.indptr[row + 1]
        if first == last:
            return None
        columns = self._values.indices[first:last]
        model = self.champion.model
        confidences = model.parameters.alpha * self._values.data[first:last].astype(np.float64)
        heard = model.item_factors[columns].astype(np.float64)
        return (
            row,
            columns,
            confidences,
            self._gram + heard.T @ (heard * (confidences - 1)[:, None]),
        )


def _place_of(wanted: int, ids: NDArray[np.int64]) -> int | None:
    """Where an id is among ascending ones; None where it is not."""
    place = int(np.searchsorted(ids, wanted))
    return place if place < len(ids) and ids[place] == wanted else None


def best_of(
    tracks: NDArray[np.int64],
    scores: NDArray[np.float32],
    allowed: NDArray[np.bool_] | None,
    n: int,
) -> Ranked:
    """The n allowed tracks of highest score; equals by ascending track id.

    Args:
        tracks: int64, ascending.
        scores: float32, of each track; minus infinity for what may not be in a list.
        allowed: Of each track; None: all.
        n: Length of the list.
    """
    candidates = np.isfinite(scores) if allowed is None else np.isfinite(scores) & allowed
    places = np.flatnonzero(candidates)
    found = scores[places]
    if len(places) > n:
        least = np.partition(found, -n)[-n]
        kept = found >= least
        places, found = places[kept], found[kept]
    order = np.lexsort((places, -found))[:n]
    return Ranked(tracks[places[order]], found[order])


def load_live_model(
    warehouse: Warehouse, lake: LakeStore, matrix: UserItemMatrix, version: int | None
) -> LiveModel:
    """A version with what is needed to fold users in.

    Args:
        warehouse: With the registry, and the plays that the blend may ask for.
        lake: With the factors.
        matrix: The current one.
        version: Which; the champion when None, or when the registry has no such version.

    Raises:
        NothingToDo: When there is no champion, or the matrix was not made as the version needs it.
        StoreUnavailable: When a store does not answer, or a file is damaged.
    """
    champion = load_served(warehouse, lake, version)
    if matrix.parameters != champion.matrix_parameters:
        raise NothingToDo(
            f"The current matrix was not made as v{champion.version} needs it. "
            "Materialize `user_item_matrix` again: `moovitamix run`."
        )
    recent = read_recent_plays(warehouse, champion, matrix)
    return LiveModel(champion, matrix, recent).prepare()


def load_served(warehouse: Warehouse, lake: LakeStore, version: int | None) -> Champion:
    """A version; the champion when None, or when the registry has no such version.

    Raises:
        NothingToDo: When there is no champion.
        StoreUnavailable: When a store does not answer, or a file is damaged.
    """
    if version is None:
        return load_champion(warehouse, lake)
    try:
        return load_version(warehouse, lake, version)
    except NothingToDo:
        return load_champion(warehouse, lake)
