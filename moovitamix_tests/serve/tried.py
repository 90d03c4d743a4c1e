"""The small world with versions that can be tried against its champion."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import redis

from moovitamix.recommend import registry
from moovitamix.recommend.als import AlsParameters, fit_als
from moovitamix.recommend.artifacts import store_model
from moovitamix.recommend.experiments import Experiment
from moovitamix.recommend.interactions import read_interactions
from moovitamix.recommend.matrix import MatrixParameters
from moovitamix.recommend.matrix_building import build_matrix
from moovitamix.resources import Lake, Warehouse
from moovitamix.serve.experiment import start_experiment
from moovitamix.serve.generations import Generation
from moovitamix_tests.serve.world import AS_OF, NAMESPACE, World

SALT = "0123456789abcdef"


@dataclass(frozen=True)
class Versions:
    """Two versions beside the champion.

    Attributes:
        alike: Needs the current matrix, with other factors.
        other: Needs a matrix of its own.
    """

    alike: int
    other: int


def register_rivals(world: World, warehouse: Warehouse, lake: Lake) -> Versions:
    """Give the users their listens as rows, and fit two more versions to them."""
    moment = datetime(2026, 11, 20, 12)  # noqa: DTZ001 - the warehouse's moments have no zone
    rows = [
        (user, track, moment, moment)
        for user in world.matrix.users.tolist()
        for track in sorted(world.heard_by(user))
    ]
    with warehouse.connect() as connection, connection.cursor() as cursor:
        cursor.executemany(
            """INSERT INTO listen_history (user_id, track_id, listened_at, recorded_at, nth)
               VALUES (%s, %s, %s, %s, 1)""",
            rows,
        )
    plays = read_interactions(warehouse, AS_OF)
    found = []
    for run, parameters in (
        ("alike", world.champion.matrix_parameters),
        ("other", MatrixParameters(weighting="binary")),
    ):
        model = fit_als(
            build_matrix(plays, parameters, AS_OF),
            AlsParameters(factors=4, iterations=5, alpha=20.0, regularization=1.0),
        )
        with warehouse.connect() as connection:
            found.append(
                registry.register(
                    connection,
                    run_id=run,
                    as_of=AS_OF,
                    pull="p1",
                    matrix_fingerprint=model.matrix_fingerprint,
                    parameters={},
                    artifact=store_model(lake.open(), run, model),
                ).version
            )
    return Versions(*found)


def start(
    warehouse: Warehouse,
    lake: Lake,
    client: redis.Redis,
    challenger: int,
    *,
    share: float = 0.5,
    days: float | None = None,
    prefix: str = NAMESPACE,
) -> tuple[Experiment, Generation]:
    """Begin an experiment, the same division each time."""
    return start_experiment(
        warehouse,
        lake.open(),
        client,
        prefix,
        challenger=challenger,
        share=share,
        salt=SALT,
        by="Zoë",
        reason=None,
        days=days,
        tell=lambda _: None,
    )
