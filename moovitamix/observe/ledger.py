"""The book of alerts: what is found becomes open, stays open, or is over; and who is to be told.

Each key is open once. Sending is the business of `outbox.py`. Every function works inside the
caller's transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from psycopg import sql

from moovitamix.observe.conditions import Condition, Kind

if TYPE_CHECKING:
    import psycopg

# What is still open is told again, at most so often.
REMIND_AFTER = timedelta(hours=24)

# Alerts that are over are kept for so long; longer than anything is looked back for.
KEEP_FOR = timedelta(days=90)

# A channel that is not configured any more, or not now, is given up after so long.
GIVE_UP_AFTER = timedelta(days=7)

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || '.alerts', 0))"

_OPEN = """
SELECT key, kind, title, text, first_seen, link, runbook
FROM alerts WHERE resolved_at IS NULL AND (%(kinds)s::text[] IS NULL OR kind = ANY(%(kinds)s))
ORDER BY id
"""

_SEEN_AGAIN = """
UPDATE alerts SET last_seen = %(now)s, times = times + 1, title = %(title)s, text = %(text)s,
    severity = %(severity)s, runbook = %(runbook)s, link = %(link)s
WHERE key = %(key)s AND resolved_at IS NULL
"""

# What happens once, or is announced, is not opened again by a look that finds it again.
_OPENED = """
INSERT INTO alerts (key, kind, severity, title, text, runbook, link, first_seen, last_seen,
                    resolved_at)
SELECT %(key)s, %(kind)s, %(severity)s, %(title)s, %(text)s, %(runbook)s, %(link)s,
       %(since)s::timestamptz, %(now)s::timestamptz, %(over)s::timestamptz
WHERE NOT (%(once)s AND EXISTS (SELECT FROM alerts WHERE key = %(key)s))
RETURNING id
"""

_OVER = """
UPDATE alerts SET resolved_at = %(now)s
WHERE resolved_at IS NULL AND kind = ANY(%(kinds)s::text[]) AND key <> ALL(%(keys)s::text[])
RETURNING id, title
"""

_TELL = """
INSERT INTO alert_notices (alert_id, channel, what, created_at, next_try)
SELECT a.id, c.channel, 'new', %(now)s::timestamptz, %(now)s::timestamptz
FROM alerts a CROSS JOIN unnest(%(channels)s::text[]) c(channel)
WHERE (a.resolved_at IS NULL OR a.id = ANY(%(opened)s::bigint[]))
  AND NOT EXISTS (SELECT FROM alert_notices n
                  WHERE n.alert_id = a.id AND n.channel = c.channel AND n.what = 'new')
ORDER BY a.id
"""

# To whom it was told, or will be.
_TELL_OVER = """
INSERT INTO alert_notices (alert_id, channel, what, created_at, next_try)
SELECT n.alert_id, n.channel, 'over', %(now)s::timestamptz, %(now)s::timestamptz
FROM alert_notices n WHERE n.alert_id = ANY(%(over)s::bigint[]) AND n.what = 'new'
ORDER BY n.alert_id
"""

_NOT_TO_BE_REMINDED = """
DELETE FROM alert_notices n USING alerts a
WHERE a.id = n.alert_id AND a.resolved_at IS NOT NULL AND n.what = 'reminder' AND n.sent_at IS NULL
"""

# A channel gets one message of reminders a day, of all that is old enough then.
_REMIND = """
WITH told AS (
    SELECT n.alert_id, n.channel, max(n.sent_at) AS last, bool_or(n.sent_at IS NULL) AS waits
    FROM alert_notices n JOIN alerts a ON a.id = n.alert_id
    WHERE a.resolved_at IS NULL AND n.channel = ANY(%(channels)s::text[])
    GROUP BY n.alert_id, n.channel
), reminded AS (
    SELECT channel, max(coalesce(sent_at, created_at)) AS last
    FROM alert_notices WHERE what = 'reminder' GROUP BY channel
)
INSERT INTO alert_notices (alert_id, channel, what, created_at, next_try)
SELECT alert_id, channel, 'reminder', %(now)s::timestamptz, %(now)s::timestamptz
FROM told LEFT JOIN reminded r USING (channel)
WHERE NOT told.waits AND told.last <= %(before)s AND (r.last IS NULL OR r.last <= %(before)s)
ORDER BY alert_id
"""

# What is open, or was not told to all yet, by its key: a second time there is nothing to bring.
_BRING = """
INSERT INTO alerts (key, kind, severity, title, text, runbook, link, first_seen, last_seen, times,
                    resolved_at)
SELECT o.key, o.kind, o.severity, o.title, o.text, o.runbook, o.link, o.first_seen, o.last_seen,
       o.times, o.resolved_at
