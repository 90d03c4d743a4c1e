"""The champion with its artifact, as `serve` needs it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from moovitamix.errors import NothingToDo
from moovitamix.recommend import archive, registry
from moovitamix.recommend.als import AlsModel
from moovitamix.recommend.artifacts import load_model
from moovitamix.recommend.matrix import MatrixParameters
from moovitamix.recommend.registry import Algorithm

if TYPE_CHECKING:
    from moovitamix.ingest.lake import LakeStore
    from moovitamix.resources import Warehouse


@dataclass(frozen=True, eq=False, slots=True)
class Champion:
    """What is served.

    Attributes:
        version: In the registry.
        algorithm: "als": lists by the model; "popularity": the model lost to popularity, so that
            lists are by popularity (`popularity.score_popular`), under this version's name.
        provisional: Promoted without proof that it beats popularity.
        as_of: The last day of the data it was fitted to.
        model: The factors.
    """

    version: int
    algorithm: Algorithm
    provisional: bool
    as_of: date
    model: AlsModel

    @property
    def matrix_parameters(self) -> MatrixParameters:
        """How a matrix has to be made for this model."""
        return self.model.matrix_parameters


def load_champion(warehouse: Warehouse, lake: LakeStore) -> Champion:
    """The champion of the registry with its model from the lake.

    Raises:
        NothingToDo: When there is no champion.
        DamagedArtifact: When its artifact is gone, damaged or that of another matrix.
    """
    with warehouse.connect() as connection:
        found = registry.champion(connection)
    if found is None:
        raise NothingToDo("There is no champion yet: `moovitamix run` trains one.")
    model = load_model(lake, found.artifact)
    if model.matrix_fingerprint != found.matrix_fingerprint:
        raise archive.damaged("ALS model", f"{found.artifact} is not that of v{found.version}")
    return Champion(found.version, found.algorithm, found.provisional, found.as_of, model)
