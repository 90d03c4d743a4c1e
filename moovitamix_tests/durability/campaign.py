"""What a campaign does: servers that are killed, an app that posts, and the count at the end."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psutil
import redis

from moovitamix.embedded.postgres import ensure_postgres, stop_postgres
from moovitamix.embedded.valkey import ensure_valkey, valkey_server
from moovitamix.resources import Cache, Lake, Warehouse
from moovitamix.serve.publish import publish_generation
from moovitamix_tests.serve.http.serving import LIST_LENGTH, fill
from moovitamix_tests.serve.telling import load_plays
from moovitamix_tests.serve.world import NAMESPACE, World, make_world

PLAYS_A_REQUEST = 20
APPS = 8
# Until everything has to be well again.
PATIENCE = 90.0


@dataclass(kw_only=True)
class Tally:
    """What a campaign came to."""

    acknowledged: int = 0
    requests: int = 0
    again: int = 0
    users: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)


class Campaign:
    """Posts plays while servers are killed.

    Args:
        folder: For all that there is.
        listens: Plays to post.
        every: Seconds between two kills, on average; 0: only those that `run` is told.
        seed: Of who is killed, and when.
        tell: Takes a line of progress.
    """

    def __init__(
        self,
        folder: Path,
        *,
        listens: int,
        every: float,
        seed: int,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._folder = folder
        self._listens = listens
        self._every = every
        self._random = random.Random(seed)
        self._tell = tell
        self._tally = Tally()
        self._world: World
        self._api: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port: int = probe.getsockname()[1]
        self._warehouse = Warehouse(url=self._start_postgres(), namespace=NAMESPACE)
        self._lake = Lake(url=(folder / "home" / "lake").as_uri())
        self._heard: dict[int, set[int]] = {}

    def run(self, kills: tuple[str, ...] = ()) -> Tally:
        """Post everything; kill these servers in turn, then by chance; look what is there."""
        try:
            self._world = fill(make_world(), self._warehouse, self._lake)
            load_plays(self._warehouse, self._world)
            self._publish()
            self._start_api()
            asyncio.run(self._post_all(kills))
            self._count()
            asyncio.run(self._ask())
        finally:
            self._kill_api()
            valkey_server(self._folder / "valkey").stop()
            stop_postgres(self._folder / "postgres")
        return self._tally

    async def _post_all(self, kills: tuple[str, ...]) -> None:
        batches = list(self._batches())
        waiting = asyncio.Queue[list[dict[str, object]]]()
        for batch in batches:
            waiting.put_nowait(batch)
        ended = asyncio.Event()
        killing = asyncio.create_task(asyncio.to_thread(self._kill_servers, kills, ended))
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self._port}", timeout=10) as app:
            await asyncio.gather(*(self._post(app, waiting) for _ in range(APPS)))
        ended.set()
        await killing

    def _batches(self) -> list[list[dict[str, object]]]:
        """Requests of one record each, of known users and strangers, no play twice."""
        began = datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=20)
        batches = []
        for number in range(self._listens // PLAYS_A_REQUEST):
            user = self._random.randrange(1, 200)
            moment = (began + timedelta(milliseconds=number)).isoformat()
            tracks = [self._random.randrange(100, 130) for _ in range(PLAYS_A_REQUEST)]
            record = {
                "user_id": user,
                "items": tracks,
                "created_at": moment,
                "updated_at": moment,
            }
            batches.append([record])
        return batches

    async def _post(
        self, app: httpx.AsyncClient, waiting: asyncio.Queue[list[dict[str, object]]]
    ) -> None:
        while not waiting.empty():
            batch = waiting.get_nowait()
            while True:
                self._tally.requests += 1
                try:
                    answer = await app.post("/listens", json=batch)
                except httpx.HTTPError:
                    answer = None
                if answer is not None and answer.status_code == 202:
                    break
                if answer is not None and answer.status_code != 503:
                    self._tally.findings.append(f"A post was answered by {answer.status_code}")
                    return
                self._tally.again += 1
                await asyncio.sleep(0.1)
            self._tally.acknowledged += PLAYS_A_REQUEST
            for record in batch:
                heard = self._heard.setdefault(int(str(record["user_id"])), set())
                heard.update(record["items"])  # type: ignore[arg-type]  # tracks
            if self._tally.acknowledged % 100_000 == 0:
                self._tell(f"{self._tally.acknowledged:,} plays acknowledged")

    def _kill_servers(self, first: tuple[str, ...], ended: asyncio.Event) -> None:
        """Those that are named, evenly over what is posted; then whom chance names."""
        for number, name in enumerate(first, start=1):
            part = self._listens * number // (len(first) + 1)
            while self._tally.acknowledged < part and not ended.is_set():
                time.sleep(0.01)
            self._kill(name)
        while self._every:
            until = time.monotonic() + self._random.expovariate(1 / self._every)
            while time.monotonic() < until and not ended.is_set():
                time.sleep(0.05)
            if ended.is_set():
                return
            self._kill(self._random.choice(("api", "valkey", "postgres")))

    def _kill(self, name: str) -> None:
        getattr(self, f"_kill_{name}")()
        self._tally.kills[name] += 1
        self._tell(f"{name} killed")
        time.sleep(self._random.uniform(0, 1))
        getattr(self, f"_start_{name}")()
        if name == "valkey":
            self._publish()  # as the sensor does when nothing is current

    def _kill_api(self) -> None:
        if self._api is not None:
            self._api.kill()
            self._api.wait()

    def _start_api(self) -> None:
        environment = {
            **os.environ,
            "MOOVITAMIX_HOME": str(self._folder / "home"),
            "MOOVITAMIX_NAMESPACE": NAMESPACE,
            "MOOVITAMIX_DATABASE_URL": self._warehouse.address(),
            "MOOVITAMIX_REDIS_URL": self._start_valkey(),
            "MOOVITAMIX_RATE_LIMIT": "0",
        }
        command = [sys.executable, "-m", "moovitamix", "serve", "--port", str(self._port)]
        with (self._folder / "api.log").open("ab") as log:
            self._api = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def _kill_postgres(self) -> None:
        pid = int((self._folder / "postgres" / "postmaster.pid").read_text().split()[0])
        server = psutil.Process(pid)
        every = [server, *server.children(recursive=True)]
        for process in every:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(every, timeout=10)

    def _start_postgres(self) -> str:
        return ensure_postgres(self._folder / "postgres")

    def _kill_valkey(self) -> None:
        with redis.Redis.from_url(self._start_valkey()) as client:
            process = psutil.Process(int(client.info("server")["process_id"]))
        process.kill()
        process.wait(timeout=10)

    def _start_valkey(self) -> str:
        return ensure_valkey(self._folder / "valkey")

    def _publish(self) -> None:
        cache = Cache(url=self._start_valkey(), namespace=NAMESPACE)
        with cache.connect() as client:
            publish_generation(
                client,
                NAMESPACE,
                champion=self._world.champion,
                matrix=self._world.matrix,
                catalogue=self._world.catalogue,
                tell=lambda _: None,
                list_length=LIST_LENGTH,
            )

    def _count(self) -> None:
        with self._warehouse.connect() as connection:
            row = connection.execute(
                "SELECT count(*), count(DISTINCT (user_id, recorded_at)) FROM activity"
            ).fetchone()
        expected = (self._tally.acknowledged, self._tally.acknowledged // PLAYS_A_REQUEST)
        if row != expected:
            self._tally.findings.append(f"Plays and records in the table: {row}, not {expected}")

    async def _ask(self) -> None:
        """Until every list knows what was heard, or patience is at its end."""
        self._tally.users = len(self._heard)
        left: Mapping[int, set[int]] = self._heard
        until = time.monotonic() + PATIENCE
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self._port}", timeout=10) as app:
            while left and time.monotonic() < until:
                left = {user: heard for user, heard in left.items() if await _old(app, user, heard)}
                await asyncio.sleep(0.5)
        if left:
            self._tally.findings.append(
                f"The lists of {len(left)} users do not know all they heard"
            )


async def _old(app: httpx.AsyncClient, user: int, heard: set[int]) -> bool:
    try:
        answer = await app.get(f"/users/{user}/recommendations?limit=20")
    except httpx.HTTPError:
        return True
    told = answer.json()
    listed = {item["track_id"] for item in told["items"] if item["tier"] == "cached top-N"}
    return told["tier"] != "cached top-N" or not heard.isdisjoint(listed)
