"""The one daily partition that `ingest` and `warehouse` share. A day is a day in UTC."""

import warnings
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


def days_of(window: dg.TimeWindow) -> list[date]:
    """The days of a run's time window, oldest first."""
    first: datetime = window.start
    count = (window.end - window.start) // ONE_DAY
    return [first.date() + index * ONE_DAY for index in range(count)]
