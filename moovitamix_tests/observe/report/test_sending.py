"""A report is sent once to each channel, whatever becomes of a channel in between."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moovitamix.ingest.lake import LakeStore
from moovitamix.observe.channels import Channel
from moovitamix.observe.report import page, sending, shelf
from moovitamix.observe.report.model import Need
from moovitamix_tests.observe.alerting.receivers import (
    SECRETS,
    Hook,
    Mailbox,
    mail_server,
    webhook,
)
from moovitamix_tests.observe.report.made import plain_report

DAY = date(2026, 11, 25)
MORNING = datetime(2026, 11, 26, 4, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
NEED = Need(
    severity="critical",
    title="2026-11-25 is blocked",
    text="`moovitamix days blocked` tells why.",
    runbook="a-day-is-blocked",
)


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with mail_server() as running:
        yield running


@pytest.fixture
def hook() -> Iterator[Hook]:
    with webhook() as running:
        yield running


def write(lake: LakeStore, day: date = DAY) -> None:
    report = plain_report(day, needs=(NEED,))
    shelf.put(lake, report, page.render(report, runbook="docs/runbook.md"))


def deliver(lake: LakeStore, *urls: str, at: datetime = MORNING) -> tuple[int, list[str]]:
    told: list[str] = []
    taken = sending.deliver(
        lake,
        [Channel(url) for url in urls],
        now=at,
        present=at,
        runbook="docs/runbook.md",
        tell=told.append,
    )
    return taken, told


def part(mail: EmailMessage, kind: str) -> str:
    found = mail.get_body((kind,))
    assert found is not None
    return str(found.get_content())


def test_mail_gets_the_page_and_others_its_text_each_once(
    lake: LakeStore, mailbox: Mailbox, hook: Hook
) -> None:
    assert deliver(lake, mailbox.url, hook.url) == (0, [])
    write(lake)
    for minutes in range(0, 300, 60):
        deliver(lake, mailbox.url, hook.url, at=MORNING + minutes * MINUTE)
    (mail,), (message,) = mailbox.mails, hook.messages
    title = "MoovitaMix [mvx] Wednesday 2026-11-25: missing, 1 thing needs a person, 1 of them"
    assert (mailbox.titles[0], hook.titles[0]) == (f"{title} critical", f"{title} critical")
    kept = lake.read_bytes(shelf.page_name(DAY)).decode()
    assert part(mail, "html").split() == kept.split()
    assert "2026-11-25 is blocked" in part(mail, "plain")
    assert "docs/runbook.md#a-day-is-blocked" in hook.bodies[0]
    assert "<" not in hook.bodies[0]
    assert message["type"] == "failure"


def test_a_channel_that_is_down_gets_it_later_and_the_other_one_at_once(
    lake: LakeStore, mailbox: Mailbox, hook: Hook
) -> None:
    write(lake)
    hook.down = True
    taken, told = deliver(lake, mailbox.url, hook.url)
    assert (taken, len(told), len(mailbox.mails)) == (1, 1, 1)
    assert "did not take the report of 2026-11-25" in told[0]
    assert not [secret for secret in SECRETS if secret in told[0]]
    assert not [secret for secret in SECRETS if secret in lake.read_bytes(sending.BOOK).decode()]
    # Not before its time, and not more often than once an hour however long it is down.
    tries = sum(
        len(deliver(lake, mailbox.url, hook.url, at=MORNING + minutes * MINUTE)[1])
        for minutes in range(5, 24 * 60, 5)
    )
    assert 20 < tries < 32
    hook.down = False
    write(lake, DAY + timedelta(days=1))
    next_morning = MORNING + timedelta(days=1)
    for minutes in (0, 5, 65, 70):
        deliver(lake, mailbox.url, hook.url, at=next_morning + minutes * MINUTE)
    assert [title.split()[3] for title in mailbox.titles] == ["2026-11-25:", "2026-11-26:"]
    assert [title.split()[3] for title in hook.titles] == ["2026-11-25:", "2026-11-26:"]


def test_a_report_that_is_written_again_is_not_sent_again(lake: LakeStore, hook: Hook) -> None:
    write(lake)
    deliver(lake, hook.url)
    write(lake)
    deliver(lake, hook.url, at=MORNING + HOUR)
    assert len(hook.messages) == 1


def test_who_is_killed_while_sending_sends_again(lake: LakeStore, hook: Hook) -> None:
    write(lake)
    hook.down = True
    deliver(lake, hook.url)
    hook.down = False
    # What was on its way is left alone for a moment, as it may be taken yet.
    assert deliver(lake, hook.url, at=MORNING + MINUTE)[0] == 0
    assert deliver(lake, hook.url, at=MORNING + 3 * MINUTE)[0] == 1


def test_old_reports_are_not_sent_to_a_channel_that_is_new(lake: LakeStore, hook: Hook) -> None:
    for back in range(9):
        write(lake, DAY - timedelta(days=back))
    for days in range(1, 4):
        deliver(lake, hook.url, at=MORNING + timedelta(days=days))
    assert [title.split()[3] for title in hook.titles] == ["2026-11-25:"]


def test_a_book_that_is_damaged_is_begun_anew(lake: LakeStore, hook: Hook) -> None:
    write(lake)
    lake.write_bytes(sending.BOOK, b"{")
    assert deliver(lake, hook.url) == (1, [])


@given(
    ups=st.lists(st.booleans(), min_size=30, max_size=30),
    entered=st.lists(st.integers(0, 20), min_size=1, max_size=4, unique=True).map(sorted),
)
def test_whenever_a_channel_is_up_each_report_is_taken_once_and_in_order(
    ups: list[bool], entered: list[int]
) -> None:
    start = datetime.combine(DAY, time(), UTC)
    book: sending.Book = {}
    taken = []
    for hours, up in enumerate([*ups, *[True] * 20]):
        now = start + hours * HOUR
        if hours in entered:
            book = sending.entered(book, DAY + timedelta(days=hours), ["c"], now)
        for day, name in sending.due(book, ["c"], now):
            book[day][name] = sending.Entry(
                entered=book[day][name].entered,
                attempts=book[day][name].attempts + 1,
                next_try=now + HOUR,
                sent_at=now if up else None,
            )
            taken += [day] * up
    assert taken == [DAY + timedelta(days=hours) for hours in entered]
