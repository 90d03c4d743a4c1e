"""Figures of quality: checks by result, what tables are like, what waits, what is blocked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from moovitamix.ingest.checks import AS_DECLARED
from moovitamix.observe import looks
from moovitamix.observe.metrics import batch_families as families
from moovitamix.observe.metrics.dimensions import Dimension, dimension_of
from moovitamix.observe.metrics.samples import Read, Sample

if TYPE_CHECKING:
    import psycopg

# A check that has not run for so long was renamed or removed.
_CHECKS = """
SELECT DISTINCT ON (asset, check_name) stage, asset, check_name, result, rows, unexpected
FROM check_figures WHERE checked_at > now() - interval '30 days'
ORDER BY asset, check_name, checked_at DESC
"""

_QUARANTINE = """
SELECT endpoint, reason, count(*) FROM quarantine WHERE resolved_at IS NULL
GROUP BY endpoint, reason
"""

_BLOCKED = "SELECT count(DISTINCT day) FROM blocked_days WHERE accepted_at IS NULL"

_ALERTS = "SELECT severity, count(*) FROM alerts WHERE resolved_at IS NULL GROUP BY severity"

_RESULTS = ("passed", "warned", "failed")

# What a reason begins with, or holds; the first that fits.
_REASONS = (
    ("Unknown user", "unknown user"),
    ("Unknown track", "unknown track"),
    ("missing required field", "missing field"),
    ("Dated", "date"),
    ("Expected a year", "date"),
    ("Invalid RFC3339", "date"),
    ("Expected", "type"),
)


def reason_class(reason: str) -> str:
    """Which of `QUARANTINE_REASONS` a row's reason belongs to: reasons are many, these are few."""
    return next((kind for words, kind in _REASONS if words in reason), "other")


def read_quality(connection: psycopg.Connection) -> Iterator[Read]:
    """Checks, tables, quarantine, blocked days and open alerts."""
    yield from _checks(connection)
    waiting: Counter[tuple[str, str]] = Counter()
    for endpoint, reason, count in connection.execute(_QUARANTINE).fetchall():
        waiting[endpoint, reason_class(reason)] += count
    for endpoint in families.QUARANTINE.labels[0].values:
        for reason in families.QUARANTINE_REASONS:
            if reason.startswith("unknown") == (endpoint == "listens"):
                rows = waiting[endpoint, reason]
                yield Sample(families.QUARANTINE, (endpoint, reason), rows)
    blocked = connection.execute(_BLOCKED).fetchone()
    yield Sample(families.BLOCKED_DAYS, (), blocked[0] if blocked else 0)
    open_alerts: dict[str, int] = dict(connection.execute(_ALERTS).fetchall())
    for severity in families.ALERTS.labels[0].values:
        yield Sample(families.ALERTS, (severity,), open_alerts.get(severity, 0))
    looked = looks.last(connection)
    if looked is not None:
        yield Sample(families.ALERTS_LOOKED, (), looked.timestamp())


def _checks(connection: psycopg.Connection) -> Iterator[Read]:
    results: Counter[tuple[str, str]] = Counter()
    worst: dict[tuple[str, Dimension], float] = {}
    stages: set[str] = set()
    for stage, asset, check, result, rows, unexpected in connection.execute(_CHECKS).fetchall():
        stages.add(stage)
        results[stage, result] += 1
        yield Sample(families.CHECK_PASSED, (asset, check), float(result == "passed"))
        if check == AS_DECLARED and unexpected is not None:
            endpoint = asset.removeprefix("raw_")
            yield Sample(families.UNKNOWN_FIELDS, (endpoint,), unexpected)
        dimension = dimension_of(check)
        if dimension is not None and rows and unexpected is not None:
            share = max(0.0, 1 - unexpected / rows)
            key = (asset, dimension)
            worst[key] = min(share, worst.get(key, 1.0))
    for stage in sorted(stages):
        for result in _RESULTS:
            yield Sample(families.CHECKS, (stage, result), results[stage, result])
    for (table, dimension), share in worst.items():
        yield Sample(families.QUALITY, (table, dimension), share)
