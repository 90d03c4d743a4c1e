"""The platform that the tests of figures share."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from moovitamix.resources import Warehouse
from moovitamix_tests.conftest import drop_schemas
from moovitamix_tests.observe.metrics.operated import Operated, operating


@pytest.fixture(scope="package")
def operated(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    """A platform after some days: see `operated.py`."""
    warehouse = Warehouse(url=postgres_url, namespace=f"t{uuid.uuid4().hex[:12]}")
    with operating(tmp_path_factory.mktemp("operated"), warehouse) as platform:
        yield platform
    drop_schemas(warehouse)
