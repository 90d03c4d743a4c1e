"""Publishes a version's generation with all that the stores know: the asset, and an experiment.

How a generation is filled is told in `publish.py`, how it is brought up to what was told since its
matrix in `catch_up.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl
import redis

from moovitamix.recommend.champion import Champion, read_recent_plays
from moovitamix.recommend.matrix import UserItemMatrix
from moovitamix.serve.catalogue import read_catalogue, read_wanted_releases
from moovitamix.serve.catch_up import catch_up
from moovitamix.serve.fold import Folding
from moovitamix.serve.generations import Generation
from moovitamix.serve.publish import Publication, publish_generation
from moovitamix.settings import get_settings
from moovitamix.warehouse.feedback import read_hides

if TYPE_CHECKING:
    from moovitamix.resources import Warehouse


@dataclass(frozen=True, kw_only=True)
class Whole:
    """What was published.

    Attributes:
        publication: The lists.
        releases: How many new releases had places of their own.
        hidden: How many pairs of user and track are hidden.
        caught_up: How many users had told more than the matrix knows.
    """

    publication: Publication
    releases: int
    hidden: int
    caught_up: int


def publish_version(
    warehouse: Warehouse,
    client: redis.Redis,
    prefix: str,
    version: Champion,
    matrix: UserItemMatrix,
    tell: Callable[[str], None],
    *,
    current: bool = True,
) -> Whole:
    """Publish the lists of a version; the caller holds erasures.

    Args:
        warehouse: Catalogue, hides, late plays, what was told.
        client: Answers bytes.
        prefix: What every key begins with, without the colon.
        version: Whose lists.
        matrix: Made as the version needs it.
        tell: Takes a line of progress.
        current: Whether it is made current; else it is there beside what is.

    Raises:
        NothingToDo: When the matrix was not made as the version needs it.
        StoreUnavailable: When a store does not answer; what was current stays so.
        IncompleteGeneration: When Redis lost what was written; what was current stays so.
    """
    catalogue = read_catalogue(warehouse)
    releases = read_wanted_releases(warehouse, version, matrix, catalogue.withdrawn)
    folding = Folding.prepare(version, matrix, catalogue, releases)
    users = 0

    def replay(generation: Generation) -> None:
        nonlocal users
        present = get_settings().present
        caught_up = catch_up(
            warehouse.connect, client, prefix, generation, folding, present, tell=tell
        )
        users += caught_up.users

    def hides_now() -> pl.DataFrame:
        with warehouse.connect() as connection:
            return read_hides(connection)

    publication = publish_generation(
        client,
        prefix,
        champion=version,
        matrix=matrix,
        catalogue=catalogue,
        tell=tell,
        recent=read_recent_plays(warehouse, version, matrix),
        releases=releases,
        replay=replay,
        hides_now=hides_now,
        current=current,
    )
    return Whole(
        publication=publication,
        releases=0 if releases is None else len(releases.tracks),
        hidden=len(catalogue.hides),
        caught_up=users,
    )
