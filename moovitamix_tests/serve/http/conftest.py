"""Stores that hold the small world, published: shared, or of a test's own where it changes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from moovitamix.resources import Warehouse
from moovitamix_tests.conftest import drop_schemas
from moovitamix_tests.schema_copies import SchemaCopies
from moovitamix_tests.serve.http.serving import Published, fill, make_stores
from moovitamix_tests.serve.world import World, make_world


@pytest.fixture(scope="session")
def world() -> World:
    return make_world()


@pytest.fixture(scope="session")
def filled(
    postgres_url: str,
    schema_copies: SchemaCopies,
    valkey_url: str,
    world: World,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Published]:
    """The session's stores, Redis still empty."""
    warehouse = Warehouse(url=postgres_url, namespace=schema_copies.another())
    folder = tmp_path_factory.mktemp("filled")
    stores = make_stores(warehouse, (folder / "lake").as_uri(), valkey_url)
    yield Published(stores, fill(world, warehouse, stores.lake), folder / "home")
    drop_schemas(warehouse)


@pytest.fixture
def published(filled: Published, valkey: redis.Redis, tmp_path: Path) -> Published:
    """For tests that change nothing in Postgres or the lake; the home is the test's own."""
    found = replace(filled, home=tmp_path / "home")
    found.publish(valkey)
    return found
