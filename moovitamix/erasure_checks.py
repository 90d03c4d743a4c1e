"""The check that nobody is left who was erased: on all tables and the whole lake.

It crosses stages, so it belongs to none of them. How it is found out: `traces.traces_of_erased`.
"""

import dagster as dg

from moovitamix.resources import Lake, Warehouse


@dg.asset_check(asset="users", name="no_erased_user_left")
def no_erased_user_left(lake: Lake, warehouse: Warehouse) -> dg.AssetCheckResult:
    """No table, raw file, matrix, model, feature or export names a user who was erased."""
    from moovitamix.traces import traces_of_erased

    # Else it might look in the middle of an erasure.
    with warehouse.hold_erasures():
        traces = traces_of_erased(warehouse, lake.open())
    return dg.AssetCheckResult(
        passed=not traces,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={"traces": sum(traces.values()), "places": dg.MetadataValue.json(traces)},
    )
