"""What a metric is: name, kind, unit, help, labels and their values, and who sets it.

Which ones there are is told in `api_families.py` and `batch_families.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]
Unit = Literal[
    "seconds", "timestamp_seconds", "bytes", "ratio", "rows", "rows_per_second", "bytes_per_day", ""
]

# Who sets it: the API while it answers, or the exporter from what runs have left.
SetBy = Literal["api", "batch"]


@dataclass(frozen=True, slots=True)
class Label:
    """What a metric's series are told apart by; of few values, never a user, a day or a run.

    Attributes:
        name: Of the label.
        values: All that there are, where the code knows them.
        source: Else, where they come from and why they are few.
    """

    name: str
    values: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True, slots=True)
class Family:
    """A metric.

    Attributes:
        name: As Prometheus stores it; of a histogram, without `_bucket`, `_sum` and `_count`.
        kind: Of Prometheus.
        unit: Of its value, also the end of its name; empty: a count, a state or a figure without.
        help: What it counts or measures, in a sentence.
        labels: In their order.
        set_by: Who sets it.
        buckets: Upper bounds of a histogram, without the infinite one.
    """

    name: str
    kind: Kind
    unit: Unit
    help: str
    labels: tuple[Label, ...]
    set_by: SetBy
    buckets: tuple[float, ...] = ()

    @property
    def label_names(self) -> tuple[str, ...]:
        """The names of its labels."""
        return tuple(label.name for label in self.labels)
