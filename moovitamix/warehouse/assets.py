"""The `warehouse` stage as Dagster assets: staged, judged, and published as one."""

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import dagster as dg

from moovitamix.errors import NothingToDo
from moovitamix.partitions import daily, days_of, single_run
from moovitamix.resources import Lake, Warehouse
from moovitamix.warehouse import describe

if TYPE_CHECKING:
    import polars as pl

    from moovitamix.warehouse.publish import Outcome

OWNERS = ["team:data-engineering"]
STAGED = ("staged_tracks", "staged_users", "staged_listens")


@dg.asset(
    deps=["raw_tracks", "raw_listen_history"],
    group_name="warehouse",
    owners=OWNERS,
    kinds={"postgres"},
    partitions_def=daily,
    backfill_policy=single_run,
)
def staged_tracks(
    context: dg.AssetExecutionContext, lake: Lake, warehouse: Warehouse
) -> dg.MaterializeResult[Any]:
    """The tracks of a day, and those its listens name, typed, before they are believed."""
    from moovitamix.warehouse.stage import tracks_slice

    days = days_of(context.partition_time_window)
    return _stage(
        context, warehouse, "staged_tracks", days, lambda: tracks_slice(lake.open(), days)
    )


@dg.asset(
    deps=["raw_users", "raw_listen_history"],
    group_name="warehouse",
    owners=OWNERS,
    kinds={"postgres"},
    partitions_def=daily,
    backfill_policy=single_run,
)
def staged_users(
    context: dg.AssetExecutionContext, lake: Lake, warehouse: Warehouse
) -> dg.MaterializeResult[Any]:
    """The users of a day, and those who listened on it, before they are believed."""
    from moovitamix.warehouse.stage import users_slice

    days = days_of(context.partition_time_window)
    return _stage(context, warehouse, "staged_users", days, lambda: users_slice(lake.open(), days))


@dg.asset(
    deps=["raw_listen_history"],
    group_name="warehouse",
    owners=OWNERS,
    kinds={"postgres"},
    partitions_def=daily,
    backfill_policy=single_run,
)
def staged_listens(
    context: dg.AssetExecutionContext, lake: Lake, warehouse: Warehouse
) -> dg.MaterializeResult[Any]:
    """The listens of a day, one row for each track heard, before they are believed."""
    from moovitamix.warehouse.stage import listens_by_file

    days = days_of(context.partition_time_window)
    return _stage(
        context, warehouse, "staged_listens", days, lambda: listens_by_file(lake.open(), days)
    )


def _stage(
    context: dg.AssetExecutionContext,
    warehouse: Warehouse,
    table: str,
    days: Sequence[date],
    read: "Callable[[], pl.DataFrame | Iterator[pl.DataFrame]]",
) -> dg.MaterializeResult[Any]:
    from moovitamix.warehouse.judge import expect_verdicts
    from moovitamix.warehouse.stage import copy_to_staging

    with warehouse.hold_erasures(), warehouse.connect() as connection:
        staged = copy_to_staging(connection, table, context.run.run_id, read())
        expect_verdicts(connection, run_id=context.run.run_id, endpoint=table, days=days)
    context.log.info(f"Staged {staged:,} rows of {len(days)} days")
    return dg.MaterializeResult(metadata={"staged_rows": staged, "days": len(days)})


@dg.multi_asset(
    name="publication",
    specs=[
        dg.AssetSpec(
            table.name,
            deps=STAGED,
            description=table.comment,
            group_name="warehouse",
            owners=OWNERS,
            kinds={"postgres", "table"},
            metadata={"dagster/column_schema": describe.column_schema(table)},
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
        "dagster/row_count": outcome.rows[table],
        "rows_inserted": outcome.inserted[table],
    }
    if outcome.accepted:
        found["days_accepted"] = ", ".join(map(str, outcome.accepted))
    if table in outcome.updated:
        found["rows_updated"] = outcome.updated[table]
        found["rows_withdrawn_or_back"] = outcome.withdrawals[table]
    if table == "listen_history":
        found |= {
            "listens_staged": outcome.staged_listens,
            "listens_known": outcome.known_listens,
            "listens_quarantined": outcome.quarantined_listens,
            "listens_replayed": outcome.replayed_listens,
            "records_rejected": outcome.rejected,
        }
    return found
