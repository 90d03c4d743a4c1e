"""`report`, as one types it: shown where it was written, and written where it was not."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import pytest

from moovitamix.errors import MoovitaMixError, NothingToDo
from moovitamix.ingest.lake import LakeStore
from moovitamix.observe.report import page, shelf
from moovitamix.observe.report.model import Need
from moovitamix.resources import Warehouse
from moovitamix.settings import get_settings
from moovitamix_tests.commands.conftest import Command
from moovitamix_tests.observe.alerting.receivers import SECRETS, webhook
from moovitamix_tests.observe.report.made import plain_report

DAY = date(2026, 11, 25)
NEED = Need(severity="critical", title="A thing", text="See to it.", runbook="a-day-is-late")


@pytest.fixture(autouse=True)
def _morning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "dagster").mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    monkeypatch.setenv("MOOVITAMIX_NOW", "2026-11-26T04:00")
    get_settings.cache_clear()


def test_a_report_that_is_there_is_shown_in_short_with_its_places(
    command: Command, lake: LakeStore
) -> None:
    report = plain_report(DAY, needs=(NEED,))
    shelf.put(lake, report, page.render(report, runbook="r"))
    shown = command("report")
    assert shown.exit_code == 0, shown.output
    for said in (
        "Wednesday 2026-11-25: missing, 1 thing needs a person, 1 of them critical",
        "critical A thing",
        "docs/runbook.md#a-day-is-late",
        "No day is blocked.",
        f"reports/day={DAY}/report.html",
    ):
        assert said in shown.output
    told = json.loads(command("report", "--date", str(DAY), "--json").output)
    assert (told["day"], told["shape"], told["needs"][0]["title"]) == (str(DAY), 1, "A thing")


def test_a_report_is_written_anew_when_asked_for_or_when_it_cannot_be_read(
    command: Command, lake: LakeStore, warehouse: Warehouse
) -> None:
    with warehouse.connect() as connection:
        connection.execute(
            "INSERT INTO published_days (day, pull, run_id) VALUES (%s, 'p', 'r')", (DAY,)
        )
    shelf.put(lake, plain_report(DAY), "page")
    assert json.loads(command("report", "--json").stdout)["outcome"] == "missing"
    lake.write_bytes(shelf.json_name(DAY), b"{")
    assert json.loads(command("report", "--json").stdout)["outcome"] == "published"
    lake.write_bytes(shelf.page_name(DAY), b"")
    assert command("report").exit_code == 0
    assert lake.read_bytes(shelf.page_name(DAY)) == b""
    assert command("report", "--again").exit_code == 0
    assert lake.read_bytes(shelf.page_name(DAY)).endswith(b"</html>")


def test_it_is_sent_when_asked_for_and_each_channel_is_told_of(
    command: Command, lake: LakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.put(lake, plain_report(DAY), "page")
    assert isinstance(command("report", "--send").exception, NothingToDo)
    with webhook() as hook:
        monkeypatch.setenv("MOOVITAMIX_REPORT_URLS", hook.url)
        get_settings.cache_clear()
        done = command("report", "--send")
        assert (done.exit_code, len(hook.messages)) == (0, 1), done.output
        hook.down = True
        failed = command("report", "--send")
    assert isinstance(failed.exception, MoovitaMixError)
    assert ": taken" in done.stderr
    assert not [secret for secret in SECRETS if secret in done.output + failed.output]


def test_a_day_that_cannot_be_reported_says_why_and_what_to_do(command: Command) -> None:
    for day, said in (
        (DAY + timedelta(days=1), "is not over yet; the last day that is over is 2026-11-25"),
        (date(2020, 1, 1), "MOOVITAMIX_FIRST_DAY"),
        (DAY, "load one with `moovitamix run`"),
    ):
        failed = command("report", "--date", str(day)).exception
        assert isinstance(failed, NothingToDo)
        assert said in str(failed)
