"""Days and stretches of days say the same in two ways."""

from __future__ import annotations

import doctest
import itertools
from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from moovitamix.warehouse import days as module
from moovitamix.warehouse.days import days_between, gaps

DAYS = st.sets(st.dates(date(2026, 1, 1), date(2026, 2, 15)), max_size=40)


def test_the_documented_example_is_true() -> None:
    assert doctest.testmod(module).attempted > 0
    assert doctest.testmod(module).failed == 0


@given(DAYS)
def test_stretches_hold_exactly_the_days_and_cannot_be_joined(days: set[date]) -> None:
    stretches = gaps(list(days))
    held = [day for first, last in stretches for day in days_between(first, last)]
    assert held == sorted(days)
    for (_, last), (first, _) in itertools.pairwise(stretches):
        assert first - last > timedelta(days=1)


def test_a_single_day_is_the_days_from_itself_to_itself() -> None:
    assert days_between(date(2026, 2, 28), date(2026, 2, 28)) == [date(2026, 2, 28)]
