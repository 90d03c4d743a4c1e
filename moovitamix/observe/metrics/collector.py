"""All figures that runs have left behind, read when Prometheus asks; at most once in a while.

It never fails: a store that does not answer leaves its figures out, and `exporter_up` says so; so
does a part of Postgres' figures that cannot be read, and `exporter_part_read`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from moovitamix.observe.metrics import batch_families as families
from moovitamix.observe.metrics.read_models import read_models
from moovitamix.observe.metrics.read_quality import read_quality
from moovitamix.observe.metrics.read_runs import read_runs
from moovitamix.observe.metrics.read_served import read_cache, read_coverage, read_lake
from moovitamix.observe.metrics.samples import Read, Sample, metrics_of
from moovitamix.resources import Cache, Lake, Warehouse
from moovitamix.serve.generations import Generation

if TYPE_CHECKING:
    import psycopg

logger = logging.getLogger(__name__)

# Of each statement: a scrape has to end, whatever else Postgres is busy with.
_STATEMENT_TIMEOUT = "SET LOCAL statement_timeout = '5s'"


@dataclass(eq=False)
class PlatformCollector(Collector):
    """The batch figures of a platform, for a registry of prometheus_client.

    Args:
        warehouse: The tables.
        cache: What is served.
        lake: The files.
        seconds: For so long what was read is told again, however many ask.
        clock: Monotonic seconds.
    """

    warehouse: Warehouse
    cache: Cache
    lake: Lake
    seconds: float
    clock: Callable[[], float] = time.monotonic
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _read_at: float | None = None
    _metrics: list[Metric] = field(default_factory=list)

    def describe(self) -> Iterable[Metric]:
        """Nothing: else a registry would read it all to learn the names."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All figures; each asker waits for who reads them."""
        with self._lock:
            if self._read_at is None or self.clock() - self._read_at >= self.seconds:
                began = self.clock()
                read = self._read()
                self._read_at = self.clock()
                read.append(Sample(families.COLLECTION, (), self._read_at - began))
                self._metrics = metrics_of(read)
            metrics = self._metrics
        yield from metrics

    def _read(self) -> list[Read]:
        served: list[Generation] = []
        read: list[Read] = []
        stores: dict[str, Callable[[], list[Read]]] = {
            "redis": lambda: self._from_redis(served),
            "postgres": lambda: self._from_postgres(served),
            "lake": lambda: list(read_lake(self.lake.open())),
        }
        for store, ask in stores.items():
            try:
                found = ask()
            # Drivers have errors of their own, those of object stores too.
            except Exception as error:  # noqa: BLE001 - a scrape survives all
                logger.warning("%s does not tell its figures: %s", store, type(error).__name__)
                read.append(Sample(families.EXPORTER_UP, (store,), 0))
            else:
                read.append(Sample(families.EXPORTER_UP, (store,), 1))
                read += found
        return read

    def _from_redis(self, served: list[Generation]) -> list[Read]:
        with self.cache.connect() as client:
            found, current = read_cache(client, self.cache.prefix)
        if current is not None:
            served.append(current)
        return found

    def _from_postgres(self, served: list[Generation]) -> list[Read]:
        with self.warehouse.connect() as connection:
            connection.execute(_STATEMENT_TIMEOUT)
            parts: dict[str, Callable[[], Iterable[Read]]] = {
                "runs": lambda: read_runs(connection),
                "quality": lambda: read_quality(connection),
                "models": lambda: read_models(connection),
                "coverage": lambda: chain.from_iterable(
                    read_coverage(connection, generation) for generation in served
                ),
            }
            return [one for part, read in parts.items() for one in _part(connection, part, read)]


def _part(
    connection: psycopg.Connection, part: str, read: Callable[[], Iterable[Read]]
) -> list[Read]:
    """Some figures of Postgres; where they cannot be read, it and the others still tell theirs.

    Raises:
        psycopg.Error: When the connection is gone.
    """
    try:
        with connection.transaction():
            found = list(read())
    except Exception as error:
        if connection.broken:
            raise
        logger.warning("Figures of %s cannot be read: %s", part, type(error).__name__)
        return [Sample(families.EXPORTER_PART, (part,), 0)]
    return [Sample(families.EXPORTER_PART, (part,), 1), *found]
