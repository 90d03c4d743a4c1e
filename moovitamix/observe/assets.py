"""The `observe` stage as Dagster assets. SciPy and implicit are imported when one runs."""

from typing import Any

import dagster as dg

from moovitamix.partitions import daily, days_of, single_run
from moovitamix.resources import Lake, Warehouse


@dg.asset(
    group_name="observe",
    owners=["team:data-science"],
    kinds={"postgres", "scipy"},
    deps=["listen_history", "champion_model"],
    partitions_def=daily,
    backfill_policy=single_run,
)
def data_drift(
    context: dg.AssetExecutionContext, lake: Lake, warehouse: Warehouse
) -> dg.MaterializeResult[Any]:
    """Whether the last days look like what the champion was trained on, feature by feature.

    What is usual, and so where the thresholds are, is read from the champion's own data.
    """
    from moovitamix.observe import drift_figures, drift_reading

    days = days_of(context.partition_time_window)
    rules = drift_reading.configured_rules()
    for read in drift_reading.read_days(warehouse, lake.open(), days, rules, context.log.info):
        context.log.info(drift_figures.sentence(read))
        context.add_asset_metadata(
            {
                "readings": dg.MetadataValue.md(drift_figures.markdown(read)),
                "verdict": read.verdict,
                "model_version": read.against.model_version,
                "champion_as_of": str(read.against.as_of),
                **drift_figures.series(read.readings),
            },
            partition_key=str(read.day),
        )
    return dg.MaterializeResult()
