"""Keeps an API process up to date with the challenger while an experiment runs.

When its factors rank is told in `tiers.py`, who calls this in the background in `refresh.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moovitamix.recommend.artifacts import load_matrix, matrix_name
from moovitamix.recommend.champion import load_version, read_recent_plays
from moovitamix.serve.arms import renew_challenger, served_generations
from moovitamix.serve.fold import load_folding
from moovitamix.serve.generations import Generation
from moovitamix.serve.http.live import LiveModel

if TYPE_CHECKING:
    import redis

    from moovitamix.ingest.lake import LakeStore
    from moovitamix.resources import Warehouse
    from moovitamix.serve.http.world import World


class Challenger:
    """Lets the challenger's generation live on, and loads its factors into a world.

    Args:
        world: What is kept up to date.
        warehouse: With the registry.
        lake: With the factors, and the matrix where it is not the champion's.
    """

    def __init__(self, world: World, warehouse: Warehouse, lake: LakeStore) -> None:
        self._world = world
        self._warehouse = warehouse
        self._lake = lake
        self._generation: Generation | None = None

    def look(self, client: redis.Redis, prefix: str) -> None:
        """Find out which generation is the challenger's, and prolong it near its end.

        Raises:
            StoreUnavailable: When Redis does not answer or refuses.
        """
        renew_challenger(client, prefix)
        self._generation = served_generations(client, prefix).get("challenger")

    def load(self) -> None:
        """Load the factors of the challenger found last; let go of them when there is none.

        Raises:
            MoovitaMixError: As `load_challenger`.
        """
        generation, loaded = self._generation, self._world.live_challenger
        if generation is None:
            self._world.live_challenger = self._world.folding_challenger = None
        elif loaded is None or loaded[0] != generation.name:
            live = load_challenger(self._warehouse, self._lake, generation, self._world.live)
            self._world.live_challenger = (generation.name, live)
            self._world.folding_challenger = load_folding(
                self._warehouse, live.champion, live.matrix
            )


def load_challenger(
    warehouse: Warehouse, lake: LakeStore, generation: Generation, live: LiveModel | None
) -> LiveModel:
    """The version of a generation, with the matrix to fold users in from.

    That is the champion's where it is made alike, else the one that the lists were made from. An
    erasure removes the latter: then there is none until the next publication.

    Args:
        warehouse: With the registry, and the plays that the blend may ask for.
        lake: With the factors, and the matrix where it is not the champion's.
        generation: The challenger's.
        live: The champion's, whose matrix is shared where it will do.

    Raises:
        NothingToDo: When there is no such version.
        StoreUnavailable: When a store does not answer.
        DamagedArtifact: When a file is gone or damaged.
    """
    challenger = load_version(warehouse, lake, generation.model_version)
    if live is not None and live.matrix.parameters == challenger.matrix_parameters:
        matrix = live.matrix
    else:
        matrix = load_matrix(lake, matrix_name(generation.as_of, generation.matrix_fingerprint))
    recent = read_recent_plays(warehouse, challenger, matrix)
    return LiveModel(challenger, matrix, recent).prepare()
