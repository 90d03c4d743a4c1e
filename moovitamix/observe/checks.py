"""The checks of the stage. They hold nothing back: what follows from drift is decided by people."""

import dagster as dg

from moovitamix.partitions import days_of_run
from moovitamix.resources import Lake, Warehouse


@dg.asset_check(asset="data_drift", name="drift_within_bounds")
def drift_is_within_bounds(
    context: dg.AssetCheckExecutionContext, warehouse: Warehouse
) -> dg.AssetCheckResult:
    """No feature of the run's newest day is beyond its threshold for an alarm."""
    from moovitamix.observe.drift_store import read_readings

    days = days_of_run(context.run.tags)
    with warehouse.connect() as connection:
        stored = read_readings(connection, days[-1] if days else None)
    readings = stored.readings if stored else ()
    drifted = [one.feature for one in readings if one.verdict == "drifted"]
    return dg.AssetCheckResult(
        passed=not drifted,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"Drifted: {', '.join(drifted)}; see docs/runbook.md." if drifted else None,
        metadata={
            "drifted": len(drifted),
            "warnings": sum(one.verdict == "warning" for one in readings),
            "cannot_tell": sum(one.verdict == "cannot tell" for one in readings),
        },
    )


@dg.asset_check(asset="daily_report", name="report_whole")
def report_is_whole(
    context: dg.AssetCheckExecutionContext, lake: Lake, warehouse: Warehouse
) -> dg.AssetCheckResult:
    """The report of the run's newest day is there, can be read, and says what the tables say."""
    from moovitamix.observe.report import verification

    days = days_of_run(context.run.tags)
    with warehouse.connect() as connection:
        faults = verification.faults(connection, lake.open(), days[-1] if days else None)
    return dg.AssetCheckResult(
        passed=not faults,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{' '.join(faults)} See docs/runbook.md." if faults else None,
        metadata={"faults": len(faults)},
    )
