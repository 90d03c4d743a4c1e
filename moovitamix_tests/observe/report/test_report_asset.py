"""The report as Dagster makes it, on real stores: its figures, what it puts first, its check."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import dagster as dg

from moovitamix.errors import SourceUnavailable
from moovitamix.observe.report import page, shelf
from moovitamix.observe.report.model import Report
from moovitamix.resources import Cache
from moovitamix_tests.observe.report.conftest import DAY, NOW, SURNAME, TRACKS, USERS, Month

CHECK = ("daily_report", "report_whole")


def report_of(month: Month) -> Report:
    found = shelf.get(month.lake.open(), DAY)
    assert found is not None
    return found


def passed(result: dg.ExecuteInProcessResult) -> bool:
    (evaluation,) = result.get_asset_check_evaluations()
    assert (evaluation.asset_key.to_user_string(), evaluation.check_name) == CHECK
    return evaluation.passed


def test_a_days_report_has_its_figures_beside_those_of_the_days_before(month: Month) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        result = month.run(instance)
        assert result.success
        assert passed(result)
    found = report_of(month)
    assert (found.day, found.outcome) == (DAY, "published")
    volumes = {one.name: one for one in found.volumes}
    listens = volumes["listens"]
    assert (listens.count, listens.week_before, listens.usual) == (127, 120, 123.0)
    assert listens.history == tuple(range(100, 128))
    assert (volumes["listening users"].count, volumes["tracks heard"].count) == (20, 25)
    stores = {one.name: one for one in found.storage}
    assert stores["listen_history"].count == sum(range(100, 128))
    assert (stores["users"].count, stores["tracks"].count) == (USERS, TRACKS)
    assert stores["memory"].where == "cache"
    (event,) = result.get_asset_materialization_events()
    told = {name: value.value for name, value in event.materialization.metadata.items()}
    assert told["outcome"] == "published"
    assert str(told["page"]).endswith(f"/reports/day={DAY}/report.html")
    shown = month.lake.open().read_bytes(shelf.page_name(DAY)).decode()
    assert shown == page.render(found, runbook="docs/runbook.md")
    assert "127 listens by 20 users: +5.8 % on the same weekday of last week" in shown


def test_neither_page_nor_json_nor_metadata_names_a_person(month: Month) -> None:
    month.write(
        "INSERT INTO quarantine (endpoint, sha256, payload, day, pull, reason, field) "
        "VALUES ('users', 'h', %s, %s, 'p1', 'Expected `str`', 'email')",
        f'{{"last_name": "{SURNAME}"}}'.encode(),
        DAY,
    )
    month.write(
        "INSERT INTO blocked_days (day, endpoint, check_name, pull, accepted_by, accepted_at) "
        "VALUES (%s, 'staged_users', 'row_complete', 'p1', %s, now())",
        DAY + timedelta(days=1),
        SURNAME,
    )
    with dg.DagsterInstance.ephemeral() as instance:
        result = month.run(instance)
    lake = month.lake.open()
    told = [lake.read_bytes(name).decode() for name in lake.names("reports")]
    told += [str(event) for event in result.all_events]
    assert not [text for text in told if SURNAME in text or "@quetzal" in text]
    (group,) = report_of(month).quarantine
    assert (group.endpoint, group.field, group.waiting, group.of_the_day) == (
        "users",
        "email",
        1,
        1,
    )
    assert [one.title for one in report_of(month).needs] == [
        f"{DAY + timedelta(days=1)} was accepted and waits"
    ]


def test_what_needs_a_person_comes_first_and_names_its_entry(month: Month) -> None:
    month.write("DELETE FROM published_days WHERE day >= %s", DAY - timedelta(days=1))
    month.write(
        "INSERT INTO blocked_days (day, endpoint, check_name, pull) "
        "VALUES (%s, 'staged_listens', 'volume_usual', 'p1')",
        DAY,
    )

    @dg.op
    def pull() -> None:
        raise SourceUnavailable("The source gave no answer in 6 tries.")

    @dg.job
    def ingest_day() -> None:
        pull()

    with dg.DagsterInstance.ephemeral() as instance:
        ingest_day.execute_in_process(instance=instance, raise_on_error=False)
        month.run(instance)
    found = report_of(month)
    assert found.outcome == "blocked"
    assert [(one.severity, one.runbook) for one in found.needs] == [
        ("critical", "the-source-is-unavailable"),
        ("critical", "a-day-is-blocked"),
        ("warning", "a-day-is-late"),
    ]
    assert [(one.job, one.status) for one in found.work.runs] == [("ingest_day", "failure")]
    shown = page.render(found, runbook="https://wiki.example/runbook")
    first, second = shown.index("What needs a person"), shown.index("What came in")
    assert first < shown.index("https://wiki.example/runbook#a-day-is-blocked") < second
    assert next(one for one in found.volumes if one.name == "listens").count is None


def test_a_cache_that_is_down_is_the_first_thing_said_of_an_otherwise_whole_report(
    month: Month,
) -> None:
    gone = Month(month.warehouse, month.lake, Cache(url="redis://127.0.0.1:1", namespace="mvx"))
    with dg.DagsterInstance.ephemeral() as instance:
        found = gone.collect(instance)
    assert found.needs[0].title == "The cache does not answer"
    assert (found.serving, found.volumes[0].count) == (None, 127)


def test_each_run_is_told_of_by_one_report(month: Month) -> None:
    @dg.op
    def work() -> None:
        """Nothing."""

    @dg.job
    def chore() -> None:
        work()

    before, day = DAY - timedelta(days=1), timedelta(days=1)
    with dg.DagsterInstance.ephemeral() as instance:
        chore.execute_in_process(instance=instance)
        (run,) = instance.get_run_records()
        moment = run.create_timestamp
        sooner = month.collect(instance, before, moment + timedelta(minutes=1))
        shelf.put(month.lake.open(), sooner, "page")
        later = month.collect(instance, DAY, moment + day)
        shelf.put(month.lake.open(), later, "page")
        again = month.collect(instance, before, moment + 3 * day)
    assert [one.job for one in sooner.work.runs] == ["chore"]
    assert [one.step for one in sooner.work.steps] == ["work"]
    assert later.work.since == sooner.written_at
    assert later.work.runs == ()
    # Written again later, it ends where the next one begins.
    assert again.work.until == later.written_at


def _cut_off_the_page(month: Month) -> None:
    lake = month.lake.open()
    whole = lake.read_bytes(shelf.page_name(DAY))
    lake.write_bytes(shelf.page_name(DAY), whole[: len(whole) // 2])


def _be_killed_between_page_and_json(month: Month) -> None:
    lake = month.lake.open()
    kept = shelf.get(lake, DAY)
    assert kept is not None
    later = replace(kept, written_at=kept.written_at + timedelta(seconds=1))
    lake.write_bytes(shelf.page_name(DAY), page.render(later, runbook="r").encode())


def _damage_the_json(month: Month) -> None:
    lake = month.lake.open()
    told = json.loads(lake.read_bytes(shelf.json_name(DAY)))
    lake.write_bytes(shelf.json_name(DAY), json.dumps({**told, "shape": 0}).encode())


def _hear_more(month: Month) -> None:
    month.write("UPDATE listen_history SET listened_at = listened_at - interval '1 day'")


FAULTS = [CHECK]


def test_a_fault_fails_its_check(month: Month) -> None:
    faults: list[Callable[[Month], None]] = [
        _cut_off_the_page,
        _be_killed_between_page_and_json,
        _damage_the_json,
        _hear_more,
    ]
    again = dg.AssetSelection.checks_for_assets(dg.AssetKey("daily_report"))
    with dg.DagsterInstance.ephemeral() as instance:
        assert passed(month.run(instance))
        lake = month.lake.open()
        whole = {name: lake.read_bytes(name) for name in lake.names(shelf.FOLDER)}
        for fault in faults:
            for name, content in whole.items():
                lake.write_bytes(name, content)
            fault(month)
            assert not passed(month.run(instance, again)), fault.__name__


def test_days_are_written_in_one_run_the_oldest_first(month: Month) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert month.run(instance, first=DAY - timedelta(days=2)).success
    lake = month.lake.open()
    assert shelf.days(lake) == [DAY - timedelta(days=back) for back in (2, 1, 0)]
    kept = shelf.get(lake, DAY)
    assert kept is not None
    assert any(one.grown is not None for one in kept.storage)
    assert NOW.date() > max(shelf.days(lake))
