"""The batch figures by HTTP, for Prometheus to scrape: the command `metrics serve`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, start_http_server

from moovitamix.observe.metrics.collector import PlatformCollector
from moovitamix.resources import Cache, Lake, Warehouse

FRESH_FOR = 10.0


@contextmanager
def exporting(
    warehouse: Warehouse,
    cache: Cache,
    lake: Lake,
    host: str,
    port: int,
    *,
    seconds: float = FRESH_FOR,
) -> Iterator[int]:
    """Answer `GET /metrics` until the block ends; the port that it listens on.

    Args:
        warehouse: The tables.
        cache: What is served.
        lake: The files.
        host: Where to listen.
        port: 0: any that is free.
        seconds: For so long what was read is told again, however many ask.

    Raises:
        OSError: When the port is taken.
    """
    registry = CollectorRegistry()
    registry.register(PlatformCollector(warehouse, cache, lake, seconds))
    server, thread = start_http_server(port, host, registry)
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
