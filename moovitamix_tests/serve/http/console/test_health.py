"""What is said of stages follows from what stores tell; nothing is well that nobody knows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from moovitamix.automation import JOBS
from moovitamix.observe.conditions import RULES, Condition, Kind
from moovitamix.observe.standing import REDIS_DOWN
from moovitamix.serve.generations import TIME_TO_LIVE, Generation
from moovitamix.serve.http.console.books import Books, Judged, Reading
from moovitamix.serve.http.console.checked import Checks, Process
from moovitamix.serve.http.console.health import began_of, needs, stages, stages_of
from moovitamix.serve.http.console.lists import Lists
from moovitamix.serve.http.console.rendering import ago, moment, told
from moovitamix.warehouse.expectations import STAGED_EXPECTATIONS

NOW = datetime(2026, 11, 26, 8, tzinfo=UTC)
YESTERDAY = date(2026, 11, 25)
PROCESS = Process("closed", 10, 10, 1, removals_known=True)
NONE = Books(
    pull=None,
    newest=None,
    published=set(),
    blocked={},
    broken=(),
    judged=None,
    waiting=(),
    levels=(0, ()),
    readings=(),
    drifted=(),
    alerts=(),
    looked=None,
    versions=(),
    decisions=(),
    predecessor=None,
    pinned=None,
)
LOADED = replace(
    NONE,
    pull="20261126T021500000000Z",
    newest=(YESTERDAY, NOW),
    published={YESTERDAY},
    judged=Judged(YESTERDAY, ()),
    readings=[Reading("plays", "steady", 1.0, 2.0, YESTERDAY, NOW, of_champion=True)],
)
CURRENT = Generation(
    name="v1-2026-11-25-1",
    model_version=1,
    algorithm="als",
    as_of=YESTERDAY,
    matrix_fingerprint="f",
    list_length=10,
    keys={"u": 1},
    published_at=NOW,
    expires_at=NOW + TIME_TO_LIVE,
)
LISTS = Lists({"champion": CURRENT}, [CURRENT])


def states(books: Books | None, lists: Lists | None, found: list[Condition]) -> dict[str, str]:
    return {one.name: one.state for one in stages(books, lists, PROCESS, found)}


def needed(books: Books | None, lists: Lists | None = LISTS) -> list[Condition]:
    return needs(books, lists, now=NOW, present=NOW, late_after=timedelta(hours=6))


def test_all_is_well_where_everything_is_there() -> None:
    assert needed(LOADED) == []
    assert states(LOADED, LISTS, []) == {
        "ingest": "well",
        "warehouse": "well",
        "recommend": "not known",  # there is no champion yet
        "serve": "well",
        "observe": "well",
    }
    assert [one.last for one in stages(LOADED, LISTS, PROCESS, [])] == [
        YESTERDAY,
        YESTERDAY,
        None,
        YESTERDAY,
        YESTERDAY,
    ]


@pytest.mark.parametrize(("books", "lists"), [(None, None), (NONE, None), (None, LISTS)])
def test_nothing_is_well_of_which_nobody_tells(books: Books | None, lists: Lists | None) -> None:
    told = states(books, lists, needed(books, lists))
    assert list(told) == ["ingest", "warehouse", "recommend", "serve", "observe"]
    assert {one for name, one in told.items() if name != "serve"} == {"not known"}
    of_redis = "well" if lists else "wrong"
    assert told["serve"] == ("not known" if books is None and lists is None else of_redis)


def test_where_no_feature_can_be_read_drift_is_not_known() -> None:
    silent = [Reading("plays", "cannot tell", None, None, YESTERDAY, NOW, of_champion=True)]
    assert states(replace(LOADED, readings=silent), LISTS, [])["observe"] == "not known"


def test_what_had_drifted_from_an_earlier_champions_data_is_no_fault_of_its_successor() -> None:
    found = Reading("plays", "drifted", 2.0, 1.0, YESTERDAY, NOW, of_champion=True)
    of_before = replace(found, of_champion=False)
    own, earlier = (
        stages(replace(LOADED, readings=[one]), LISTS, PROCESS, [])[-1]
        for one in (found, of_before)
    )
    assert own.checks == Checks("of drift", failed=("plays",))
    assert earlier.checks == Checks("of drift", unknown=("plays",))
    assert (earlier.state, earlier.last) == ("well", YESTERDAY), "it was read all the same"


def test_each_kind_of_alert_but_an_announcement_is_about_a_stage() -> None:
    runs: dict[Kind, str] = {
        "run_failed": "run_failed:retrain:1",
        "check_failed": "x:observe_day:1",
        "tick_failed": "tick_failed:keep_champion",
    }
    for kind, rule in RULES.items():
        found = Condition(key=runs.get(kind, kind), kind=kind, title="", text="")
        about = stages_of(found)
        assert bool(about) is (rule.nature != "announced")
        for name in about:
            expected = "wrong" if rule.severity == "critical" else "look"
            assert states(replace(LOADED, versions=()), LISTS, [found])[name] in {
                expected,
                "not known",
            }


def test_a_job_that_failed_is_about_a_stage() -> None:
    for job in JOBS:
        failed = Condition(key=f"run_failed:{job.name}:1", kind="run_failed", title="", text="")
        assert stages_of(failed), job.name


def test_where_redis_does_not_answer_that_is_told_and_of_its_lists_what_the_book_says() -> None:
    since = NOW - timedelta(hours=3)
    booked = [
        replace(REDIS_DOWN, since=since),
        Condition(key="nothing_served", kind="nothing_served", title="No lists", text=""),
    ]
    books = replace(LOADED, alerts=booked)
    found = needed(books, None)
    assert [(one.title, one.since) for one in found] == [
        ("Redis does not answer", since),
        ("No lists", None),
    ]
    assert states(books, None, found)["serve"] == "wrong"
    assert [one.title for one in needed(LOADED, None)] == ["Redis does not answer"]
    assert needed(books, LISTS) == []


def test_what_is_asked_now_outweighs_the_book_and_keeps_its_since() -> None:
    since = NOW - timedelta(days=2)
    booked = [
        Condition(
            key=f"day_blocked:{YESTERDAY}", kind="day_blocked", title="", text="", since=since
        ),
        Condition(key="day_late:2026-11-20", kind="day_late", title="over by now", text=""),
        Condition(key="run_failed:x:1", kind="run_failed", title="a run", text="", since=since),
        Condition(key="source_gone", kind="source_gone", title="no source", text=""),
    ]
    books = replace(LOADED, blocked={YESTERDAY: ["a.b"]}, published=set(), alerts=booked)
    found = needed(books)
    assert [(one.title, one.since) for one in found] == [
        (f"{YESTERDAY} is blocked", since),
        ("a run", since),
        ("no source", None),
    ]
    assert states(books, LISTS, found)["warehouse"] == "wrong"


def test_rules_of_the_newest_day_are_counted_by_what_became_of_them() -> None:
    rules = [(one.table, one.name) for one in STAGED_EXPECTATIONS]
    judged = Judged(YESTERDAY, [(*rules[0], True), (*rules[1], False), ("gone", "rule", False)])
    (warehouse,) = (
        one
        for one in stages(replace(LOADED, judged=judged), LISTS, PROCESS, [])
        if one.name == "warehouse"
    )
    assert warehouse.checks == Checks(
        f"of {YESTERDAY}",
        len(rules) - 2,
        warned=(".".join(rules[0]),),
        failed=(".".join(rules[1]),),
    )


def test_moments_are_told_as_people_say_them() -> None:
    assert began_of("20261126T021500000000Z") == datetime(2026, 11, 26, 2, 15, tzinfo=UTC)
    assert began_of("p1") is None
    assert moment(None) == ago(None, NOW) == "never"
    words_of = {
        timedelta(seconds=20): "just now",
        timedelta(minutes=61): "61 min ago",
        timedelta(hours=30): "30 h ago",
        timedelta(days=3): "3 d ago",
        -timedelta(hours=24): "in 24 h",
        -timedelta(seconds=5): "in a moment",
    }
    assert {passed: ago(NOW - passed, NOW) for passed in words_of} == words_of


def test_commands_in_a_sentence_are_code_and_nothing_else_of_it_is_html() -> None:
    assert told("<b> `a <i>` `b") == "&lt;b&gt; <code>a &lt;i&gt;</code> `b"
