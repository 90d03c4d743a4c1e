"""A process of its own folds in: told, killed, begun again, and gone with who began it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import redis

from moovitamix.resources import Cache
from moovitamix.serve.codec import decode_list
from moovitamix.serve.generations import key_of
from moovitamix.serve.http import fold_process
from moovitamix.serve.http.app import Features, Stores, build_api
from moovitamix.serve.http.fold_supervision import FOLDER, folding_beside
from moovitamix.serve.http.gate import Limits
from moovitamix.serve.http.keys import KeyStore
from moovitamix.serve.http.telling import Telling, open_pipe, pipe_in, read_told
from moovitamix.serve.publish import publish_generation
from moovitamix.settings import get_settings
from moovitamix_tests.serve.http.serving import LIST_LENGTH, Published
from moovitamix_tests.serve.http.test_listens import listen, post

HER, HIM = 1, 2
PATIENCE = 120.0

UNTIL_KILLED = """
import sys, time
from pathlib import Path
from moovitamix.serve.http.fold_supervision import folding_beside
with folding_beside(Path(sys.argv[1])):
    time.sleep(600)
"""


def until(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def folding_for(folder: Path) -> list[psutil.Process]:
    """The processes that fold in for a server, whoever began them."""
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            alive = process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            continue
        if alive and fold_process.__name__ in words and str(folder) in words:
            found.append(process)
    return found


@dataclass(frozen=True)
class Server:
    """What the workers of a server have: stores under one name, and a folder."""

    stores: Stores
    valkey: redis.Redis
    generation: str
    home: Path
    folder: Path

    def listed(self, user: int) -> list[int]:
        """What is in Redis."""
        prefix = self.stores.cache.prefix
        value = self.valkey.get(key_of(prefix, self.generation, "u", user))
        assert isinstance(value, bytes)
        return [int(track) for track in decode_list(value).ids]

    def hears(self, user: int) -> int:
        """A user hears the first of their list, as a worker takes it in; which that was."""
        track = self.listed(user)[0]

        async def ask(client: httpx.AsyncClient) -> None:
            assert (await post(client, listen(user, track))).status_code == 202

        self.ask(ask)
        return track

    def figures(self) -> dict[str, float]:
        """Those of a worker, by name, of metrics without labels."""
        found: dict[str, float] = {}

        async def ask(client: httpx.AsyncClient) -> None:
            for line in (await client.get("/metrics")).text.splitlines():
                name, _, value = line.rpartition(" ")
                if name.startswith("moovitamix_fold_in"):
                    assert name not in found
                    found[name] = float(value)

        self.ask(ask)
        return found

    def ask(self, work: Callable[[httpx.AsyncClient], Awaitable[None]]) -> None:
        async def run() -> None:
            api = build_api(
                self.stores,
                keys=KeyStore(None, self.home),
                limits=Limits(),
                features=Features(access_log=False),
                background=False,
                beside=self.folder,
            )
            root: Any = api.app.app
            async with (
                root.lifespan_context(root),
                httpx.AsyncClient(
                    transport=httpx.ASGITransport(api.app), base_url="http://localhost"
                ) as client,
            ):
                await work(client)

        asyncio.run(run())


@pytest.fixture
def server(fresh: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    warehouse, world = fresh.stores.warehouse, fresh.world
    cache = Cache(url=fresh.stores.cache.address(), namespace=warehouse.schema_name)
    for name, value in (
        ("DATABASE_URL", warehouse.address()),
        ("REDIS_URL", cache.address()),
        ("LAKE_URL", str(fresh.stores.lake.url)),
        ("NAMESPACE", warehouse.schema_name),
        ("HOME", str(fresh.home)),
    ):
        monkeypatch.setenv(f"MOOVITAMIX_{name}", value)
    get_settings.cache_clear()
    folder = tmp_path / "server"
    folder.mkdir()
    with cache.connect() as client:
        generation = publish_generation(
            client,
            cache.prefix,
            champion=world.champion,
            matrix=world.matrix,
            catalogue=world.catalogue,
            tell=lambda _: None,
            list_length=LIST_LENGTH,
        ).generation.name
        stores = replace(fresh.stores, cache=cache)
        yield Server(stores, client, generation, fresh.home, folder)
    monkeypatch.undo()
    get_settings.cache_clear()


def test_what_a_worker_takes_in_is_folded_in_by_the_process_beside_it(server: Server) -> None:
    with folding_beside(server.folder):
        track = server.hears(HER)
        until(lambda: track not in server.listed(HER))
        (process,) = folding_for(server.folder)
        until(lambda: server.figures().get("moovitamix_fold_ins_total", 0) > 0)
        figures = server.figures()
        assert figures["moovitamix_fold_in_seconds_count"] == 1
        assert figures["moovitamix_fold_in_failures_total"] == 0
        assert figures["moovitamix_fold_ins_waiting"] == 0
    assert not process.is_running()
    assert FOLDER not in os.environ


def test_killed_it_is_begun_again_and_nothing_is_lost(server: Server) -> None:
    with folding_beside(server.folder):
        track = server.hears(HER)
        until(lambda: track not in server.listed(HER))
        (killed,) = folding_for(server.folder)
        killed.suspend()
        told = server.hears(HER)  # waits in the pipe
        pipe = open_pipe(pipe_in(server.folder))
        missed = server.hears(HIM)
        assert sorted(read_told(pipe)) == [HER, HIM]  # and nobody is told any more
        os.close(pipe)
        killed.kill()
        until(lambda: told not in server.listed(HER) and missed not in server.listed(HIM))
        (another,) = folding_for(server.folder)
        assert another.pid != killed.pid
        figures = server.figures()
        assert figures["moovitamix_fold_in_failures_total"] == 1
        assert figures["moovitamix_fold_ins_waiting"] == 0
    assert not another.is_running()


def test_what_was_told_while_there_was_no_process_waits_for_the_next(server: Server) -> None:
    with folding_beside(server.folder):
        until(lambda: folding_for(server.folder))
        (killed,) = folding_for(server.folder)
        killed.kill()
        track = server.hears(HER)
        until(lambda: track not in server.listed(HER))


def test_it_ends_with_who_began_it_even_when_that_is_killed(server: Server) -> None:
    with subprocess.Popen([sys.executable, "-c", UNTIL_KILLED, str(server.folder)]) as parent:
        try:
            until(lambda: folding_for(server.folder))
            (process,) = folding_for(server.folder)
            track = server.hears(HER)
            until(lambda: track not in server.listed(HER))
            # A terminal's Ctrl-C and a service manager's end are for who began it.
            process.send_signal(signal.SIGINT)
            process.send_signal(signal.SIGTERM)
            track = server.hears(HIM)
            until(lambda: track not in server.listed(HIM))
        finally:
            parent.kill()
    until(lambda: not process.is_running())


def test_ids_of_several_tellers_arrive_whole(tmp_path: Path) -> None:
    os.mkfifo(pipe_in(tmp_path))
    end = open_pipe(pipe_in(tmp_path))
    one, other = Telling(pipe_in(tmp_path)), Telling(pipe_in(tmp_path))
    one.told(range(700))
    other.told([-1, (1 << 63) - 1])
    one.told([HER])
    assert read_told(end) == [*range(700), -1, (1 << 63) - 1, HER]
    assert read_told(end) == []
    for teller in (one, other):
        teller.stop()
    os.close(end)


def test_telling_never_waits_nor_fails(tmp_path: Path) -> None:
    teller = Telling(pipe_in(tmp_path))
    teller.told([HER])  # there is no pipe
    os.mkfifo(pipe_in(tmp_path))
    teller.told([HER])  # nobody has it open
    end = open_pipe(pipe_in(tmp_path))
    teller.told(range(1_000_000))  # more than it holds
    found = read_told(end)
    assert found == list(range(len(found)))
    while read_told(end):
        pass
    teller.told([HIM])
    assert read_told(end) == [HIM]
    teller.stop()
    os.close(end)
