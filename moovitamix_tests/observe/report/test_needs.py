"""What needs a person: the most urgent first, each once, and nothing that is only news."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from moovitamix.observe.conditions import Condition, Kind
from moovitamix.observe.report.needs import needs
from moovitamix.observe.report.of_data import BlockedRule
from moovitamix.observe.report.of_runs import NotGood
from moovitamix.observe.report.of_service import Model
from moovitamix.observe.report.read_runs import stretch_of

NOW = datetime(2026, 11, 26, 4, tzinfo=UTC)
DAY = timedelta(days=1)
MODEL = Model(
    version=7,
    algorithm="als",
    provisional=False,
    as_of=date(2026, 11, 20),
    age_days=5,
    promoted_at=NOW,
    pinned=True,
    challenger=None,
    measures=(),
)


def condition(kind: Kind, key: str, since: datetime | None = None) -> Condition:
    return Condition(key=key, kind=kind, title=f"{kind}", text="So it is.", since=since)


def test_the_most_urgent_comes_first_then_what_has_lasted_longest() -> None:
    found = needs(
        [
            condition("drift", "a"),
            condition("nothing_served", "b"),
            condition("day_blocked", "c", NOW),
            condition("source_gone", "d", NOW - DAY),
        ],
        [],
        [],
        MODEL,
        cache_fault=None,
    )
    assert [one.title for one in found] == [
        "source_gone",
        "day_blocked",
        "nothing_served",
        "drift",
        "Version 7 is pinned",
    ]


def test_the_same_is_told_once_with_how_often_since_its_first_time() -> None:
    runs = [condition("run_failed", f"r{hours}", NOW - hours * DAY) for hours in (1, 3, 2)]
    (found,) = needs(runs, [], [], None, cache_fault=None)
    assert (found.title, found.since) == ("run_failed, 3 times", NOW - 3 * DAY)


def test_what_is_only_announced_needs_nobody() -> None:
    news = [condition("model_promoted", "m1"), condition("model_kept", "m2")]
    assert needs(news, [], [], None, cache_fault=None) == ()


def test_checks_that_nothing_else_tells_are_told_with_their_entry() -> None:
    checks = [
        NotGood(check="listen_history.counts_reconcile", result="failed", blocking=False, text="3"),
        NotGood(check="als_model.fresh", result="warning", blocking=False, text=""),
        NotGood(check="staged_users.row_complete", result="failed", blocking=True, text=""),
        NotGood(check="data_drift.drift_within_bounds", result="warning", blocking=False, text=""),
    ]
    found = needs([], checks, [], None, cache_fault=None)
    assert [(one.severity, one.title, one.runbook) for one in found] == [
        (
            "warning",
            "The check listen_history.counts_reconcile has failed",
            "counts-do-not-add-up",
        ),
        ("info", "The check als_model.fresh warns", "a-check-is-not-good"),
    ]


def test_a_day_that_was_accepted_is_said_to_wait_once() -> None:
    day = date(2026, 11, 24)
    rules = [
        BlockedRule(day=day, rule=f"staged_users.{name}", why="", since=NOW, accepted=True)
        for name in ("a", "b")
    ]
    (found,) = needs([], [], rules, None, cache_fault=None)
    assert found.title == "2026-11-24 was accepted and waits"


def test_a_stretch_goes_from_the_report_before_to_this_one() -> None:
    assert stretch_of(NOW, None, None) == (NOW - DAY, NOW)
    assert stretch_of(NOW, NOW - 2 * DAY, None) == (NOW - 2 * DAY, NOW)
    assert stretch_of(NOW, NOW - 20 * DAY, None) == (NOW - 7 * DAY, NOW)
    assert stretch_of(NOW, NOW - 9 * DAY, NOW - 8 * DAY) == (NOW - 9 * DAY, NOW - 8 * DAY)
    # Days written in another order than they passed.
    assert stretch_of(NOW, NOW + DAY, None) == (NOW - DAY, NOW)
