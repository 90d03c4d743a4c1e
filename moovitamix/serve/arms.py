"""The experiment as readers find it in Redis: who is answered from which generation.

`{prefix}:experiment` holds a `ServedExperiment` as JSON while one runs, and expires with the
challenger's generation. It counts only while what is current is of the champion it names, so that
a rollback or another champion ends it for readers at once, whatever becomes of the key. How it
gets there is told in `experiment.py`; who is in which arm, in `recommend/arms.py`.
"""

from __future__ import annotations

from datetime import datetime
from typing import cast

import msgspec
import redis

from moovitamix.recommend.arms import Arm, arm_of
from moovitamix.serve.generations import (
    TIME_TO_LIVE,
    Generation,
    meta_key,
    read_current,
    read_generation,
    redis_answering,
)
from moovitamix.serve.life import RENEW_BELOW, ROLLBACK_WINDOW, present, prolong, set_if_same


class ServedExperiment(msgspec.Struct, frozen=True, kw_only=True):
    """An experiment that is being served.

    Attributes:
        id: In the table `experiments`.
        salt: What users are divided by.
        share: Of users in the challenger's arm.
        champion: The version that the current generation has to be of.
        challenger: The version that is tried.
        generation: The name of the challenger's generation.
    """

    id: int
    salt: str
    share: float
    champion: int
    challenger: int
    generation: str

    def arm(self, user: int) -> Arm:
        """The arm of a user."""
        return arm_of(user, self.salt, self.share)


def experiment_key(prefix: str) -> str:
    """The key that tells which experiment is being served."""
    return f"{prefix}:experiment"


def decode_experiment(value: bytes | None) -> ServedExperiment | None:
    """The experiment that a value holds; None when it is missing or damaged."""
    if value is None:
        return None
    try:
        return msgspec.json.decode(value, type=ServedExperiment)
    except msgspec.MsgspecError:
        return None


def read_experiment(client: redis.Redis, prefix: str) -> ServedExperiment | None:
    """The experiment in Redis, whether or not what is current lets it count.

    Raises:
        StoreUnavailable: When Redis does not answer.
    """
    with redis_answering():
        return decode_experiment(cast("bytes | None", client.get(experiment_key(prefix))))


def served_generations(client: redis.Redis, prefix: str) -> dict[Arm, Generation]:
    """The generation that each arm is answered from; without an experiment, the champion's alone.

    Whoever changes a user's lists changes them in all of these.

    Raises:
        StoreUnavailable: When Redis does not answer.
    """
    current = read_current(client, prefix)
    if current is None:
        return {}
    found: dict[Arm, Generation] = {"champion": current}
    experiment = read_experiment(client, prefix)
    if experiment is not None and experiment.champion == current.model_version:
        challenger = _described(client, prefix, experiment.generation)
        if challenger is not None:
            found["challenger"] = challenger
    return found


def serve_experiment(
    client: redis.Redis, prefix: str, experiment: ServedExperiment, expires_at: datetime
) -> None:
    """Let readers divide users from now on, by one SET.

    Args:
        client: Answers bytes.
        prefix: What every key begins with, without the colon.
        experiment: Whose challenger's generation is whole.
        expires_at: When that generation expires.

    Raises:
        StoreUnavailable: When Redis does not answer or refuses.
    """
    with redis_answering():
        client.set(
            experiment_key(prefix),
            msgspec.json.encode(experiment),
            exat=int(expires_at.timestamp()),
        )


def withdraw_experiment(client: redis.Redis, prefix: str) -> None:
    """Answer everybody from the current generation again, by one DEL.

    The challenger's generation lives on for at least the rollback window.

    Raises:
        StoreUnavailable: When Redis does not answer or refuses.
    """
    with redis_answering():
        experiment = read_experiment(client, prefix)
        client.delete(experiment_key(prefix))
        if experiment is not None:
            described = cast("bytes | None", client.get(meta_key(prefix, experiment.generation)))
            prolong(client, prefix, described, present(client) + ROLLBACK_WINDOW)


def renew_challenger(client: redis.Redis, prefix: str) -> bool:
    """Prolong the challenger's generation and the experiment when their end is near.

    May be called by any number of processes at once, and killed anywhere, as `life.renew`.

    Returns:
        Whether anything was prolonged.

    Raises:
        StoreUnavailable: When Redis does not answer or refuses.
    """
    with redis_answering():
        key = experiment_key(prefix)
        value = cast("bytes | None", client.get(key))
        experiment = decode_experiment(value)
        if value is None or experiment is None:
            return False
        described = cast("bytes | None", client.get(meta_key(prefix, experiment.generation)))
        generation = read_generation(described)
        if generation is None:
            return False
        until = generation.expires_at
        if until - present(client) < RENEW_BELOW:
            until += TIME_TO_LIVE
            if prolong(client, prefix, described, until) is None:
                return False  # somebody else is at it
        elif client.expiretime(key) >= int(until.timestamp()):
            return False
        return set_if_same(client, key, value, value, until)


def _described(client: redis.Redis, prefix: str, name: str) -> Generation | None:
    with redis_answering():
        return read_generation(cast("bytes | None", client.get(meta_key(prefix, name))))
