"""Each reaction counts for one impression, whenever and how often a day is counted."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from moovitamix.observe.online import (
    OnlineFigures,
    count_day,
    count_unsettled,
    lately,
    online_figures,
    unsettled_days,
    wilson,
)
from moovitamix.recommend import verdict
from moovitamix.resources import Warehouse
from moovitamix.settings import get_settings

DAY = date(2026, 11, 22)
NEXT = DAY + timedelta(days=1)
MORNING = datetime(2026, 11, 22, 8)  # noqa: DTZ001 - as the warehouse has moments

Told = tuple[int, int, str, datetime, int | None, str | None]


def hours(count: float) -> datetime:
    return MORNING + timedelta(hours=count)


def tell(warehouse: Warehouse, *events: Told) -> None:
    with warehouse.connect() as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO feedback (user_id, track_id, kind, at, model_version, tier, day) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            [(*event, event[3].date()) for event in events],
        )


def hear(warehouse: Warehouse, user: int, track: int, at: datetime) -> None:
    with warehouse.connect() as connection:
        connection.execute(
            "INSERT INTO activity (user_id, recorded_at, track_id, nth, listened_at, day) "
            "VALUES (%s, %s, %s, 1, %s, %s)",
            (user, at, track, at, at.date()),
        )


def counted(warehouse: Warehouse, *days: date, by: Any = ("model_version", "tier")) -> list[Any]:
    with warehouse.connect() as connection:
        for day in days:
            count_day(connection, day)
        return online_figures(connection, min(days), max(days), by)


def counts(found: OnlineFigures) -> tuple[int, ...]:
    shares = (found.click_through, found.skip_rate, found.hide_rate, found.listening)
    assert {share.of for share in shares} == {found.impressions}
    return (found.impressions, found.user_days, *(share.count for share in shares))


def test_figures_are_told_apart_by_the_version_and_tier_that_were_shown(
    warehouse: Warehouse,
) -> None:
    tell(
        warehouse,
        (1, 10, "impression", hours(0), 3, "cached top-N"),
        (1, 11, "impression", hours(0), 3, "cached top-N"),
        (2, 10, "impression", hours(0), 4, "popular"),
        (2, 10, "click", hours(1), None, None),
        (1, 11, "skip", hours(1), 4, "popular"),  # whatever a reaction says of itself
        (1, 11, "hide", hours(2), None, None),
        (3, 10, "impression", hours(0), None, None),
        (3, 10, "click", hours(1), 3, "cached top-N"),
    )
    hear(warehouse, 2, 10, hours(2))
    found = {figures.by: counts(figures) for figures in counted(warehouse, DAY)}
    assert found == {
        (0, ""): (1, 1, 1, 0, 0, 0),
        (3, "cached top-N"): (2, 1, 0, 1, 1, 0),
        (4, "popular"): (1, 1, 1, 0, 0, 1),
    }


def test_the_last_days_by_version_stand_beside_a_verdict_with_the_champion_marked(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOOVITAMIX_NOW", "2026-11-24T02:00:00")
    get_settings.cache_clear()
    assert verdict.online_markdown(lately(warehouse), 4).startswith("No impressions")
    tell(
        warehouse,
        (1, 10, "impression", hours(0), 3, "popular"),
        (1, 11, "impression", hours(0), 4, "popular"),
        (1, 11, "click", hours(1), None, None),
        (1, 12, "impression", hours(48), 4, "popular"),  # a day that is not over
    )
    counted(warehouse, DAY, DAY + timedelta(days=2))
    assert [one.by for one in lately(warehouse)] == [(3,), (4,)]
    assert not lately(warehouse, days=1)
    _, _, older, champion = verdict.online_markdown(lately(warehouse), 4).splitlines()
    assert older.startswith("| 3 | 1 | 0.0% [0.0%, ")
    assert champion.startswith("| **4**, the champion | 1 | 100.0% [")


def test_a_reaction_belongs_to_the_last_impression_within_a_day_and_to_one_alone(
    warehouse: Warehouse,
) -> None:
    shown = [(1, track, "impression", hours(0), 3, "popular") for track in range(10, 16)]
    tell(
        warehouse,
        *shown,
        (1, 10, "click", hours(0), None, None),  # at the same moment
        (1, 11, "click", hours(-1), None, None),  # before it
        (1, 12, "click", hours(23.9), None, None),  # on the next day
        (1, 13, "click", hours(24), None, None),  # too late
        (1, 14, "impression", hours(2), 4, "popular"),
        (1, 14, "click", hours(3), None, None),
        (1, 14, "click", hours(4), None, None),
        (1, 15, "impression", hours(17), 4, "popular"),  # the next day
        (1, 15, "click", hours(18), None, None),
        (1, 16, "click", hours(1), None, None),  # never shown
        (2, 10, "click", hours(1), None, None),  # not to them
    )
    hear(warehouse, 1, 12, hours(23))
    hear(warehouse, 1, 13, hours(25))
    found = {figures.by: counts(figures) for figures in counted(warehouse, DAY, NEXT)}
    assert found == {(3, "popular"): (6, 1, 2, 0, 0, 1), (4, "popular"): (2, 2, 2, 0, 0, 0)}


def test_a_day_may_be_counted_again_and_late_events_come_in(warehouse: Warehouse) -> None:
    tell(warehouse, (1, 10, "impression", hours(0), 3, "popular"))
    assert counted(warehouse, DAY) == counted(warehouse, DAY, DAY)
    with warehouse.connect() as connection:
        connection.execute("UPDATE feedback SET taken_at = '2026-11-22 09:00+00'")
        connection.execute("UPDATE online_figures SET counted_at = '2026-11-23 01:00+00'")
        assert unsettled_days(connection, NEXT) == [DAY]
        connection.execute("UPDATE online_figures SET counted_at = '2026-11-25 01:00+00'")
        assert unsettled_days(connection, date(2026, 11, 25)) == []
    tell(warehouse, (1, 10, "click", hours(1), 3, "popular"))
    with warehouse.connect() as connection:
        connection.execute(
            "UPDATE feedback SET taken_at = '2026-11-25 02:00+00' WHERE kind = 'click'"
        )
        assert unsettled_days(connection, date(2026, 11, 25)) == [DAY]
        assert unsettled_days(connection, date(2026, 12, 25)) == []
        assert count_unsettled(connection, date(2026, 11, 25)) == {DAY: 1}
        ((of_all),) = online_figures(connection, DAY, DAY, ())
        assert counts(of_all) == (1, 1, 1, 0, 0, 0)
    assert of_all.by == ()


def test_days_that_nobody_counted_are_counted_however_late(warehouse: Warehouse) -> None:
    tell(
        warehouse,
        (1, 10, "impression", hours(0), 3, "popular"),
        (1, 10, "click", hours(24), 3, "popular"),  # of a day on which nothing was shown
    )
    with warehouse.connect() as connection:
        assert unsettled_days(connection, date(2026, 12, 25)) == [DAY]
        count_unsettled(connection, date(2026, 12, 25))
        assert unsettled_days(connection, date(2026, 12, 25)) == []


def test_without_an_impression_there_are_no_figures(warehouse: Warehouse) -> None:
    tell(warehouse, (1, 10, "click", hours(0), 3, "popular"))
    assert counted(warehouse, DAY) == counted(warehouse, DAY, by=()) == []


def test_figures_of_days_are_each_days_own(warehouse: Warehouse) -> None:
    tell(
        warehouse,
        (1, 10, "impression", hours(0), 3, "popular"),
        (1, 10, "impression", hours(20), 3, "popular"),
        (2, 10, "impression", hours(20), 3, "popular"),
    )
    found = {figures.by: counts(figures) for figures in counted(warehouse, DAY, NEXT, by=["day"])}
    assert found == {(DAY,): (1, 1, 0, 0, 0, 0), (NEXT,): (2, 2, 0, 0, 0, 0)}


@given(st.integers(0, 2000), st.integers(0, 2000))
def test_intervals_are_those_that_scipy_gives(one: int, other: int) -> None:
    count, of = sorted((one, other))
    found = wilson(count, of)
    if of == 0:
        assert (found.low, found.high) == (0, 1)
        return
    expected = binomtest(count, of).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert found.low <= found.share <= found.high


def test_more_than_all_is_refused() -> None:
    with pytest.raises(ValueError, match="Count again"):
        wilson(3, 2)


def test_erasing_a_user_leaves_counts_and_no_id(warehouse: Warehouse) -> None:
    from moovitamix.warehouse.people import count_rows, erase_rows

    tell(warehouse, (1, 10, "impression", hours(0), 3, "popular"), (1, 10, "hide", hours(1), 3, ""))
    with warehouse.connect() as connection:
        connection.execute("INSERT INTO hides VALUES (1, 10, now())")
    before = counted(warehouse, DAY)
    with warehouse.connect() as connection:
        assert erase_rows(connection, [1]) == {"feedback": 2, "hides": 1}
        assert count_rows(connection, [1]) == {}
        assert online_figures(connection, DAY, DAY, ("model_version", "tier")) == before
