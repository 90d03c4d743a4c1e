"""Figures of runs, as rows: writing them, and forgetting the old ones.

How they come about is told in `observe/metrics/`. Every function works in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import psycopg

    from moovitamix.ingest.request_times import RequestTimes
    from moovitamix.warehouse.publish import Outcome

Result = Literal["passed", "warned", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFigure:
    """What a step of a run took; as the columns of `step_figures`, without the run's."""

    step: str
    stage: str
    ended_at: datetime
    succeeded: bool
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    rows: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckFigure:
    """How a check went; as the columns of `check_figures`, without the run's."""

    asset: str
    check_name: str
    stage: str
    result: Result
    rows: int | None
    unexpected: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFigures:
    """What is kept of a run when it ends."""

    steps: Sequence[StepFigure]
    checks: Sequence[CheckFigure]


# A run that is resumed writes what it did since; a step that is tried again, its last try.
_STEP = """
INSERT INTO step_figures (run_id, job, step, stage, ended_at, succeeded, seconds, cpu_seconds,
    peak_bytes, rows)
VALUES (%(run_id)s, %(job)s, %(step)s, %(stage)s, %(ended_at)s, %(succeeded)s, %(seconds)s,
    %(cpu_seconds)s, %(peak_bytes)s, %(rows)s)
ON CONFLICT (run_id, step) DO UPDATE SET ended_at = excluded.ended_at,
    succeeded = excluded.succeeded, seconds = excluded.seconds,
    cpu_seconds = excluded.cpu_seconds, peak_bytes = excluded.peak_bytes, rows = excluded.rows
"""

_LOAD = """
INSERT INTO load_figures (run_id, table_name, loaded_at, first_day, last_day, rows, new, changed,
    withdrawn)
VALUES (%(run_id)s, %(table_name)s, now(), %(first_day)s, %(last_day)s, %(rows)s, %(new)s,
    %(changed)s, %(withdrawn)s)
ON CONFLICT (run_id, table_name) DO UPDATE SET loaded_at = excluded.loaded_at,
    rows = excluded.rows, new = excluded.new, changed = excluded.changed,
    withdrawn = excluded.withdrawn
"""

_CHECK = """
INSERT INTO check_figures (run_id, asset, check_name, stage, checked_at, result, rows, unexpected)
VALUES (%(run_id)s, %(asset)s, %(check_name)s, %(stage)s, now(), %(result)s, %(rows)s,
    %(unexpected)s)
ON CONFLICT (run_id, asset, check_name) DO UPDATE SET checked_at = excluded.checked_at,
    result = excluded.result, rows = excluded.rows, unexpected = excluded.unexpected
"""

_SOURCE = """
INSERT INTO source_figures (asked_at, endpoint, seconds, buckets, failures)
VALUES (clock_timestamp(), %(endpoint)s, %(seconds)s, %(buckets)s, %(failures)s)
"""

_SIZE = """
INSERT INTO size_figures (day, store, part, bytes)
VALUES (%(day)s, %(store)s, %(part)s, %(bytes)s)
ON CONFLICT (day, store, part) DO UPDATE SET bytes = excluded.bytes
"""

# With the indexes and what is kept beside the rows.
_TABLES = """
SELECT relname, pg_total_relation_size(oid) FROM pg_class
WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace
"""

# Requests are counted up since the beginning, so what is forgotten is added to what stays.
_FORGET_SOURCE = """
WITH gone AS (
    DELETE FROM source_figures WHERE asked_at < %(before)s
    RETURNING asked_at, endpoint, seconds, buckets, failures
), counted AS (
    SELECT endpoint, cardinality(buckets) AS length, place, sum(count)::bigint AS count
    FROM gone, unnest(buckets) WITH ORDINALITY AS bucket(count, place)
    GROUP BY endpoint, length, place
), summed AS (
    SELECT endpoint, length, array_agg(count ORDER BY place) AS buckets
    FROM counted GROUP BY endpoint, length
)
INSERT INTO source_figures (asked_at, endpoint, seconds, buckets, failures)
SELECT max(asked_at), endpoint, sum(seconds), summed.buckets, sum(failures)
FROM gone JOIN summed USING (endpoint)
WHERE cardinality(gone.buckets) = summed.length
GROUP BY endpoint, summed.buckets
"""

_FORGET = (
    "DELETE FROM step_figures WHERE ended_at < %(before)s",
    "DELETE FROM load_figures WHERE loaded_at < %(before)s",
    "DELETE FROM check_figures WHERE checked_at < %(before)s",
    "DELETE FROM size_figures WHERE day < %(before)s::date",
)


def keep_run(connection: psycopg.Connection, run_id: str, job: str, figures: RunFigures) -> None:
    """Keep the figures of a run; what was kept of it before is replaced."""
    run = {"run_id": run_id, "job": job}
    with connection.cursor() as cursor:
        for statement, rows in ((_STEP, figures.steps), (_CHECK, figures.checks)):
            cursor.executemany(statement, [{**run, **asdict(row)} for row in rows])


def keep_loads(connection: psycopg.Connection, run_id: str, outcome: Outcome) -> None:
    """Keep what a publication did to each table, in its own transaction; of no day, nothing."""
    days = outcome.published
    for table, rows in outcome.rows.items() if days else ():
        connection.execute(
            _LOAD,
            {
                "run_id": run_id,
                "table_name": table,
                "first_day": min(days),
                "last_day": max(days),
                "rows": rows,
                "new": outcome.inserted[table],
                "changed": outcome.updated.get(table, 0),
                "withdrawn": outcome.withdrawals.get(table, 0),
            },
        )


def keep_request_times(connection: psycopg.Connection, times: RequestTimes) -> None:
    """Keep how long the source took to answer a pull."""
    for endpoint, taken in times.by_endpoint.items():
        connection.execute(_SOURCE, {"endpoint": endpoint, **asdict(taken)})


def keep_sizes(connection: psycopg.Connection, day: date, lake: Mapping[str, int]) -> None:
    """Keep how large the tables are now, and the lake.

    Args:
        connection: A transaction of the warehouse.
        day: Today, UTC.
        lake: Bytes by folder.
    """
    tables: dict[str, int] = dict(connection.execute(_TABLES).fetchall())
    with connection.cursor() as cursor:
        cursor.executemany(
            _SIZE,
            [
                {"day": day, "store": store, "part": part, "bytes": size}
                for store, parts in (("postgres", tables), ("lake", lake))
                for part, size in parts.items()
            ],
        )


def keep_cache_size(connection: psycopg.Connection, day: date, size: int) -> None:
    """Keep how many bytes Redis holds now, whoever put them there."""
    connection.execute(_SIZE, {"day": day, "store": "redis", "part": "all", "bytes": size})


def forget(connection: psycopg.Connection, before: datetime) -> int:
    """Remove what is older; how many rows, without those of the source, which are summed up."""
    asked = {"before": before}
    connection.execute(_FORGET_SOURCE, asked)
    return sum(connection.execute(statement, asked).rowcount for statement in _FORGET)
