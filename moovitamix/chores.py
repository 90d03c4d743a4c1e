"""Jobs that make no asset: what is removed, prolonged and counted between the days.

When the ones without a schedule run is told in `automation.py`.
"""

import dagster as dg

from moovitamix.errors import StoreUnavailable
from moovitamix.resources import Cache, Lake, Warehouse
from moovitamix.settings import get_settings


@dg.op(description="Remove what is older than the settings allow; see `retention.py`.")
def keep_house(
    context: dg.OpExecutionContext, lake: Lake, warehouse: Warehouse, cache: Cache
) -> None:
    """No asset: it makes nothing, and what it removes is of all stages."""
    from moovitamix import retention

    tidied = retention.keep_house(warehouse, lake.open(), cache, get_settings())
    context.log.info(tidied.sentence())
    try:
        held = retention.measure_cache(warehouse, cache, get_settings())
    except StoreUnavailable as error:  # of a day without Redis no size is kept: that is all
        context.log.warning(f"The cache is not measured. {error}")
    else:
        context.log.info(f"The cache holds {held:,} bytes.")


@dg.job(
    description="Erase users long gone from the source, and remove what old pulls alone hold.",
)
def housekeeping() -> None:
    """What is kept for how long is told by `MOOVITAMIX_KEEP_…` and `…_AFTER_DAYS`."""
    keep_house()


housekeeping_daily = dg.ScheduleDefinition(
    name="housekeeping_daily",
    description="Every night at 03:45 UTC, after the load.",
    job=housekeeping,
    cron_schedule="45 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)


@dg.op(description="Count what became of what was shown; see `observe/online.py`.")
def count(context: dg.OpExecutionContext, warehouse: Warehouse) -> None:
    """No asset: a day's figures change for a week, as events and listens come in."""
    from moovitamix.observe import online

    with warehouse.connect() as connection:
        counted = online.count_unsettled(connection, get_settings().present().date())
    for day, rows in counted.items():
        context.log.info(f"{day}: {rows} rows of online figures")


@dg.job(description="Click-through, skips and listening, by model version, tier and day.")
def count_feedback() -> None:
    """All days that have feedback and are not settled yet."""
    count()


count_feedback_daily = dg.ScheduleDefinition(
    name="count_feedback_daily",
    description="Every night at 04:15 UTC, when the listens of the day before are loaded.",
    job=count_feedback,
    cron_schedule="15 4 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)


@dg.op(description="Prolong the life of the lists that are served; see `serve/life.py`.")
def prolong(context: dg.OpExecutionContext, cache: Cache) -> None:
    """No asset: it makes no list, and what was materialized stays what it was."""
    from moovitamix.serve.arms import renew_challenger
    from moovitamix.serve.life import renew

    with cache.connect() as client:
        renewal = renew(client, cache.prefix)
        renew_challenger(client, cache.prefix)
    served = renewal.generation
    if served is None:
        context.log.warning("Nothing is served any more: the sensor keep_serving publishes again.")
        return
    context.log.info(f"{served.name} is served until {served.expires_at:%Y-%m-%d %H:%M} UTC")
    if renewal.missing:
        context.log.warning(f"{renewal.missing} of its lists are gone: publish again.")


@dg.job(description="Prolong the life of what is served, where no successor has come in time.")
def renew_serving() -> None:
    """Asked for by the sensor `keep_serving`."""
    prolong()
