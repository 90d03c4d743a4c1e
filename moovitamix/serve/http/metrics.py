"""The API's figures for Prometheus: counted inline, with labels of few values.

What is counted happens elsewhere; the names are told in `docs/serving.md`. With several workers,
each writes to files that whichever is asked adds up (`PROMETHEUS_MULTIPROC_DIR`, set by
`server.py` before this is imported).
"""

from __future__ import annotations

import os
import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from moovitamix.serve.http.breaker import State
from moovitamix.serve.http.freshener import Listener
from moovitamix.serve.http.reads import Observer
from moovitamix.serve.http.refresh import Watcher
from moovitamix.serve.http.tiers import Reads

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_KEYS = (2, 4, 8, 16, 32, 64, 128, 256, 512)
_STATES: tuple[State, ...] = ("closed", "half-open", "open")
PARTS = ("snapshot", "popular", "names", "removals", "model", "challenger")


class Metrics(Observer, Reads, Watcher, Listener):
    """All figures of one process, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._requests = Counter(
            "moovitamix_http_requests",
            "Requests answered, by route, tier of the answer and status.",
            ["route", "tier", "status"],
            registry=registry,
        )
        self._duration = Histogram(
            "moovitamix_http_request_duration_seconds",
            "Time from the request's head to the end of the answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._refused = Counter(
            "moovitamix_http_refused",
            "Requests refused before they reached a route: key, scope, rate, size, time.",
            ["reason"],
            registry=registry,
        )
        self._reads = Counter(
            "moovitamix_cache_reads",
            "Values read from Redis: there, missing, or damaged or of an unknown version.",
            ["result"],
            registry=registry,
        )
        self._batch = Histogram(
            "moovitamix_cache_batch_keys",
            "Keys asked for in one round trip to Redis.",
            buckets=_KEYS,
            registry=registry,
        )
        self._failures = Counter(
            "moovitamix_store_failures",
            "Calls that a store did not answer.",
            ["store"],
            registry=registry,
        )
        self._breaker = Gauge(
            "moovitamix_store_breaker_state",
            "Of the circuit breaker: 0 closed, 1 half-open, 2 open.",
            ["store"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._refreshed = Gauge(
            "moovitamix_snapshot_timestamp_seconds",
            "When a part of what the process holds was last known to be up to date.",
            ["part"],
            registry=registry,
            multiprocess_mode="livemin",
        )
        self._refresh_failures = Counter(
            "moovitamix_snapshot_failures",
            "Attempts to bring a part of what the process holds up to date that failed.",
            ["part"],
            registry=registry,
        )
        self._folded = Counter(
            "moovitamix_fold_ins",
            "Users whose lists were made anew because something new was known of them.",
            registry=registry,
        )
        self._fold_in = Histogram(
            "moovitamix_fold_in_seconds",
            "Time from the acknowledgement of a listen to the lists that know it; of a batch of "
            "users that of who waited longest.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._fold_in_failures = Counter(
            "moovitamix_fold_in_failures",
            "Times when nobody could be folded in, for a store did not answer.",
            registry=registry,
        )
        self._waiting = Gauge(
            "moovitamix_fold_ins_waiting",
            "Users whose lists are to be made anew.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._by_request: dict[tuple[str, str, int], Counter] = {}
        self._by_route: dict[str, Histogram] = {}
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
        duration = self._by_route.get(route)
        if duration is None:
            duration = self._by_route[route] = self._duration.labels(route)
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

    def folded_in(self, users: int, seconds: float) -> None:
        """The lists of some users are fresh; the oldest of them was told so long ago."""
        self._folded.inc(users)
        self._fold_in.observe(seconds)

    def waiting(self, users: int) -> None:
        """So many users wait to be folded in."""
        self._waiting.set(users)

    def fold_in_failed(self) -> None:
        """Nobody could be folded in."""
        self._fold_in_failures.inc()

    def render(self) -> bytes:
        """All figures, as Prometheus reads them."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self.registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # theirs
        return generate_latest(registry)
