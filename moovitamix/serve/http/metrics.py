"""The API's figures for Prometheus: counted inline, with labels of few values.

What is counted happens elsewhere; the metrics are declared in `observe/metrics/api_families.py`.
With several workers, each writes to files that whichever is asked adds up
(`PROMETHEUS_MULTIPROC_DIR`, set by `server.py` before this is imported). The figures of folding in
are `fold_figures.py`'s; where another process does that, they are read from its files.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from moovitamix.observe.metrics import api_families as families
from moovitamix.observe.metrics.family import Family
from moovitamix.serve.http.breaker import State
from moovitamix.serve.http.fold_figures import FoldFigures
from moovitamix.serve.http.lists_read import Reads
from moovitamix.serve.http.reads import Observer
from moovitamix.serve.http.refresh import Watcher

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_STATES: tuple[State, ...] = ("closed", "half-open", "open")


class Metrics(Observer, Reads, Watcher):
    """All figures of one process, in a registry of its own.

    Args:
        beside: The folder with the figures of the process that folds in; None: this one does.

    Attributes:
        fold_ins: The figures of folding in, where this process does it.
    """

    def __init__(self, beside: Path | None = None) -> None:
        self.registry = registry = CollectorRegistry()
        self._requests = _counter(families.REQUESTS, registry)
        self._duration = _histogram(families.DURATION, registry)
        self._refused = _counter(families.REFUSED, registry)
        self._reads = _counter(families.CACHE_READS, registry)
        self._batch = _histogram(families.CACHE_BATCH, registry)
        self._failures = _counter(families.STORE_FAILURES, registry)
        self._breaker = _gauge(families.BREAKER, registry, "livemax")
        self._refreshed = _gauge(families.SNAPSHOT, registry, "livemin")
        self._refresh_failures = _counter(families.SNAPSHOT_FAILURES, registry)
        self._beside = beside
        self.fold_ins = FoldFigures(registry) if beside is None else None
        _begin_at_zero(self._refused, families.REFUSED)
        _begin_at_zero(self._failures, families.STORE_FAILURES)
        _begin_at_zero(self._refresh_failures, families.SNAPSHOT_FAILURES)
        self._by_request: dict[tuple[str, str, int], Counter] = {}
        self._by_route: dict[tuple[str, str], Histogram] = {}
        self._hit, self._miss, self._damaged = (
            self._reads.labels(result) for result in ("hit", "miss", "damaged")
        )
        self.breaker("redis", "closed")

    def answered(self, route: str, tier: str, status: int, seconds: float) -> None:
        """A request was answered.

        Args:
            route: Its path with names for ids, or "other": never what somebody typed.
            tier: Of the answer, or "".
            status: Of HTTP.
            seconds: How long it took.
        """
        known = self._by_request.get((route, tier, status))
        if known is None:
            known = self._requests.labels(route, tier, str(status))
            self._by_request[route, tier, status] = known
        known.inc()
        duration = self._by_route.get((route, tier))
        if duration is None:
            duration = self._by_route[route, tier] = self._duration.labels(route, tier)
        duration.observe(seconds)

    def refused(self, reason: str) -> None:
        """A request was refused before it reached a route."""
        self._refused.labels(reason).inc()

    def batch(self, keys: int) -> None:
        """So many keys are asked for in one round trip."""
        self._batch.observe(keys)

    def store_failed(self, store: str) -> None:
        """A store did not answer a call."""
        self._failures.labels(store).inc()

    def breaker(self, store: str, state: State) -> None:
        """A breaker has a new state."""
        self._breaker.labels(store).set(_STATES.index(state))

    def read(self, *, hits: int = 0, misses: int = 0, damaged: int = 0) -> None:
        """So many values were there, were not, or could not be read."""
        if hits:
            self._hit.inc(hits)
        if misses:
            self._miss.inc(misses)
        if damaged:
            self._damaged.inc(damaged)

    def refreshed(self, what: str) -> None:
        """A part of the world is as its store has it now."""
        self._refreshed.labels(what).set(time.time())

    def refresh_failed(self, what: str) -> None:
        """A part of the world could not be brought up to date."""
        self._refresh_failures.labels(what).inc()
        if what in ("removals", "names"):
            self.store_failed("postgres")

    def render(self) -> bytes:
        """All figures, as Prometheus reads them."""
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            return _of_files(None)
        own = generate_latest(self.registry)
        return own if self._beside is None else own + _of_files(self._beside)


def _of_files(folder: Path | None) -> bytes:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, None if folder is None else str(folder))  # type: ignore[no-untyped-call]  # theirs
    return generate_latest(registry)


def _counter(family: Family, registry: CollectorRegistry) -> Counter:
    return Counter(family.name, family.help, family.label_names, registry=registry)


def _begin_at_zero(counter: Counter, family: Family) -> None:
    """Tell of what has not happened yet: the first time would not be seen as a growth else."""
    (label,) = family.labels
    for value in label.values:
        counter.labels(value)


def _histogram(family: Family, registry: CollectorRegistry) -> Histogram:
    return Histogram(
        family.name, family.help, family.label_names, buckets=family.buckets, registry=registry
    )


def _gauge(
    family: Family,
    registry: CollectorRegistry,
    across_workers: Literal["livemax", "livemin"],
) -> Gauge:
    return Gauge(
        family.name,
        family.help,
        family.label_names,
        registry=registry,
        multiprocess_mode=across_workers,
    )
