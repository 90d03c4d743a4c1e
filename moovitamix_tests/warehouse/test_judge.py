"""Bad days are found by few validations, and a verdict is written down for the publication."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date, timedelta
from math import ceil, log2

from hypothesis import example, given
from hypothesis import strategies as st

from moovitamix.resources import Warehouse
from moovitamix.warehouse.days import blocked_days
from moovitamix.warehouse.judge import (
    NOT_JUDGED,
    RuleResult,
    Validator,
    Verdicts,
    awaiting_days,
    blocked_on,
    expect_verdicts,
    judge_days,
    record_verdicts,
)
from moovitamix_tests.warehouse.loading import november

FIRST = date(2026, 1, 1)


def validator(bad: Mapping[str, Collection[date]], asked: list[tuple[date, date]]) -> Validator:
    """Rules that break on these days, and a note of every span that was validated."""

    def validate(first: date, last: date) -> dict[str, RuleResult]:
        asked.append((first, last))
        broken = {rule: sum(first <= day <= last for day in days) for rule, days in bad.items()}
        return {rule: RuleResult(n == 0, rows=100, unexpected=n) for rule, n in broken.items()}

    return validate


@st.composite
def slices(draw: st.DrawFn) -> tuple[list[date], dict[str, set[date]]]:
    days = [FIRST + timedelta(days=n) for n in range(draw(st.integers(1, 120)))]
    some = st.sets(st.sampled_from(days), max_size=4)
    return days, {"id_present": draw(some), "email_like": draw(some)}


@given(slices())
@example(([FIRST], {"id_present": {FIRST}, "email_like": set()}))
def test_exactly_the_bad_days_are_found_each_with_its_rules(
    sliced: tuple[list[date], dict[str, set[date]]],
) -> None:
    days, bad = sliced
    asked: list[tuple[date, date]] = []
    verdicts = judge_days(validator(bad, asked), days)
    assert verdicts.failed == {day: [rule for rule in bad if day in bad[rule]] for day in days}
    assert list(verdicts.failed) == days
    bad_days = {day for days_of_rule in bad.values() for day in days_of_rule}
    assert set(verdicts.good) == set(days) - bad_days
    assert {name for name, result in verdicts.whole.items() if not result.passed} == {
        rule for rule in bad if bad[rule]
    }
    assert len(asked) <= 1 + 2 * len(bad_days) * ceil(log2(max(2, len(days))))
    assert len(set(asked)) == len(asked), "no span is validated twice"


def test_a_good_range_takes_one_validation() -> None:
    asked: list[tuple[date, date]] = []
    days = [FIRST + timedelta(days=n) for n in range(700)]
    assert judge_days(validator({"id_present": []}, asked), days).good == days
    assert asked == [(days[0], days[-1])]


def test_a_bad_day_is_found_in_a_range_that_forgives_it() -> None:
    days = [FIRST + timedelta(days=n) for n in range(30)]
    broken_rows = {days[3]: 1, days[17]: 30}

    def validate(first: date, last: date) -> dict[str, RuleResult]:
        rows = 100 * ((last - first).days + 1)
        unexpected = sum(n for day, n in broken_rows.items() if first <= day <= last)
        return {"email_like": RuleResult(unexpected <= 0.05 * rows, rows, unexpected)}

    verdicts = judge_days(validate, days)
    assert verdicts.whole["email_like"].passed
    assert [day for day, broken in verdicts.failed.items() if broken] == [days[17]]


def verdicts_of(failed: dict[date, list[str]]) -> Verdicts:
    return Verdicts({}, failed)


def test_a_staged_day_is_not_judged_until_its_verdict_is_written_down(
    warehouse: Warehouse,
) -> None:
    days = [november(6), november(5)]
    query = "SELECT day, failed FROM verdicts WHERE run_id = 'run' ORDER BY day"
    with warehouse.connect() as connection:
        expect_verdicts(connection, run_id="run", endpoint="staged_users", days=days)
        expect_verdicts(connection, run_id="other", endpoint="staged_users", days=[november(1)])
        assert awaiting_days(connection, run_id="run", endpoint="staged_users") == sorted(days)
        assert awaiting_days(connection, run_id="run", endpoint="staged_tracks") == []
        assert connection.execute(query).fetchall() == [(d, [NOT_JUDGED]) for d in sorted(days)]
        record_verdicts(
            connection,
            run_id="run",
            endpoint="staged_users",
            pull="p1",
            verdicts=verdicts_of({november(5): [], november(6): ["id_present", "email_like"]}),
        )
        assert connection.execute(query).fetchall() == [
            (november(5), []),
            (november(6), ["id_present", "email_like"]),
        ]
        assert blocked_days(connection) == {
            november(6): ["staged_users.email_like", "staged_users.id_present"]
        }


def test_a_day_is_blocked_on_the_pull_that_it_was_judged_with(warehouse: Warehouse) -> None:
    with warehouse.connect() as connection:
        for pull in ("p1", "p2"):
            record_verdicts(
                connection,
                run_id=pull,
                endpoint="staged_users",
                pull=pull,
                verdicts=verdicts_of({november(6): ["email_like"]}),
            )
        assert blocked_on(connection, "p2", [november(5), november(6)])
        assert not blocked_on(connection, "p1", [november(6)])
        assert not blocked_on(connection, "p2", [november(5)])
        connection.execute("UPDATE blocked_days SET accepted_at = now(), accepted_by = 'Zoë'")
        assert not blocked_on(connection, "p2", [november(6)])
        assert blocked_days(connection) == {}
