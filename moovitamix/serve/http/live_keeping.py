"""Keeps at hand what ranks live: factors and matrix anew when either changes, new releases too.

How it ranks is told in `live.py`, who calls this in the background in `refresh.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from moovitamix.errors import NothingToDo
from moovitamix.recommend.artifacts import current_matrix, load_current_matrix
from moovitamix.recommend.champion import Champion
from moovitamix.recommend.matrix import UserItemMatrix
from moovitamix.recommend.new_releases import NewReleases
from moovitamix.serve.catalogue import read_wanted_releases
from moovitamix.serve.http.live import LiveModel, load_live_model
from moovitamix.serve.publish import LIST_LENGTH

if TYPE_CHECKING:
    from moovitamix.ingest.lake import LakeStore
    from moovitamix.resources import Warehouse
    from moovitamix.serve.generations import Generation


class LiveKept:
    """Of the champion.

    Args:
        warehouse: With registry, plays and tracks.
        lake: With factors and matrix.

    Attributes:
        live: What ranks; None: nothing does.
    """

    def __init__(self, warehouse: Warehouse, lake: LakeStore) -> None:
        self._warehouse = warehouse
        self._lake = lake
        self._loaded: tuple[str, int | None] | None = None  # of a fingerprint, a version
        self._made_for: str | None = None
        self.live: LiveModel | None = None

    def keep(self, generation: Generation | None) -> bool:
        """Bring it up to date; whether that took loading factors and matrix.

        A generation on the same matrix may be made of other tracks: then the new releases are read
        again, as its publication has read them.

        Args:
            generation: What is served; None: nothing that is known of.

        Raises:
            StoreUnavailable: When a store does not answer.
        """
        name = None if generation is None else generation.name
        length = LIST_LENGTH if generation is None else generation.list_length
        try:
            fingerprint = current_matrix(self._lake).fingerprint
            wanted = (fingerprint, None if generation is None else generation.model_version)
            live = self.live if wanted == self._loaded else None
            if live is not None and name == self._made_for:
                return False
            is_new = live is None
            if live is None:
                matrix = load_current_matrix(self._lake)
                live = load_live_model(self._warehouse, self._lake, matrix, wanted[1])
        except NothingToDo:
            self.live = self._loaded = None
            return False
        releases = read_live_releases(self._warehouse, live.champion, live.matrix)
        self.live = live.renewed(releases, length)
        self._loaded, self._made_for = wanted, name
        return is_new


def read_live_releases(
    warehouse: Warehouse, champion: Champion, matrix: UserItemMatrix
) -> NewReleases | None:
    """The new releases that a version keeps places for, withdrawn and blocked ones among them.

    Those are left out of each answer, by what is known of removals by then.

    Raises:
        StoreUnavailable: When Postgres does not answer.
    """
    return read_wanted_releases(warehouse, champion, matrix, np.empty(0, dtype=np.int64))
