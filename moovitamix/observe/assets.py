"""The `observe` stage as Dagster assets. SciPy and implicit are imported when one runs."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg

from moovitamix.observe import describe
from moovitamix.partitions import daily, days_of, single_run
from moovitamix.resources import Cache, Lake, Warehouse
from moovitamix.tabular import KIND, ROWS_OF_DAY


@dg.asset(
    group_name="observe",
    owners=["team:data-science"],
    kinds={"postgres", "scipy", KIND},
    metadata=describe.READINGS.definition(),
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
                ROWS_OF_DAY: len(read.readings),
                "readings": dg.MetadataValue.md(drift_figures.markdown(read)),
                **describe.READINGS.lineage(),
                "verdict": read.verdict,
                "model_version": read.against.model_version,
                "champion_as_of": str(read.against.as_of),
                **drift_figures.series(read.readings),
            },
            partition_key=str(read.day),
        )
    return dg.MaterializeResult()


@dg.asset(
    group_name="observe",
    owners=["team:data-science"],
    kinds={"html", "json"},
    deps=["listen_history", "champion_model", "user_top_n", "data_drift"],
    partitions_def=daily,
    backfill_policy=single_run,
)
def daily_report(
    context: dg.AssetExecutionContext, lake: Lake, warehouse: Warehouse, cache: Cache
) -> dg.MaterializeResult[Any]:
    """What the team reads of a day: what needs a person, then every figure, as a page and as JSON.

    Most of it is as of the writing: what is open, served, waiting and kept. What ran is told since
    the report before.
    """
    from moovitamix.observe import online
    from moovitamix.observe.report import page, sentences, shelf
    from moovitamix.observe.report.collect import Sources, collect
    from moovitamix.observe.watch import post_of
    from moovitamix.settings import get_settings

    settings, store = get_settings(), lake.open()
    post, present = post_of(settings), settings.present()
    with warehouse.connect() as connection:
        online.count_unsettled(connection, present.date())
    sources = Sources(
        instance=context.instance,
        warehouse=warehouse,
        lake=store,
        cache=cache,
        post=post,
        run_id=context.run.run_id,
    )
    for day in days_of(context.partition_time_window):
        report = collect(sources, day, now=datetime.now(UTC), present=present)
        shelf.put(store, report, page.render(report, runbook=post.runbook))
        context.log.info(sentences.title(report))
        context.add_asset_metadata(
            {
                "page": dg.MetadataValue.path(shelf.address(store, shelf.page_name(day))),
                "json": dg.MetadataValue.path(shelf.address(store, shelf.json_name(day))),
                "outcome": report.outcome,
                "needs": len(report.needs),
                "critical": sum(one.severity == "critical" for one in report.needs),
                "in_brief": dg.MetadataValue.md(sentences.in_brief(report, post.runbook)),
            },
            partition_key=str(day),
        )
    return dg.MaterializeResult()
