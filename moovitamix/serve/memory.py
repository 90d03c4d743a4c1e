"""Whether the memory of Redis is enough for the generations in it, and is kept.

Three, because there are that many at a switch: the one served, the one being written, and the one
before, which can still be gone back to; more while an experiment runs. What a generation is, is
told in `generations.py`. Nothing is changed here, and a cluster, whose memory is that of many
servers, is added up, but not examined.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import cast

import redis

from moovitamix.serve.generations import read_current, redis_answering

GENERATIONS = 3
# While an experiment runs: of each arm the one served and the one before; and one being written.
EXPERIMENT_GENERATIONS = 5
KEEPING_POLICY = "noeviction"

_SAMPLED_KEYS = 2_000
_KEYS_A_ROUND_TRIP = 1_000

# What the tables that find a key and its expiry take beside MEMORY USAGE. On Valkey 9.1 it was 29
# (`benchmarks/cache_bytes.py`). Double that, because tables may be half empty and Redis has others.
_TABLE_BYTES_A_KEY = 64


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What Redis may take, and what is in it; all in bytes.

    Attributes:
        limit: `maxmemory`; 0: none.
        policy: `maxmemory-policy`.
        generation: What the one being served takes, from a sample; None when there is none.
        others: What is not of this prefix: the server itself, and keys of others, from a sample.
    """

    limit: int
    policy: str
    generation: int | None
    others: int


def read_memory(client: redis.Redis, prefix: str) -> Memory:
    """Look at one server.

    Args:
        client: Answers bytes; not of a cluster.
        prefix: What every key begins with, without the colon.

    Raises:
        StoreUnavailable: When Redis does not answer, or does not let this user look.
    """
    current = read_current(client, prefix)
    with redis_answering():
        told = cast("dict[str, int]", client.info("memory"))
        policy = str(told["maxmemory_policy"])
        found = list(islice(client.scan_iter(count=_KEYS_A_ROUND_TRIP), _SAMPLED_KEYS))
        usages = _usages(client, found)
        total = sum(usages)
        theirs = sum(
            usage
            for key, usage in zip(found, usages, strict=True)
            if not key.startswith(f"{prefix}:".encode())
        )
        startup = told["used_memory_startup"]
        held = max(0, told["used_memory"] - startup)
        generation = None
        if current is not None:
            keys = client.scan_iter(f"{prefix}:{current.name}:*", count=_KEYS_A_ROUND_TRIP)
            sizes = _usages(client, list(islice(keys, _SAMPLED_KEYS)))
            if sizes:
                a_key = sum(sizes) / len(sizes) + _TABLE_BYTES_A_KEY
                generation = round(sum(current.keys.values()) * a_key)
    return Memory(
        limit=told["maxmemory"],
        policy=policy,
        generation=generation,
        others=startup + (round(held * theirs / total) if total else held),
    )


def used_memory(client: redis.Redis) -> int:
    """Bytes in use, whoever uses them; of a cluster, of all its nodes.

    Raises:
        StoreUnavailable: When Redis does not answer.
    """
    with redis_answering():
        held = cast("dict[str, int | dict[str, int]]", client.info("memory"))
    used = held.get("used_memory")
    if isinstance(used, int):
        return used
    return sum(node["used_memory"] for node in held.values() if isinstance(node, dict))


def _usages(client: redis.Redis, keys: Sequence[bytes]) -> list[int]:
    """Bytes of each key; 0 of one that has gone meanwhile."""
    pipeline = client.pipeline(transaction=False)
    for key in keys:
        pipeline.memory_usage(key)
    return [usage or 0 for usage in cast("list[int | None]", pipeline.execute())]


def memory_concerns(memory: Memory, *, generations: int = GENERATIONS) -> list[str]:
    """What may go wrong, a sentence each with what to do; none when all is well.

    Args:
        memory: As it was found.
        generations: How many have to fit.
    """
    concerns = []
    if memory.policy != KEEPING_POLICY:
        concerns.append(
            f"Its maxmemory-policy is {memory.policy}: full, it drops lists that are being served. "
            f"Set it to {KEEPING_POLICY}."
        )
    if memory.limit and memory.generation is not None:
        needed = generations * memory.generation + memory.others
        if needed > memory.limit:
            concerns.append(
                f"Its maxmemory is {_mib(memory.limit)}; {generations} generations of the present "
                f"size ({_mib(memory.generation)}) and what else is there need {_mib(needed)}. "
                f"Set maxmemory to {_mib(needed + needed // 5)} or more."
            )
    return concerns


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
