"""The warehouse stage without Dagster, for tests: stage, take a verdict, publish, look.

The verdict is the test's to give; how the stage reaches its own is `test_judge.py`'s subject.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from datetime import date
from typing import Any, LiteralString

from moovitamix.ingest.contract import ENDPOINTS, TRACKS, USERS
from moovitamix.ingest.lake import LakeStore
from moovitamix.ingest.pulls import gone_keys, newest_pull, rejected_on
from moovitamix.resources import Warehouse
from moovitamix.warehouse import told as told_by_the_app
from moovitamix.warehouse.judge import RuleResult, Verdicts, expect_verdicts, record_verdicts
from moovitamix.warehouse.publish import Outcome, publish
from moovitamix.warehouse.quarantine import resolve_mended
from moovitamix.warehouse.stage import (
    copy_to_staging,
    listens_slice,
    tracks_slice,
    users_slice,
)

SLICES = {
    "staged_tracks": tracks_slice,
    "staged_users": users_slice,
    "staged_listens": listens_slice,
}
TELLING = {"staged_tracks": tracks_slice, "staged_users": users_slice}
RULE = "email_like"

# The six tables without the ids that are ours and depend on the order of loading.
CONTENTS: dict[str, LiteralString] = {
    "genres": "SELECT name FROM genres",
    "tracks": "SELECT * FROM tracks",
    "users": "SELECT * FROM users",
    "track_genres": "SELECT track_id, name FROM track_genres JOIN genres ON id = genre_id",
    "user_favorite_genres": (
        "SELECT user_id, name FROM user_favorite_genres JOIN genres ON id = genre_id"
    ),
    "listen_history": (
        "SELECT user_id, track_id, listened_at, recorded_at, nth FROM listen_history"
    ),
    "quarantine": (
        "SELECT endpoint, payload, reason, field FROM quarantine WHERE resolved_at IS NULL"
    ),
}


def november(day: int) -> date:
    return date(2026, 11, day)


def stage_days(warehouse: Warehouse, lake: LakeStore, days: Sequence[date], run_id: str) -> None:
    """Stage the slices of a run, and note that they wait for their verdicts."""
    newest = newest_pull(lake)
    with warehouse.connect() as connection:
        told = told_by_the_app.named(connection, days)
        for table, slice_of in TELLING.items():
            copy_to_staging(connection, table, run_id, slice_of(lake, days, told))
        copy_to_staging(connection, "staged_listens", run_id, listens_slice(lake, days))
        told_by_the_app.stage_told(
            connection, run_id=run_id, days=days, pull=newest.name if newest else ""
        )
        for table in SLICES:
            expect_verdicts(connection, run_id=run_id, endpoint=table, days=days)


def give_verdicts(
    warehouse: Warehouse,
    days: Sequence[date],
    run_id: str,
    *,
    bad: Collection[date] = (),
    pull: str = "",
) -> None:
    """Judge all days good, but for the bad ones, whose users break a rule."""
    whole = {RULE: RuleResult(passed=not bad, rows=1, unexpected=len(bad))}
    with warehouse.connect() as connection:
        for table in SLICES:
            broken = bad if table == "staged_users" else ()
            failed = {day: [RULE] if day in broken else [] for day in days}
            record_verdicts(
                connection,
                run_id=run_id,
                endpoint=table,
                pull=pull,
                verdicts=Verdicts(whole, failed),
            )


def publish_days(
    warehouse: Warehouse, lake: LakeStore, days: Sequence[date], run_id: str
) -> Outcome:
    """Publish what the run has staged and judged."""
    newest = newest_pull(lake)
    with warehouse.connect() as connection:
        outcome = publish(
            connection,
            run_id=run_id,
            pull=newest.name if newest else "",
            days=days,
            rejected={one.name: rejected_on(lake, one, days) for one in ENDPOINTS},
            gone={one.name: gone_keys(lake, one, newest) for one in (TRACKS, USERS)},
        )
        resolve_mended(connection, lake)
        return outcome


def load(warehouse: Warehouse, lake: LakeStore, *days: int, bad: Collection[int] = ()) -> Outcome:
    """Stage, judge and publish some days of November 2026 in one run."""
    run_id, dates = uuid.uuid4().hex, [november(day) for day in days]
    newest = newest_pull(lake)
    stage_days(warehouse, lake, dates, run_id)
    give_verdicts(
        warehouse,
        dates,
        run_id,
        bad=[november(day) for day in bad],
        pull=newest.name if newest else "",
    )
    return publish_days(warehouse, lake, dates, run_id)


def rows_of(warehouse: Warehouse, query: LiteralString) -> list[tuple[Any, ...]]:
    """The rows of a query, sorted."""
    with warehouse.connect() as connection:
        return sorted(connection.execute(query).fetchall(), key=repr)


def contents(warehouse: Warehouse) -> dict[str, list[tuple[Any, ...]]]:
    """Everything that loading has made, without ids that are ours."""
    return {table: rows_of(warehouse, query) for table, query in CONTENTS.items()}
