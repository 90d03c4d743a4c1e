"""What is still to be told to which channel: sent as one message each, kept until it was taken.

A message is claimed in a transaction, sent outside of any, and noted in another. So it is told at
least once: who is killed between sending and noting tells it again. What is in a message is told by
`message.py`, how it is sent by `channels.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from moovitamix.observe.channels import Channel, Sent, send
from moovitamix.observe.conditions import RULES
from moovitamix.observe.ledger import take_turn
from moovitamix.observe.message import Message, Notice, compose

if TYPE_CHECKING:
    import psycopg

    from moovitamix.resources import Warehouse

# Somebody whose phone rings more often turns it off. What comes after waits for the hour to pass.
MESSAGES_AN_HOUR = 10

# After 1, 2, 3 … failures. Longer than any sending takes: it is also the time for which a message
# that is being sent is left alone.
_FIRST_PAUSE = timedelta(minutes=2)
LONGEST_PAUSE = timedelta(hours=1)

_WAITING = """
SELECT n.id, n.alert_id, n.what, a.severity, a.title, a.text, a.runbook, a.link, a.first_seen,
       a.resolved_at, a.kind, n.attempts, n.next_try
FROM alert_notices n JOIN alerts a ON a.id = n.alert_id
WHERE n.channel = %(channel)s AND n.sent_at IS NULL
ORDER BY n.id
"""

_SENT_LATELY = """
SELECT count(DISTINCT sent_at) FROM alert_notices
WHERE channel = %(channel)s AND sent_at > %(since)s
"""

_CLAIM = """
UPDATE alert_notices SET attempts = %(attempts)s, next_try = %(next_try)s WHERE id = ANY(%(ids)s)
"""

_NOTE = "UPDATE alert_notices SET sent_at = %(now)s WHERE id = ANY(%(ids)s)"


@dataclass(frozen=True)
class Delivery:
    """What came of the message to one channel.

    Attributes:
        channel: Its name.
        notices: How many were in it.
        fault: Why it was not taken, without secrets; None when it was.
    """

    channel: str
    notices: int
    fault: str | None


@dataclass(frozen=True)
class _Claimed:
    channel: Channel
    ids: list[int]
    message: Message


def pause(attempts: int) -> timedelta:
    """How long to wait after so many attempts that failed."""
    doubled: timedelta = _FIRST_PAUSE * (1 << min(attempts - 1, 10))
    return min(doubled, LONGEST_PAUSE)


def deliver(
    warehouse: Warehouse, channels: Sequence[Channel], now: datetime, *, runbook: str
) -> list[Delivery]:
    """Send each channel what is due for it, all at the same time; what fails is tried later.

    Args:
        warehouse: Where the notices are.
        channels: Those that are configured.
        now: UTC.
        runbook: Where the runbook is read.

    Raises:
        StoreUnavailable: When Postgres does not answer.
    """
    with warehouse.connect() as connection:
        take_turn(connection)
        found = [
            _claim(connection, channel, now, namespace=warehouse.schema_name, runbook=runbook)
            for channel in channels
        ]
    claimed = [one for one in found if one is not None]
    if not claimed:
        return []
    with ThreadPoolExecutor(len(claimed)) as senders:
        came = list(senders.map(_send, claimed))
    with warehouse.connect() as connection:
        for one, sent in zip(claimed, came, strict=True):
            if sent.fault is None:
                connection.execute(_NOTE, {"now": now, "ids": one.ids})
    return [
        Delivery(one.channel.name, len(one.ids), sent.fault)
        for one, sent in zip(claimed, came, strict=True)
    ]


def _send(claimed: _Claimed) -> Sent:
    message = claimed.message
    return send(claimed.channel, message.title, message.body, message.severity)


def _claim(
    connection: psycopg.Connection,
    channel: Channel,
    now: datetime,
    *,
    namespace: str,
    runbook: str,
) -> _Claimed | None:
    """All that waits for a channel, as one message; None where nothing is due."""
    rows = connection.execute(_WAITING, {"channel": channel.name}).fetchall()
    if not rows or max(next_try for *_, next_try in rows) > now:
        return None
    lately = {"channel": channel.name, "since": now - timedelta(hours=1)}
    if (sent := connection.execute(_SENT_LATELY, lately).fetchone()) and (
        sent[0] >= MESSAGES_AN_HOUR
    ):
        return None
    notices = [
        Notice(
            id=number,
            alert=alert,
            what=what,
            severity=severity,
            title=title,
            text=text,
            runbook=entry,
            link=link,
            since=since,
            over=over,
            announced=kind in RULES and RULES[kind].nature == "announced",
        )
        for (
            number,
            alert,
            what,
            severity,
            title,
            text,
            entry,
            link,
            since,
            over,
            kind,
            *_,
        ) in rows
    ]
    attempts = max(row[-2] for row in rows) + 1
    ids = [one.id for one in notices]
    connection.execute(
        _CLAIM, {"attempts": attempts, "next_try": now + pause(attempts), "ids": ids}
    )
    return _Claimed(channel, ids, compose(notices, namespace=namespace, runbook=runbook))
