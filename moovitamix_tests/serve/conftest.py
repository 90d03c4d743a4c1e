"""The world that is served, and a cluster. Other servers: the top-level `conftest.py`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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
