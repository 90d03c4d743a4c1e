"""The command line on the test's own stores, in this process."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from moovitamix.cli import cli
from moovitamix.ingest.lake import LakeStore
from moovitamix.resources import Warehouse
from moovitamix.settings import get_settings

Command = Callable[..., Result]


@pytest.fixture
def command(
    warehouse: Warehouse, lake: LakeStore, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> Command:
    """Runs a command on the test's warehouse, lake and cache; `input` answers its questions."""
    monkeypatch.setenv("MOOVITAMIX_DATABASE_URL", warehouse.address())
    monkeypatch.setenv("MOOVITAMIX_NAMESPACE", warehouse.schema_name)
    monkeypatch.setenv("MOOVITAMIX_LAKE_URL", lake.url)
    monkeypatch.setenv("MOOVITAMIX_REDIS_URL", valkey_url)
    get_settings.cache_clear()

    def run(*arguments: str, answer: str | None = None) -> Result:
        return CliRunner().invoke(cli, arguments, input=answer)

    return run
