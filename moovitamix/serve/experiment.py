"""Publishes what an experiment needs: a generation by the challenger, beside the current one.

What readers find is told in `arms.py`, what is recorded in `recommend/experiments.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import redis

from moovitamix.errors import MoovitaMixError, NothingToDo
from moovitamix.recommend import artifacts, experiments, registry, soundness
from moovitamix.recommend.champion import Champion, load_version
from moovitamix.recommend.experiments import Experiment
from moovitamix.recommend.interactions import stream_interactions
from moovitamix.recommend.matrix import UserItemMatrix
from moovitamix.recommend.matrix_building import build_in_blocks
from moovitamix.serve.arms import ServedExperiment, serve_experiment, withdraw_experiment
from moovitamix.serve.connection import is_of_a_cluster
from moovitamix.serve.generations import Generation, read_current
from moovitamix.serve.memory import EXPERIMENT_GENERATIONS, memory_concerns, read_memory
from moovitamix.serve.whole import publish_version

if TYPE_CHECKING:
    from moovitamix.ingest.lake import LakeStore
    from moovitamix.resources import Warehouse

Tell = Callable[[str], None]


def start_experiment(
    warehouse: Warehouse,
    lake: LakeStore,
    client: redis.Redis,
    prefix: str,
    *,
    challenger: int,
    share: float,
    salt: str,
    by: str,
    reason: str | None,
    days: float | None,
    tell: Tell,
) -> tuple[Experiment, Generation]:
    """Publish the challenger's lists, record that the experiment begins, and divide the users.

    Until the last of these everybody is answered by the champion.

    Args:
        warehouse: Holds the registry and the plays.
        lake: Holds the models and the matrix.
        client: Answers bytes.
        prefix: What every key begins with, without the colon.
        challenger: The version that is tried.
        share: Of users in its arm, between 0 and 1.
        salt: What users are divided by.
        by: Who begins it.
        reason: In their words.
        days: How long it is to run; None: not said.
        tell: Takes a line of progress.

    Returns:
        What is recorded, and the challenger's generation.

    Raises:
        NothingToDo: When an experiment runs, the version cannot be tried, the champion is not
            being served, or Redis has no room for the lists.
        DamagedArtifact: When the challenger's model cannot be read.
        StoreUnavailable: When a store does not answer or refuses.
    """
    with warehouse.connect() as connection:
        champion, _ = experiments.opponents(connection, challenger)
    _refuse_unserved(read_current(client, prefix), champion.version)
    _refuse_without_room(client, prefix)
    generation = publish_challenger(warehouse, lake, client, prefix, challenger, tell)
    with warehouse.connect() as connection:
        begun = experiments.begin(
            connection,
            champion=champion.version,
            challenger=challenger,
            share=share,
            salt=salt,
            by=by,
            reason=reason,
            days=days,
        )
    # Recorded first: killed here, the next publication serves what is recorded. The other way
    # round users would be divided by what nobody knows of.
    try:
        served = _serve(warehouse, client, prefix, begun, generation)
    except BaseException:
        with warehouse.connect() as connection:
            experiments.conclude(
                connection,
                begun,
                verdict="broken off",
                reason="Redis did not take it.",
                figures={},
                by=by,
            )
        raise
    if not served:
        raise NothingToDo(
            f"Experiment {begun.id} has ended meanwhile: `moovitamix experiment status` says why."
        )
    return begun, generation


def publish_challenger(
    warehouse: Warehouse,
    lake: LakeStore,
    client: redis.Redis,
    prefix: str,
    version: int,
    tell: Tell,
) -> Generation:
    """Publish a generation by a version, on the day of the current matrix, not made current.

    Raises:
        NothingToDo: When the version's model is not sound, or there is no matrix.
        DamagedArtifact: When the model or the matrix cannot be read.
        StoreUnavailable: When a store does not answer or refuses.
    """
    with warehouse.hold_erasures():
        challenger = load_version(warehouse, lake, version)
        faults = soundness.model_faults(challenger.model)
        if faults:
            raise NothingToDo(
                f"The model of version {version} is not sound: {'; '.join(faults)}. "
                "`moovitamix models list` shows the others."
            )
        matrix = matrix_for(warehouse, lake, challenger)
        whole = publish_version(warehouse, client, prefix, challenger, matrix, tell, current=False)
        return whole.publication.generation


def matrix_for(warehouse: Warehouse, lake: LakeStore, version: Champion) -> UserItemMatrix:
    """The plays up to the current matrix's day as a version needs them.

    One that is not the current matrix is kept in the lake, for the API to fold users in from.

    Raises:
        NothingToDo: When no matrix has been made.
    """
    pointer = artifacts.current_matrix(lake)
    current = artifacts.load_pointed(lake, pointer)
    if current.parameters == version.matrix_parameters:
        return current
    plays = stream_interactions(warehouse, pointer.as_of)
    matrix = build_in_blocks(plays, version.matrix_parameters, pointer.as_of)
    artifacts.keep_matrix(lake, matrix)
    return matrix


def republish_experiment(
    warehouse: Warehouse, lake: LakeStore, client: redis.Redis, prefix: str, tell: Tell
) -> str:
    """After the champion's lists have been published: publish the challenger's, where one runs.

    A challenger that cannot be published does not keep the champion from being served: its arm is
    answered from its last generation while that lives, then by the champion.

    Returns:
        What was done, in a sentence; empty where no experiment runs.

    Raises:
        StoreUnavailable: When Postgres does not answer.
    """
    with warehouse.connect() as connection:
        found = experiments.running(connection)
    if found is None:
        withdraw_experiment(client, prefix)
        return ""
    try:
        generation = publish_challenger(warehouse, lake, client, prefix, found.challenger, tell)
        if not _serve(warehouse, client, prefix, found, generation):
            withdraw_experiment(client, prefix)
            return f"Experiment {found.id} has ended meanwhile."
    except MoovitaMixError as error:
        return f"The challenger of experiment {found.id} was not published: {error}"
    return f"Experiment {found.id}: the challenger is served from {generation.name}."


def _serve(
    warehouse: Warehouse,
    client: redis.Redis,
    prefix: str,
    experiment: Experiment,
    generation: Generation,
) -> bool:
    """Let readers divide users, unless the experiment has ended: who ends it waits meanwhile."""
    with warehouse.connect() as connection:
        registry.lock(connection)
        still = experiments.running(connection)
        if still is None or still.id != experiment.id:
            return False
        served = ServedExperiment(
            id=experiment.id,
            salt=experiment.salt,
            share=experiment.share,
            champion=experiment.champion,
            challenger=experiment.challenger,
            generation=generation.name,
        )
        serve_experiment(client, prefix, served, generation.expires_at)
    return True


def _refuse_unserved(current: Generation | None, champion: int) -> None:
    if current is None or current.model_version != champion:
        served = "nothing" if current is None else current.name
        raise NothingToDo(
            f"Version {champion} is the champion, but {served} is served. Publish its lists "
            "first: `moovitamix run`."
        )


def _refuse_without_room(client: redis.Redis, prefix: str) -> None:
    if is_of_a_cluster(client):  # its memory is that of many servers
        return
    concerns = memory_concerns(read_memory(client, prefix), generations=EXPERIMENT_GENERATIONS)
    if concerns:
        raise NothingToDo("Redis has no room for an experiment. " + " ".join(concerns))
