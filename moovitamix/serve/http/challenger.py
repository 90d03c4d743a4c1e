"""Keeps an API process up to date with the challenger while an experiment runs.

When its factors rank is told in `tiers.py`, who calls this in the background in `refresh.py`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from moovitamix.errors import NothingToDo
from moovitamix.recommend.archive import DamagedArtifact
from moovitamix.recommend.artifacts import load_matrix, matrix_name
from moovitamix.recommend.champion import load_version, read_recent_plays
from moovitamix.serve.arms import renew_challenger, served_generations
from moovitamix.serve.generations import Generation
from moovitamix.serve.http.folding import FoldingKept
from moovitamix.serve.http.live import LiveModel
from moovitamix.serve.http.live_keeping import read_live_releases

if TYPE_CHECKING:
    import redis

    from moovitamix.ingest.lake import LakeStore
    from moovitamix.recommend.champion import Champion
    from moovitamix.recommend.matrix import UserItemMatrix
    from moovitamix.resources import Warehouse
    from moovitamix.serve.http.world import World

log = logging.getLogger(__name__)


class Challenger:
    """Lets the challenger's generation live on, and loads its factors into a world.

    Args:
        world: What is kept up to date.
        warehouse: With the registry.
        lake: With the factors, and the matrix where it is not the champion's.
        folds: Whether lists are made anew in this process.
    """

    def __init__(
        self, world: World, warehouse: Warehouse, lake: LakeStore, *, folds: bool = True
    ) -> None:
        self._world = world
        self._warehouse = warehouse
        self._lake = lake
        self._folds = folds
        self._generation: Generation | None = None
        self._folding = FoldingKept(warehouse, world)
        # What was loaded for: a generation, beside the champion's matrix; None: nothing yet.
        self._loaded: tuple[str, UserItemMatrix | None] | None = None

    def look(self, client: redis.Redis, prefix: str) -> None:
        """Find out which generation is the challenger's, and prolong it near its end.

        Raises:
            StoreUnavailable: When Redis does not answer or refuses.
        """
        renew_challenger(client, prefix)
        self._generation = served_generations(client, prefix).get("challenger")

    def load(self) -> None:
        """Load the factors of the challenger found last; let go of them when there is none.

        They are loaded anew when the champion's were: after an erasure, which changes the matrix
        and no name. Where the matrix is gone by it, no factors are held.

        Raises:
            StoreUnavailable: As `load_challenger`.
        """
        world, generation = self._world, self._generation
        if generation is None:
            self._let_go()
            return
        loaded, champion = self._loaded, world.live
        beside = None if champion is None else champion.matrix
        if loaded is None or loaded[0] != generation.name or loaded[1] is not beside:
            self._let_go()
            try:
                live = load_challenger(self._warehouse, self._lake, generation, champion)
            except (NothingToDo, DamagedArtifact) as error:
                log.warning("The challenger's lists are all there is of it. %s", error)
            else:
                world.live_challenger = (generation.name, live)
            self._loaded = (generation.name, beside)
        if world.live_challenger is not None and self._folds:
            live = world.live_challenger[1]
            self._folding.keep(live, generation.name)
            world.folding_challenger = self._folding.folding

    def _let_go(self) -> None:
        self._world.live_challenger = self._world.folding_challenger = None
        self._loaded = None
        self._folding.let_go()


def load_challenger(
    warehouse: Warehouse, lake: LakeStore, generation: Generation, live: LiveModel | None
) -> LiveModel:
    """The version of a generation, with the matrix to fold users in from.

    That is the champion's where it is made alike, else the one that the lists were made from. An
    erasure removes the latter: then there is none until the next publication.

    Args:
        warehouse: With the registry, the plays that the blend may ask for, and the new releases.
        lake: With the factors, and the matrix where it is not the champion's.
        generation: The challenger's.
        live: The champion's, whose matrix is shared where it will do.

    Raises:
        NothingToDo: When there is no such version.
        StoreUnavailable: When a store does not answer.
        DamagedArtifact: When a file is gone or damaged.
    """
    challenger = load_version(warehouse, lake, generation.model_version)
    matrix = challengers_matrix(challenger, lake, generation, None if live is None else live.matrix)
    recent = read_recent_plays(warehouse, challenger, matrix)
    releases = read_live_releases(warehouse, challenger, matrix)
    return LiveModel(challenger, matrix, recent, releases, generation.list_length).prepare()


def challengers_matrix(
    challenger: Champion, lake: LakeStore, generation: Generation, current: UserItemMatrix | None
) -> UserItemMatrix:
    """The matrix of a challenger, as `load_challenger` tells; `current` is the champion's.

    Raises:
        StoreUnavailable: When the lake does not answer.
        DamagedArtifact: When the file is gone or damaged.
    """
    if current is not None and current.parameters == challenger.matrix_parameters:
        return current
    return load_matrix(lake, matrix_name(generation.as_of, generation.matrix_fingerprint))