FROM {old}.alerts o
WHERE (o.resolved_at IS NULL
       OR EXISTS (SELECT FROM {old}.alert_notices n WHERE n.alert_id = o.id AND n.sent_at IS NULL))
  AND NOT EXISTS (SELECT FROM alerts a WHERE a.key = o.key)
ORDER BY o.id
"""

_BRING_NOTICES = """
INSERT INTO alert_notices (alert_id, channel, what, created_at, attempts, next_try, sent_at)
SELECT a.id, n.channel, n.what, n.created_at, n.attempts, n.next_try, n.sent_at
FROM {old}.alert_notices n
JOIN {old}.alerts o ON o.id = n.alert_id
JOIN alerts a ON a.key = o.key AND a.first_seen = o.first_seen
WHERE NOT EXISTS (SELECT FROM alert_notices m WHERE m.alert_id = a.id)
ORDER BY n.id
"""

_TIDY = "DELETE FROM alerts WHERE resolved_at < %(before)s"

_GIVE_UP = """
DELETE FROM alert_notices
WHERE sent_at IS NULL AND channel <> ALL(%(channels)s::text[]) AND created_at < %(before)s
"""


@dataclass(frozen=True)
class Look:
    """What one look around has found.

    Attributes:
        conditions: All that is the case, each key once.
        kinds: What was looked at: of these, what was not found is over. A store that did not
            answer leaves its kinds out.
    """

    conditions: Sequence[Condition]
    kinds: Collection[Kind]


@dataclass(frozen=True)
class Entered:
    """What a look has changed: titles of alerts."""

    opened: Sequence[Condition]
    over: Sequence[str]


def take_turn(connection: psycopg.Connection) -> None:
    """Wait for whoever writes in the book, and keep others waiting until the transaction ends."""
    connection.execute(_LOCK)


def open_conditions(
    connection: psycopg.Connection, kinds: Collection[Kind] | None = None
) -> list[Condition]:
    """What is open, as it was found, the oldest first."""
    wanted = None if kinds is None else list(kinds)
    return [
        Condition(
            key=key,
            kind=kind,
            title=title,
            text=text,
            since=first_seen,
            link=link,
            runbook=runbook,
        )
        for key, kind, title, text, first_seen, link, runbook in connection.execute(
            _OPEN, {"kinds": wanted}
        ).fetchall()
    ]


def enter(
    connection: psycopg.Connection, look: Look, channels: Sequence[str], now: datetime
) -> Entered:
    """Write down what was found, and note for each channel what it is still to be told.

    Args:
        connection: The transaction; others wait until it ends.
        look: What was found.
        channels: The names of those that are configured.
        now: UTC.
    """
    take_turn(connection)
    opened: dict[int, Condition] = {}
    for one in look.conditions:
        entry = _entry(one, now)
        if connection.execute(_SEEN_AGAIN, entry).rowcount:
            continue
        new = connection.execute(_OPENED, entry).fetchone()
        if new is not None:
            opened[new[0]] = one
    over = connection.execute(
        _OVER,
        {
            "now": now,
            "kinds": list(look.kinds),
            "keys": [one.key for one in look.conditions],
        },
    ).fetchall()
    who = {"channels": list(channels), "now": now}
    connection.execute(_TELL, {**who, "opened": list(opened)})
    connection.execute(_TELL_OVER, {"now": now, "over": [alert for alert, _ in over]})
    connection.execute(_NOT_TO_BE_REMINDED)
    connection.execute(_REMIND, {**who, "before": now - REMIND_AFTER})
    connection.execute(_TIDY, {"before": now - KEEP_FOR})
    connection.execute(_GIVE_UP, {**who, "before": now - GIVE_UP_AFTER})
    return Entered(list(opened.values()), [title for _, title in over])


def bring_over(connection: psycopg.Connection, schema: str) -> None:
    """Go on with the book of another schema: what is open there, and what was not told yet.

    Repeating it changes nothing.

    Args:
        connection: The transaction, on the schema where the book goes on.
        schema: Where it was kept.
    """
    take_turn(connection)
    for statement in (_BRING, _BRING_NOTICES):
        connection.execute(sql.SQL(statement).format(old=sql.Identifier(schema)))


def _entry(one: Condition, now: datetime) -> dict[str, object]:
    return {
        "key": one.key,
        "kind": one.kind,
        "severity": one.severity,
        "title": one.title,
        "text": one.text,
        "runbook": one.entry,
        "link": one.link,
        "since": one.since or now,
        "now": now,
        "over": now if one.nature == "announced" else None,
        "once": one.nature != "lasts",
    }
