"""How long the source took to answer, counted while a pull reads it. Kept: `warehouse/figures.py`.

The source is known by endpoint alone: no page, no record.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

# Upper bounds in seconds; from the page of a source next door to the longest that is waited for.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


@dataclass
class EndpointTimes:
    """Requests for pages of an endpoint.

    Attributes:
        seconds: Of all that were answered with a page, together.
        buckets: How many of them took at most so long and longer than the bound before; the last
            is without a bound.
        failures: How many were not answered with a page.
    """

    seconds: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    failures: int = 0

    @property
    def requests(self) -> int:
        """How many were answered with a page."""
        return sum(self.buckets)


@dataclass
class RequestTimes:
    """The requests of a pull, by endpoint."""

    by_endpoint: dict[str, EndpointTimes] = field(default_factory=dict)

    def took(self, endpoint: str, seconds: float) -> None:
        """A page came."""
        times = self.by_endpoint.setdefault(endpoint, EndpointTimes())
        times.seconds += seconds
        times.buckets[bisect_left(BUCKETS, seconds)] += 1

    def failed(self, endpoint: str) -> None:
        """No page came."""
        self.by_endpoint.setdefault(endpoint, EndpointTimes()).failures += 1
