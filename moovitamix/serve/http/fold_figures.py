"""The figures of folding in, for Prometheus: of the process that does it.

The metrics are declared in `observe/metrics/api_families.py`, the API's others are in `metrics.py`.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from moovitamix.observe.metrics import api_families as families
from moovitamix.serve.http.freshener import Listener


class FoldFigures(Listener):
    """What was folded in, how soon, what failed and what waits.

    Args:
        registry: Where they are shown.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._folded = Counter(families.FOLD_INS.name, families.FOLD_INS.help, registry=registry)
        self._seconds = Histogram(
            families.FOLD_IN.name,
            families.FOLD_IN.help,
            buckets=families.FOLD_IN.buckets,
            registry=registry,
        )
        self._failures = Counter(
            families.FOLD_IN_FAILURES.name, families.FOLD_IN_FAILURES.help, registry=registry
        )
        self._waiting = Gauge(
            families.FOLD_INS_WAITING.name,
            families.FOLD_INS_WAITING.help,
            registry=registry,
            multiprocess_mode="livesum",
        )

    def folded_in(self, users: int, seconds: float) -> None:
        """The lists of some users are fresh; the oldest of them was told so long ago."""
        self._folded.inc(users)
        self._seconds.observe(seconds)

    def waiting(self, users: int) -> None:
        """So many users wait to be folded in."""
        self._waiting.set(users)

    def fold_in_failed(self) -> None:
        """Nobody could be folded in."""
        self._failures.inc()
