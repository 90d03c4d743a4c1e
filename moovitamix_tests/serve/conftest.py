"""The world that is served, and a cluster. Other servers: the top-level `conftest.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from moovitamix.resources import Lake, Warehouse
from moovitamix_tests.serve.http.serving import Published, fill, make_stores
from moovitamix_tests.serve.tried import Versions, register_rivals
from moovitamix_tests.serve.world import World, make_world
from moovitamix_tests.valkey_cluster import running_cluster


@pytest.fixture(scope="session")
def world() -> World:
    return make_world()


@pytest.fixture(scope="session")
def cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real cluster of three nodes, for the session: the URL of one of them."""
    with running_cluster(tmp_path_factory.mktemp("cluster")) as url:
        yield url


@pytest.fixture
def fresh(
    valkey: redis.Redis, valkey_url: str, warehouse: Warehouse, world: World, tmp_path: Path
) -> Published:
    """Stores of the test's own that hold the small world, published."""
    stores = make_stores(warehouse, (tmp_path / "lake").as_uri(), valkey_url)
    found = Published(stores, fill(world, warehouse, stores.lake), tmp_path / "home")
    found.publish(valkey)
    return found


@pytest.fixture
def rivals(fresh: Published) -> Versions:
    """Versions that can be tried against the champion."""
    return register_rivals(fresh.world, fresh.stores.warehouse, fresh.stores.lake)


@pytest.fixture
def files(fresh: Published) -> Lake:
    """The lake of the same stores."""
    return fresh.stores.lake
