"""The one daily partition that `ingest`, `warehouse` and `observe` share. A day is a day in UTC."""

import warnings
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from moovitamix.settings import get_settings

ONE_DAY = timedelta(days=1)

# Dagster goes by the system's clock: to it, days that a simulated present is ahead do not exist.
_days_ahead = (get_settings().present().date() - datetime.now(UTC).date()) // ONE_DAY

daily = dg.DailyPartitionsDefinition(
    start_date=get_settings().first_day.isoformat(), end_offset=max(_days_ahead, 0)
)

# One run for a range is what makes a backfill of years one pull; Dagster calls the policy beta.
warnings.filterwarnings("ignore", message=".*backfill_policy.*", category=dg.BetaWarning)
single_run = dg.BackfillPolicy.single_run()


def days_of_run(tags: Mapping[str, str]) -> list[date] | None:
    """The days that a run was started for, by its tags: checks have no partitions of their own.

    Returns:
        Oldest first; None for a run that is about no day.
    """
    first = tags.get("dagster/asset_partition_range_start") or tags.get("dagster/partition")
    last = tags.get("dagster/asset_partition_range_end") or first
    if first is None or last is None:
        return None
    start, end = date.fromisoformat(first), date.fromisoformat(last)
    return [start + index * ONE_DAY for index in range((end - start).days + 1)]


def days_of(window: dg.TimeWindow) -> list[date]:
    """The days of a run's time window, oldest first."""
    first: datetime = window.start
    count = (window.end - window.start) // ONE_DAY
    return [first.date() + index * ONE_DAY for index in range(count)]
