"""Every content of every record is dealt to one day, or waits, or is too far ahead."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moovitamix.ingest.deal import CLOCK_ERROR, PullTimes, deal
from moovitamix.ingest.pull import last_day_over
from moovitamix_tests.ingest.pulling import FIRST_DAY, at

FIRST_PULL = PullTimes(began=at(21), over=date(2026, 11, 20), over_before=None, first_day=FIRST_DAY)
SECOND_PULL = PullTimes(at(23), date(2026, 11, 22), date(2026, 11, 20), FIRST_DAY)


def dealt(times: PullTimes, created: datetime, updated: datetime | None = None) -> date | str:
    """Where a record goes: its day, or `waits`, or `ahead`."""
    frame = pl.DataFrame({"created_at": [created], "updated_at": [updated or created]}).cast(
        pl.Datetime("us")
    )
    ((day, ahead),) = deal(frame, times).select("day", "ahead").rows()
    assert not (ahead and day)
    return "ahead" if ahead else (day or "waits")


def test_a_record_goes_to_the_day_on_which_it_was_made() -> None:
    assert dealt(FIRST_PULL, at(12, 23, 59)) == date(2026, 11, 12)
    assert dealt(FIRST_PULL, at(20, 23, 59)) == date(2026, 11, 20)
    assert dealt(SECOND_PULL, at(21, 0)) == date(2026, 11, 21)


def test_an_edit_goes_to_the_day_of_the_edit() -> None:
    assert dealt(FIRST_PULL, at(3), at(12)) == date(2026, 11, 12)
    assert dealt(SECOND_PULL, at(3), at(22, 23)) == date(2026, 11, 22)


def test_a_backdated_change_does_not_move_a_record_before_its_creation() -> None:
    assert dealt(FIRST_PULL, at(12), at(3)) == date(2026, 11, 12)


def test_what_is_older_than_the_first_partition_goes_to_it() -> None:
    assert dealt(FIRST_PULL, datetime(2025, 4, 1)) == FIRST_DAY  # noqa: DTZ001
    assert dealt(FIRST_PULL, at(1, 0)) == FIRST_DAY


def test_a_late_arrival_goes_to_the_last_day_that_was_over() -> None:
    assert dealt(SECOND_PULL, at(12)) == date(2026, 11, 22)
    assert dealt(SECOND_PULL, at(20, 23, 59)) == date(2026, 11, 22)


def test_an_edit_without_a_new_date_goes_to_the_last_day_that_was_over() -> None:
    assert dealt(SECOND_PULL, at(3), at(12)) == date(2026, 11, 22)


def test_a_change_since_midnight_to_an_older_record_goes_to_the_last_day_that_was_over() -> None:
    assert dealt(FIRST_PULL, at(12), at(21, 9)) == date(2026, 11, 20)
    assert dealt(SECOND_PULL, at(12), at(23, 9)) == date(2026, 11, 22)


def test_what_is_made_since_midnight_waits() -> None:
    assert dealt(FIRST_PULL, at(21, 0)) == "waits"
    assert dealt(SECOND_PULL, at(23, 9)) == "waits"
    assert dealt(SECOND_PULL, at(21, 0)) == date(2026, 11, 21), "and comes with the next pull"


def test_a_clock_that_is_somewhat_ahead_is_forgiven_and_one_that_is_far_ahead_is_not() -> None:
    assert dealt(FIRST_PULL, FIRST_PULL.began + CLOCK_ERROR) == "waits"
    assert dealt(FIRST_PULL, FIRST_PULL.began + CLOCK_ERROR + timedelta(seconds=1)) == "ahead"
    assert dealt(FIRST_PULL, at(12), datetime(2126, 1, 1)) == "ahead"  # noqa: DTZ001
    assert dealt(FIRST_PULL, at(12), FIRST_PULL.began + CLOCK_ERROR) == date(2026, 11, 20)


@pytest.mark.parametrize("moment", [at(21, 0), at(21, 23, 59)])
def test_the_last_day_over_is_yesterday(moment: datetime) -> None:
    assert last_day_over(moment) == date(2026, 11, 20)


MOMENTS = st.datetimes(datetime(2026, 10, 20), datetime(2026, 12, 10))  # noqa: DTZ001


@st.composite
def pull_times(draw: st.DrawFn) -> PullTimes:
    began = draw(st.datetimes(at(2), at(30)))
    over = last_day_over(began)
    before = draw(st.none() | st.dates(FIRST_DAY, over))
    return PullTimes(began, over, before, FIRST_DAY)


@given(pull_times(), st.lists(st.tuples(MOMENTS, MOMENTS), max_size=30))
def test_every_content_gets_exactly_one_of_day_waiting_and_ahead(
    times: PullTimes, records: list[tuple[datetime, datetime]]
) -> None:
    schema = {"created_at": pl.Datetime("us"), "updated_at": pl.Datetime("us")}
    frame = pl.DataFrame(records, schema=schema, orient="row")
    found = deal(frame, times)
    assert found.select(frame.columns).equals(frame), "the same rows in the same order"
    assert found["ahead"].null_count() == 0
    for created, updated, day, ahead in found.iter_rows():
        changed = max(created, updated)
        assert ahead == (changed > times.began + CLOCK_ERROR)
        if day is None:
            assert ahead or created.date() > times.over
            continue
        assert not ahead
        assert FIRST_DAY <= day <= times.over, "a day that is over, and a partition"
        assert created.date() <= times.over
        if times.over_before is not None:
            assert day > times.over_before or day == times.over, "no settled day is added to"
        assert day in {max(changed.date(), FIRST_DAY), times.over}


@given(st.lists(st.datetimes(at(2), at(29)), min_size=1, max_size=5, unique=True), MOMENTS)
def test_a_record_that_is_there_from_its_creation_on_goes_to_its_own_day(
    began: list[datetime], created: datetime
) -> None:
    over_before: date | None = None
    found: list[date | str] = []
    for moment in sorted(began):
        over = last_day_over(moment)
        if created <= moment:
            found.append(dealt(PullTimes(moment, over, over_before, FIRST_DAY), created))
        over_before = over
    settled = [day for day in found if day != "waits"]
    assert settled[:1] in ([], [max(created.date(), FIRST_DAY)])
    assert bool(settled) == (created.date() <= last_day_over(max(began)))
