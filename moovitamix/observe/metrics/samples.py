"""What is read of a metric: a value by its labels. Reading: the modules called `read_…`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.utils import floatToGoString

from moovitamix.observe.metrics.family import Family


class Sample(NamedTuple):
    """A value of a counter or gauge.

    Attributes:
        family: Which metric.
        labels: The values of its labels, in their order.
        value: In the family's unit.
    """

    family: Family
    labels: tuple[str, ...]
    value: float


class Distribution(NamedTuple):
    """The state of a histogram.

    Attributes:
        family: Which metric.
        labels: The values of its labels, in their order.
        counts: How many fell between a bound and the one before; the last has no bound.
        total: The sum of what was observed.
    """

    family: Family
    labels: tuple[str, ...]
    counts: Sequence[int]
    total: float


Read = Sample | Distribution


def end_of(day: date) -> float:
    """The moment when a day was over, UTC, as a Unix time."""
    return datetime.combine(day + timedelta(days=1), time(), UTC).timestamp()


def metrics_of(read: Iterable[Read]) -> list[Metric]:
    """What was read as prometheus_client shows it; families in the order in which they came."""
    found: dict[str, Metric] = {}
    for one in read:
        family = one.family
        metric = found.get(family.name)
        if metric is None:
            metric = found[family.name] = _empty(family)
        if isinstance(one, Distribution) and isinstance(metric, HistogramMetricFamily):
            metric.add_metric(one.labels, _cumulative(family, one.counts), one.total)
        elif isinstance(one, Sample) and isinstance(
            metric, GaugeMetricFamily | CounterMetricFamily
        ):
            metric.add_metric(one.labels, one.value)
        else:
            raise TypeError(f"{family.name} is a {family.kind}: read it as one.")
    return list(found.values())


def _empty(family: Family) -> Metric:
    if family.kind == "histogram":
        return HistogramMetricFamily(family.name, family.help, labels=family.label_names)
    if family.kind == "counter":
        return CounterMetricFamily(family.name, family.help, labels=family.label_names)
    return GaugeMetricFamily(family.name, family.help, labels=family.label_names)


def _cumulative(family: Family, counts: Sequence[int]) -> list[tuple[str, float]]:
    bounds = [*map(floatToGoString, family.buckets), "+Inf"]
    return [(bound, float(sum(counts[: place + 1]))) for place, bound in enumerate(bounds)]
