"""The roll: which generations can be served, known without going through all keys.

It is a set of names beside the generations, of which some may have expired. How long one lives is
told in `life.py`, which finds them all where there is no roll.
"""

from __future__ import annotations

from typing import cast

import redis

from moovitamix.serve.generations import (
    Generation,
    meta_key,
    read_generation,
    redis_answering,
    roll_key,
)
from moovitamix.serve.life import living


def enter(client: redis.Redis, prefix: str, generation: Generation) -> None:
    """Put a generation on the roll whose description is there; those that expired come off it.

    Raises:
        StoreUnavailable: When Redis does not answer or refuses.
    """
    there = {one.name for one in finished(client, prefix)}
    with redis_answering():
        expired = _names(client, prefix) - there
        if expired:
            client.srem(roll_key(prefix), *expired)
        client.sadd(roll_key(prefix), generation.name, *there)


def finished(client: redis.Redis, prefix: str) -> list[Generation]:
    """All that have a description, in no order: two round trips where a roll is kept.

    Raises:
        StoreUnavailable: When Redis does not answer.
    """
    with redis_answering():
        names = _names(client, prefix)
        pipeline = client.pipeline(transaction=False)
        for name in names:
            pipeline.get(meta_key(prefix, name))
        found = [read_generation(described) for described in pipeline.execute()]
    if not names:  # nothing published, or by a version without a roll, or the roll was evicted
        return living(client, prefix)
    return [one for one in found if one is not None]


def _names(client: redis.Redis, prefix: str) -> set[str]:
    names = cast("set[bytes]", client.smembers(roll_key(prefix)))
    return {name.decode() for name in names}
