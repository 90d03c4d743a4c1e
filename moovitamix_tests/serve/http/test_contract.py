"""The running API keeps to its own description: every check that Schemathesis has."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings, strategies
from hypothesis.errors import Unsatisfiable
from hypothesis.strategies import SearchStrategy
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance

from moovitamix.serve.http.app import Api, Features, build_api
from moovitamix.serve.http.gate import Limits
from moovitamix.serve.http.keys import KeyStore, make_key
from moovitamix.serve.http.routes import PARAMETERS
from moovitamix_tests.serve.http.serving import Published, refreshed, running, with_client

EXAMPLES = 25
SECRET, KEY = make_key("tests", "write", 1e9)

# No description can say "lately": moments are of the last days, as the text asks.
schemathesis.openapi.format(
    "date-time",
    strategies.timedeltas(timedelta(minutes=1), timedelta(days=6)).map(
        lambda ago: (datetime.now(UTC) - ago).isoformat()
    ),
)


@contextmanager
def in_a_thread(published: Published, keys: str | None) -> Iterator[str]:
    """The address of a server that runs until the block ends."""
    ready, address, ended = threading.Event(), [""], threading.Event()

    async def serve() -> None:
        api = build_api(
            published.stores,
            keys=KeyStore(keys, published.home),
            limits=Limits(),
            features=Features(access_log=False),
            background=False,
        )
        await asyncio.to_thread(refreshed, api)
        async with running(api) as found:
            address[0] = found
            ready.set()
            await asyncio.to_thread(ended.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(30)
        yield address[0]
    finally:
        ended.set()
        thread.join()


def _examine(cases: SearchStrategy[Any], headers: dict[str, str]) -> None:
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def examine(case: Any) -> None:
        # What a pattern cannot say, that a moment is not ahead, is refused all the same.
        writes = [positive_data_acceptance] if case.method == "POST" else []
        case.call_and_validate(headers=headers, excluded_checks=writes)

    with suppress(Unsatisfiable):  # what takes no parameters cannot be asked wrongly
        examine()


@pytest.mark.parametrize("keys", [None, KEY.entry()], ids=["open", "with keys"])
def test_every_route_keeps_to_its_description(fresh: Published, keys: str | None) -> None:
    with in_a_thread(fresh, keys) as address:
        schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
        headers = {} if keys is None else {"X-API-Key": SECRET}
        operations = 0
        for found in schema.get_all_operations():
            assert isinstance(found, Ok), found
            operation = found.ok()
            operations += 1

            for mode in schemathesis.GenerationMode:
                _examine(operation.as_strategy(mode), headers)
        assert operations == len(PARAMETERS) + 7


def test_one_description_covers_every_route_and_says_what_each_takes(published: Published) -> None:
    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        described = (await client.get("/openapi.json")).json()["paths"]
        for route, parameters in PARAMETERS.items():
            told = described[route]["get"]["parameters"]
            assert {one["name"] for one in told if one["in"] == "query"} == parameters
            assert {"200", "401", "422", "429", "500", "503"} <= set(
                described[route]["get"]["responses"]
            )
        assert {"202", "400", "401", "403", "413", "422", "429", "500", "503"} == set(
            described["/feedback"]["post"]["responses"]
        )
        assert {"/models/current", "/health/live", "/health/ready", "/metrics"} < set(described)
        assert set(described["/users/{id}"]) == {"delete"}

    with_client(published.stores, published.home, ask)
