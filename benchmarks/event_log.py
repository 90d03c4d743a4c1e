"""How long a range run's history takes to write: Dagster's own SQLite storage against ours.

One run of a chain of assets that do nothing, over a range of days, is made on two fresh instances:
with the stock storage, event by event, and with the batched one as the command line sets it. What
the run costs beside its history is in both figures, so that the ratio is a lower bound.
"""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from datetime import date, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

import dagster as dg
from dagster._core.storage.event_log import SqliteEventLogStorage

from moovitamix.embedded.event_log import BatchedSqliteEventLogStorage

FIRST_DAY = date(2026, 1, 1)


def main() -> None:
    """Measure and print."""
    parser = ArgumentParser(description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter)
    parser.add_argument("--assets", type=int, default=12, help="assets in the chain")
    parser.add_argument("--days", type=int, default=60, help="days of the range")
    parser.add_argument("--batch", type=int, default=1_000, help="events of a batch at most")
    asked = parser.parse_args()

    warnings.simplefilter("ignore", dg.BetaWarning)
    last_day = FIRST_DAY + timedelta(days=asked.days - 1)
    job = _chain(asked.assets)
    seconds = {
        "stock": _time_of_run(job, last_day, SqliteEventLogStorage, 0),
        "batched": _time_of_run(job, last_day, BatchedSqliteEventLogStorage, asked.batch),
    }
    print(f"{asked.assets} assets x {asked.days} days in one run")
    for name, value in seconds.items():
        print(f"{name:<8} {value:>8.2f} s")
    print(f"ratio    {seconds['stock'] / seconds['batched']:>8.1f} x")


def _chain(length: int) -> dg.JobDefinition:
    days = dg.DailyPartitionsDefinition(FIRST_DAY.isoformat())

    def asset(number: int) -> dg.AssetsDefinition:
        @dg.asset(
            name=f"asset_{number}",
            deps=[f"asset_{number - 1}"] if number else [],
            partitions_def=days,
            backfill_policy=dg.BackfillPolicy.single_run(),
        )
        def nothing() -> dg.MaterializeResult[Any]:
            return dg.MaterializeResult(metadata={"rows": number})

        return nothing

    return dg.Definitions(
        assets=[asset(number) for number in range(length)],
        jobs=[dg.define_asset_job("chain", dg.AssetSelection.all())],
        executor=dg.in_process_executor,
        loggers={"quiet": _quiet},
    ).resolve_job_def("chain")


@dg.logger
def _quiet(_: dg.InitLoggerContext) -> logging.Logger:
    # Not by `getLogger`: one that is known by name would pass on to the root's handlers.
    return logging.Logger("quiet", logging.CRITICAL)  # noqa: LOG001 - see above


def _time_of_run(
    job: dg.JobDefinition, last_day: date, storage: type[SqliteEventLogStorage], batch: int
) -> float:
    os.environ["DAGSTER_EVENT_BATCH_SIZE"] = str(batch)
    with tempfile.TemporaryDirectory() as folder:
        chosen = {
            "module": storage.__module__,
            "class": storage.__name__,
            "config": {"base_dir": str(Path(folder, "history", "runs"))},
        }
        overrides = {"event_log_storage": chosen}
        with dg.DagsterInstance.local_temp(folder, overrides=overrides) as instance:
            began = perf_counter()
            job.execute_in_process(
                instance=instance,
                run_config={"loggers": {"quiet": {}}},
                tags={
                    "dagster/asset_partition_range_start": FIRST_DAY.isoformat(),
                    "dagster/asset_partition_range_end": last_day.isoformat(),
                },
            )
            return perf_counter() - began


if __name__ == "__main__":
    main()
