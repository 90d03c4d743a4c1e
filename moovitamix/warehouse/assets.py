"""The `warehouse` stage as Dagster assets: staged, judged, and published as one."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING, Any

import dagster as dg

from moovitamix.errors import NothingToDo
from moovitamix.partitions import daily, days_of, single_run
from moovitamix.resources import Lake, Warehouse
from moovitamix.tabular import KIND, ROWS, tell_days
from moovitamix.warehouse import describe

if TYPE_CHECKING:
    import psycopg

    from moovitamix.warehouse.publish import Outcome

OWNERS = ["team:data-engineering"]
STAGED = ("staged_tracks", "staged_users", "staged_listens")


@dg.asset(
    deps=["raw_tracks", "raw_listen_history"],
    group_name="warehouse",
    owners=OWNERS,
    kinds={"postgres", KIND},
    metadata=describe.TABLES["staged_tracks"].definition(),
    partitions_def=daily,
    backfill_policy=single_run,
)
def staged_tracks(
    context: dg.AssetExecutionContext, lake: Lake, warehouse: Warehouse
) -> dg.MaterializeResult[Any]:
    """The tracks of a day, and those its listens name, typed, before they are believed."""
    from moovitamix.warehouse import told
    from moovitamix.warehouse.stage import copy_to_staging, tracks_slice

    days = days_of(context.partition_time_window)
    with _staging(context, warehouse, "staged_tracks", days) as connection:
        rows = tracks_slice(lake.open(), days, told.named(connection, days))
        staged = copy_to_staging(connection, "staged_tracks", context.run.run_id, rows)
        _tell(context, connection, "staged_tracks", days)
    return _staged(context, staged, days)


@dg.asset(
    deps=["raw_users", "raw_listen_history"],
    group_name="warehouse",
    owners=OWNERS,
    kinds={"postgres", KIND},
    metadata=describe.TABLES["staged_users"].definition(),
    partitions_def=daily,
    backfill_policy=single_run,
)
def staged_users(
    context: dg.AssetExecutionContext, lake: Lake, warehouse: Warehouse
) -> dg.MaterializeResult[Any]:
    """The users of a day, and those who listened on it, before they are believed."""
    from moovitamix.warehouse import told
    from moovitamix.warehouse.stage import copy_to_staging, users_slice

    days = days_of(context.partition_time_window)
    with _staging(context, warehouse, "staged_users", days) as connection:
        rows = users_slice(lake.open(), days, told.named(connection, days))
        staged = copy_to_staging(connection, "staged_users", context.run.run_id, rows)
        _tell(context, connection, "staged_users", days)
    return _staged(context, staged, days)


@dg.asset(
    deps=["raw_listen_history"],
    group_name="warehouse",
    owners=OWNERS,
    kinds={"postgres", KIND},
    metadata=describe.TABLES["staged_listens"].definition(),
    partitions_def=daily,
    backfill_policy=single_run,
)
def staged_listens(
    context: dg.AssetExecutionContext, lake: Lake, warehouse: Warehouse
) -> dg.MaterializeResult[Any]:
    """The listens of a day, pulled or told by the app: one row for each track heard."""
    from moovitamix.ingest.pulls import newest_pull
    from moovitamix.warehouse.stage import copy_to_staging, listens_by_file
    from moovitamix.warehouse.told import stage_told

    store, days, run_id = lake.open(), days_of(context.partition_time_window), context.run.run_id
    newest = newest_pull(store)
    with _staging(context, warehouse, "staged_listens", days) as connection:
        rows = listens_by_file(store, days)
        pulled = copy_to_staging(connection, "staged_listens", run_id, rows)
        pull = newest.name if newest else ""
        posted = stage_told(connection, run_id=run_id, days=days, pull=pull)
        _tell(context, connection, "staged_listens", days)
    return _staged(context, pulled + posted, days, posted_rows=posted)


@contextmanager
def _staging(
    context: dg.AssetExecutionContext, warehouse: Warehouse, table: str, days: Sequence[date]
) -> "Iterator[psycopg.Connection]":
    """A transaction that stages a slice, and notes that its days wait for their verdicts."""
    from moovitamix.warehouse.judge import expect_verdicts

    with warehouse.hold_erasures(), warehouse.connect() as connection:
        yield connection
        expect_verdicts(connection, run_id=context.run.run_id, endpoint=table, days=days)


def _tell(
    context: dg.AssetExecutionContext,
    connection: "psycopg.Connection",
    table: str,
    days: Sequence[date],
) -> None:
    from moovitamix.warehouse.stage import rows_by_day

    by_day = rows_by_day(connection, table, context.run.run_id)
    tell_days(context, table, describe.TABLES[table], days, by_day)


def _staged(
    context: dg.AssetExecutionContext, rows: int, days: Sequence[date], **counts: int
) -> dg.MaterializeResult[Any]:
    context.log.info(f"Staged {rows:,} rows of {len(days)} days")
    return dg.MaterializeResult(metadata={"staged_rows": rows, "days": len(days), **counts})


@dg.multi_asset(
    name="publication",
    specs=[
        dg.AssetSpec(
            table.name,
            deps=STAGED,
            description=table.comment,
            group_name="warehouse",
            owners=OWNERS,
            kinds={"postgres", KIND},
            metadata=describe.TABLES[table.name].definition(),
        )
        for table in describe.PUBLISHED
    ],
    partitions_def=daily,
    backfill_policy=single_run,
)
def publication(
    context: dg.AssetExecutionContext, lake: Lake, warehouse: Warehouse
) -> Iterator[dg.MaterializeResult[Any]]:
    """Publish the judged days into the six tables, in one transaction.

    In a range run the good days are published and recorded; the bad ones fail the run at its
    end, and stay in `blocked_days` until a later pull passes.
    """
    from moovitamix.ingest.contract import ENDPOINTS, TRACKS, USERS
    from moovitamix.ingest.pulls import gone_keys, newest_pull, rejected_on
    from moovitamix.warehouse.figures import keep_loads
    from moovitamix.warehouse.publish import publish
    from moovitamix.warehouse.quarantine import resolve_mended

    store = lake.open()
    days = days_of(context.partition_time_window)
    newest = newest_pull(store)
    if newest is None:
        raise NothingToDo(
            "The lake holds no pull any more: it was set aside while this run was under way. "
            "Run `moovitamix run` again."
        )
    with warehouse.hold_erasures(), warehouse.connect() as connection:
        outcome = publish(
            connection,
            run_id=context.run.run_id,
            pull=newest.name,
            days=days,
            rejected={one.name: rejected_on(store, one, days) for one in ENDPOINTS},
            gone={one.name: gone_keys(store, one, newest) for one in (TRACKS, USERS)},
        )
        mended = resolve_mended(connection, store)
        keep_loads(connection, context.run.run_id, outcome)
    context.log.info(
        f"Published {len(outcome.published)} days: "
        f"{outcome.inserted['listen_history']:,} new listens, "
        f"{outcome.known_listens:,} known, {outcome.quarantined_listens:,} in quarantine"
    )
    if mended:
        context.log.info(f"{mended:,} records that waited in quarantine were mended at the source")
    if outcome.accepted:
        context.log.warning(
            f"Published although a rule is broken, for its verdict was accepted: "
            f"{', '.join(map(str, outcome.accepted))}"
        )
    for spared, count in outcome.spared.items():
        if count:
            context.log.warning(
                f"Nothing was withdrawn from {spared}: the newest pull misses {count:,} rows at "
                "once. See `moovitamix days blocked`."
            )
    if outcome.withheld:
        _fail_for_blocked_days(context, outcome)
    for table in describe.PUBLISHED:
        tell_days(context, table.name, describe.TABLES[table.name], days)
        yield dg.MaterializeResult(asset_key=table.name, metadata=_metadata(outcome, table.name))


def _fail_for_blocked_days(context: dg.AssetExecutionContext, outcome: "Outcome") -> None:
    """Record the good days as materialized, and fail the run for the others."""
    for table in describe.PUBLISHED:
        for day in outcome.published:
            context.log_event(
                dg.AssetMaterialization(
                    table.name, partition=str(day), metadata=_metadata(outcome, table.name)
                )
            )
    days = ", ".join(map(str, outcome.withheld))
    raise dg.Failure(
        f"Blocked by their checks, and not published: {days}. The other "
        f"{len(outcome.published)} days of this run are published. See the failed checks of "
        "`staged_*` and `moovitamix days blocked`; the next pull tries them again.",
        allow_retries=False,
    )


def _metadata(outcome: "Outcome", table: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        ROWS: outcome.rows[table],
        "rows_inserted": outcome.inserted[table],
    }
    if outcome.accepted:
        found["days_accepted"] = ", ".join(map(str, outcome.accepted))
    if table in outcome.updated:
        found["rows_updated"] = outcome.updated[table]
        found["rows_withdrawn_or_back"] = outcome.withdrawals[table]
    if table == "genres":
        found["genres_too_long"] = outcome.overlong_genres
    if table == "listen_history":
        found |= {
            "listens_staged": outcome.staged_listens,
            "listens_known": outcome.known_listens,
            "listens_quarantined": outcome.quarantined_listens,
            "listens_replayed": outcome.replayed_listens,
            "records_rejected": outcome.rejected,
        }
    return found
