"""The champion with its artifact, as `serve` needs it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from moovitamix.errors import NothingToDo
from moovitamix.recommend import archive, registry
from moovitamix.recommend.als import AlsModel
from moovitamix.recommend.artifacts import load_model
from moovitamix.recommend.blend import ALS_ALONE, BlendParameters
from moovitamix.recommend.interactions import read_interactions
from moovitamix.recommend.matrix import MatrixParameters, UserItemMatrix
from moovitamix.recommend.matrix_building import build_matrix
from moovitamix.recommend.new_releases import NO_RELEASES, NewReleases, ReleaseParameters
from moovitamix.recommend.registry import Algorithm, ModelVersion
from moovitamix.recommend.track_features import read_track_features

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
        blend: What counts beside them where repeats are allowed.
        releases: Which places of a list are kept for new releases.
    """

    version: int
    algorithm: Algorithm
    provisional: bool
    as_of: date
    model: AlsModel
    blend: BlendParameters = ALS_ALONE
    releases: ReleaseParameters = NO_RELEASES

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
    return _with_model(found, lake)


def load_version(warehouse: Warehouse, lake: LakeStore, version: int) -> Champion:
    """Any version, as it would be served if it were the champion.

    Raises:
        NothingToDo: When there is no such version.
        DamagedArtifact: As `load_champion`.
    """
    with warehouse.connect() as connection:
        found = registry.find(connection, version)
    return _with_model(found, lake)


def _with_model(found: ModelVersion, lake: LakeStore) -> Champion:
    model = load_model(lake, found.artifact)
    if model.matrix_fingerprint != found.matrix_fingerprint:
        raise archive.damaged("ALS model", f"{found.artifact} is not that of v{found.version}")
    blend = BlendParameters.of(found.parameters)
    return Champion(
        found.version,
        found.algorithm,
        found.provisional,
        found.as_of,
        model,
        blend,
        ReleaseParameters.of(found.parameters),
    )


def read_recent_plays(
    warehouse: Warehouse, champion: Champion, matrix: UserItemMatrix
) -> UserItemMatrix | None:
    """The own plays that the champion's blend asks for, up to the day of a matrix; else None."""
    if champion.algorithm != "als" or not champion.blend.own_plays:
        return None
    plays = read_interactions(warehouse, matrix.as_of)
    return build_matrix(plays, champion.blend.recent, matrix.as_of)


def read_new_releases(
    warehouse: Warehouse, champion: Champion, matrix: UserItemMatrix, exclude: NDArray[np.int64]
) -> NewReleases | None:
    """The new releases on the day of a matrix; None where the champion keeps no place for any.

    Popularity keeps none: it is served where the model is not to be trusted.

    Args:
        warehouse: Knows the tracks.
        champion: Whose lists they are for.
        matrix: What the lists are made from.
        exclude: Track ids that no list may hold (withdrawn ones).

    Raises:
        StoreUnavailable: When Postgres does not answer.
    """
    if champion.algorithm != "als" or not champion.releases.every:
        return None
    features = read_track_features(warehouse, matrix.as_of)
    return NewReleases.find(champion.model, features, champion.releases).without(exclude)
