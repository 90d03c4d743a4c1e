"""Sends each report once to each channel: what is not taken is kept, and tried again later.

Which report and which channel are still due is told by a book in the lake, `reports/sending.json`,
that the sensor `send_report` alone writes. An attempt is noted before it is made, and that it was
taken after it: so a report is sent at least once, and a second time only where the process is
killed in between. How one message is sent is told in `channels.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

import msgspec

from moovitamix.observe.channels import Channel, Sent, send
from moovitamix.observe.outbox import pause
from moovitamix.observe.report import sentences, shelf
from moovitamix.observe.report.model import Report, Severity

if TYPE_CHECKING:
    from moovitamix.ingest.lake import LakeStore

BOOK = f"{shelf.FOLDER}/sending.json"

# An older report is history: who sets a channel, or writes an old day again, is not sent it.
FRESH_FOR = timedelta(days=2)

# A channel that took nothing for so long is given up; and so long the book remembers.
GIVE_UP_AFTER = timedelta(days=7)


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A report for a channel.

    Attributes:
        entered: Since when it is to be sent, UTC.
        attempts: How often it was tried.
        next_try: Not before, UTC.
        sent_at: When it was taken; None: not yet.
    """

    entered: datetime
    attempts: int = 0
    next_try: datetime
    sent_at: datetime | None = None


# By day, by the name of the channel.
Book = dict[date, dict[str, Entry]]


def entered(book: Book, day: date, channels: Sequence[str], now: datetime) -> Book:
    """The book with a day's report for each channel that it is not in for yet."""
    fresh = {name: Entry(entered=now, next_try=now) for name in channels}
    return {**book, day: {**fresh, **book.get(day, {})}}


def due(book: Book, channels: Sequence[str], now: datetime) -> list[tuple[date, str]]:
    """What is to be sent now, the oldest day first; one report a channel, so that they keep order.

    Args:
        book: What was entered.
        channels: Those that are configured.
        now: UTC.
    """
    found = []
    for name in channels:
        waiting = [
            day
            for day in sorted(book)
            if (one := book[day].get(name)) is not None
            and one.sent_at is None
            and now - one.entered < GIVE_UP_AFTER
        ]
        if waiting and book[waiting[0]][name].next_try <= now:
            found.append((waiting[0], name))
    return found


def tidied(book: Book, now: datetime) -> Book:
    """A copy of the book without days that nothing will be sent of any more."""
    return {
        day: dict(entries)
        for day, entries in book.items()
        if any(now - one.entered < 2 * GIVE_UP_AFTER for one in entries.values())
    }


def is_fresh(day: date, present: datetime) -> bool:
    """Whether the report of a day is still news."""
    end = datetime.combine(day + timedelta(days=1), time(), UTC)
    return end <= present < end + FRESH_FOR


def deliver(
    lake: LakeStore,
    channels: Sequence[Channel],
    *,
    now: datetime,
    present: datetime,
    runbook: str,
    tell: Callable[[str], None],
) -> int:
    """Send what is due; how many messages were taken.

    Args:
        lake: Where reports and the book are.
        channels: Where to.
        now: UTC.
        present: The same, or the simulated present, by which a report is news.
        runbook: Where the runbook is read.
        tell: Told of each message that was not taken.
    """
    names = {channel.name: channel for channel in channels}
    kept = _read(lake)
    book = tidied(kept, now)
    for back in range(1, FRESH_FOR.days + 1):
        day = present.date() - timedelta(days=back)
        if is_fresh(day, present) and lake.exists(shelf.json_name(day)):
            book = entered(book, day, list(names), now)
            break  # the newest alone is news
    taken = 0
    for day, name in due(book, list(names), now):
        report = shelf.get(lake, day)
        if report is None:  # taken away, or of another version: there is nothing to send
            book[day].pop(name)
            continue
        before = book[day][name]
        attempt = msgspec.structs.replace(
            before, attempts=before.attempts + 1, next_try=now + pause(before.attempts + 1)
        )
        book[day][name] = attempt
        _write(lake, book)
        sent = send_one(lake, names[name], report, runbook)
        if sent.fault is None:
            taken += 1
            book[day][name] = msgspec.structs.replace(attempt, sent_at=now)
        else:
            tell(f"{name} did not take the report of {day}, and gets it later: {sent.fault}")
    if book != kept:
        _write(lake, book)
    return taken


def send_one(lake: LakeStore, channel: Channel, report: Report, runbook: str) -> Sent:
    """Send a report to a channel now, whatever the book says, and leave the book as it is."""
    return send(
        channel,
        sentences.title(report),
        sentences.in_brief(report, runbook),
        _worst(report),
        page=lake.read_bytes(shelf.page_name(report.day)).decode(),
    )


def _worst(report: Report) -> Severity | None:
    return report.needs[0].severity if report.needs else None


def _read(lake: LakeStore) -> Book:
    try:
        return msgspec.json.decode(lake.read_bytes(BOOK), type=Book)
    except (FileNotFoundError, msgspec.MsgspecError):
        return {}  # a report may come twice, which is better than not at all


def _write(lake: LakeStore, book: Book) -> None:
    lake.write_bytes(BOOK, msgspec.json.format(msgspec.json.encode(book), indent=1))
