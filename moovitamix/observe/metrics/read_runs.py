"""Figures of runs, loads, sizes and of the source, read from the tables that runs write."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from moovitamix.ingest.request_times import BUCKETS
from moovitamix.observe.metrics import batch_families as families
from moovitamix.observe.metrics.samples import Distribution, Read, Sample, end_of

if TYPE_CHECKING:
    import psycopg

# A step that has not run for so long was renamed or removed.
_STEPS = """
SELECT DISTINCT ON (step) stage, step, seconds, cpu_seconds, peak_bytes, rows, NOT succeeded,
    max(ended_at) FILTER (WHERE succeeded) OVER (PARTITION BY step)
FROM step_figures WHERE ended_at > now() - interval '30 days'
ORDER BY step, ended_at DESC
"""

_LOADS = """
SELECT table_name, rows, new, changed, withdrawn
FROM load_figures
WHERE run_id = (SELECT run_id FROM load_figures ORDER BY loaded_at DESC LIMIT 1)
"""

_SOURCE = "SELECT endpoint, seconds, buckets, failures FROM source_figures"

_SIZES = """
SELECT relname, pg_total_relation_size(oid) FROM pg_class
WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace
"""

_LAKE = """
SELECT part, bytes FROM size_figures
WHERE store = 'lake' AND day = (SELECT max(day) FROM size_figures WHERE store = 'lake')
"""

# Between the newest day and the oldest of the week before it.
_GROWTH = """
WITH total AS (
    SELECT store, day, sum(bytes) AS bytes FROM size_figures
    WHERE day >= (SELECT max(day) FROM size_figures) - 7
    GROUP BY store, day
), span AS (
    SELECT store, min(day) AS first, max(day) AS last FROM total GROUP BY store
)
SELECT span.store, (late.bytes - early.bytes) / (last - first)
FROM span
JOIN total early ON early.store = span.store AND early.day = first
JOIN total late ON late.store = span.store AND late.day = last
WHERE last > first
"""

_NEWEST_DAY = "SELECT max(day) FROM published_days"


def read_runs(connection: psycopg.Connection) -> Iterator[Read]:
    """What steps took, what they loaded, how the source answered, how much there is."""
    yield from _steps(connection)
    yield from _loads(connection)
    yield from _source(connection)
    yield from _sizes(connection)


def _steps(connection: psycopg.Connection) -> Iterator[Read]:
    for stage, step, seconds, cpu, peak, rows, failed, success in connection.execute(_STEPS):
        labels = (stage, step)
        yield Sample(families.STEP_SECONDS, labels, seconds)
        yield Sample(families.STEP_CPU, labels, cpu)
        yield Sample(families.STEP_MEMORY, labels, peak)
        yield Sample(families.STEP_FAILED, labels, float(failed))
        if success is not None:
            yield Sample(families.STEP_END, labels, success.timestamp())
        if rows is not None and seconds > 0:
            yield Sample(families.STEP_ROWS, labels, rows / seconds)


def _loads(connection: psycopg.Connection) -> Iterator[Read]:
    for table, rows, new, changed, withdrawn in connection.execute(_LOADS):
        yield Sample(families.TABLE_ROWS, (table,), rows)
        for change, count in (("new", new), ("changed", changed), ("withdrawn", withdrawn)):
            yield Sample(families.LOAD_ROWS, (table, change), count)
    found = connection.execute(_NEWEST_DAY).fetchone()
    if found and found[0]:
        yield Sample(families.NEWEST_DAY, (), end_of(found[0]))


def _source(connection: psycopg.Connection) -> Iterator[Read]:
    taken: dict[str, Counter[int]] = {}
    seconds: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for endpoint, took, buckets, failures in connection.execute(_SOURCE):
        failed[endpoint] += failures
        if len(buckets) == len(BUCKETS) + 1:  # else kept by a version with other bounds
            seconds[endpoint] += took
            taken.setdefault(endpoint, Counter()).update(dict(enumerate(buckets)))
    for endpoint, counts in taken.items():
        places = [counts[place] for place in range(len(BUCKETS) + 1)]
        yield Distribution(families.SOURCE_REQUESTS, (endpoint,), places, seconds[endpoint])
    for endpoint, count in failed.items():
        yield Sample(families.SOURCE_FAILURES, (endpoint,), count)


def _sizes(connection: psycopg.Connection) -> Iterator[Read]:
    for store, query in (("postgres", _SIZES), ("lake", _LAKE)):
        for part, size in connection.execute(query).fetchall():
            yield Sample(families.STORE_BYTES, (store, part), size)
    for store, growth in connection.execute(_GROWTH).fetchall():
        yield Sample(families.STORE_GROWTH, (store,), float(growth))
