"""The world that is served. The servers and stores are those of the top-level `conftest.py`."""

from __future__ import annotations

import pytest

from moovitamix_tests.serve.world import World, make_world


@pytest.fixture(scope="session")
def world() -> World:
    return make_world()
