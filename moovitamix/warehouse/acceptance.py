"""Blocked days: which rule holds each back, and the verdicts that somebody accepted by name.

An acceptance is for a day, a table and a rule, and for the content that was judged: it ends as
soon as the day's rows of that table are others. How days are judged is told by `judge.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import psycopg
from psycopg import sql

from moovitamix.errors import NothingToDo
from moovitamix.warehouse.collapse import WHOLENESS_RULES, Missing, WholenessRule
from moovitamix.warehouse.expectations import STAGED_EXPECTATIONS

# A sum does not depend on the order of rows, and knows repeated ones.
_CONTENT = """
SELECT count(*) || ':' || coalesce(sum(hashtextextended(
           (to_jsonb(s) - 'run_id' - 'staged_at' - 'pull' - 'told')::text, 0)::numeric), 0)
FROM {} s WHERE run_id = %s AND day = %s
"""

_BLOCKED = """
INSERT INTO blocked_days AS b (day, endpoint, check_name, pull, content)
VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (day, endpoint, check_name) DO UPDATE
SET pull = excluded.pull, content = excluded.content,
    accepted_by = CASE WHEN b.content = excluded.content THEN b.accepted_by END,
    accepted_at = CASE WHEN b.content = excluded.content THEN b.accepted_at END
"""

_NO_LONGER_BROKEN = """
DELETE FROM blocked_days
WHERE endpoint = %(endpoint)s AND day = ANY(%(days)s)
  AND (day, check_name) NOT IN (SELECT * FROM unnest(%(broken_days)s::date[],
                                                     %(broken_rules)s::text[]))
"""

# A pull that misses many is found once, on its last day, however many days are loaded from it.
_NO_LONGER_MISSING = """
DELETE FROM blocked_days
WHERE endpoint = %(endpoint)s AND check_name = %(rule)s AND accepted_at IS NULL
"""

_MISSING_ACCEPTED = """
SELECT 1 FROM blocked_days
WHERE endpoint = %(endpoint)s AND check_name = %(rule)s AND content = %(content)s
  AND accepted_at IS NOT NULL
"""

_ACCEPTED = """
SELECT day, check_name FROM blocked_days
WHERE endpoint = %s AND day = ANY(%s) AND accepted_at IS NOT NULL
"""

# A day stays listed until it is published with what was accepted.
_LISTED = """
SELECT b.day, b.endpoint, b.check_name, b.since, b.accepted_by
FROM blocked_days b LEFT JOIN published_days p ON p.day = b.day
WHERE b.accepted_at IS NULL OR p.day IS NULL OR p.published_at < b.accepted_at
ORDER BY b.day, b.endpoint, b.check_name
"""

_AWAITED = """
SELECT b.day
FROM blocked_days b LEFT JOIN published_days p ON p.day = b.day
GROUP BY b.day, p.published_at
HAVING bool_and(b.accepted_at IS NOT NULL)
   AND (p.published_at IS NULL OR p.published_at < max(b.accepted_at))
"""

_ACCEPT = """
UPDATE blocked_days SET accepted_by = %(by)s, accepted_at = now()
WHERE day = %(day)s AND accepted_at IS NULL
RETURNING endpoint, check_name
"""


@dataclass(frozen=True)
class BrokenRule:
    """A rule that a day broke.

    Args:
        day: The day.
        table: The staging table, or the asset of a pull that misses too much.
        rule: The name of its rule.
        since: When it was first found.
        accepted_by: Who accepted it, if anybody did; then the day waits to be published.
    """

    day: date
    table: str
    rule: str
    since: datetime
    accepted_by: str | None

    @property
    def why(self) -> str:
        """What goes wrong when the rule is broken."""
        of_slices = [one.why for one in STAGED_EXPECTATIONS if one.is_called(self.table, self.rule)]
        of_pulls = [one.why for one in WHOLENESS_RULES if one.is_called(self.table, self.rule)]
        unknown = "A rule of an earlier version; the next run judges by today's."
        return next(iter(of_slices + of_pulls), unknown)


def note_blocked(
    connection: psycopg.Connection,
    *,
    run_id: str,
    endpoint: str,
    pull: str,
    failed: Mapping[date, Sequence[str]],
) -> dict[date, list[str]]:
    """Write down which rules the judged days broke, and leave out those that were accepted.

    Args:
        connection: A transaction of the warehouse.
        run_id: Whose staged rows were judged.
        endpoint: The staging table.
        pull: The newest pull.
        failed: By judged day, the rules it broke.

    Returns:
        By day, the broken rules that hold it back.
    """
    contents = {
        day: _content(connection, endpoint, run_id, day) for day, broken in failed.items() if broken
    }
    pairs = [(day, rule) for day, broken in failed.items() for rule in broken]
    connection.execute(
        _NO_LONGER_BROKEN,
        {
            "endpoint": endpoint,
            "days": list(failed),
            "broken_days": [day for day, _ in pairs],
            "broken_rules": [rule for _, rule in pairs],
        },
    )
    if pairs:
        connection.cursor().executemany(
            _BLOCKED, [(day, endpoint, rule, pull, contents[day]) for day, rule in pairs]
        )
    accepted = set(connection.execute(_ACCEPTED, (endpoint, list(failed))).fetchall())
    return {
        day: [rule for rule in broken if (day, rule) not in accepted]
        for day, broken in failed.items()
    }


def note_missing(
    connection: psycopg.Connection, rule: WholenessRule, missing: Missing, *, day: date, pull: str
) -> bool:
    """Write down that a pull misses too much, or that it does not any more.

    Args:
        connection: A transaction of the warehouse.
        rule: Which of its parts.
        missing: What it misses.
        day: The last day that was over when the pull began: it stands for the pull.
        pull: The pull.

    Returns:
        Whether it may go on: nothing is missing, or just this was accepted by name.
    """
    connection.execute(_NO_LONGER_MISSING, {"endpoint": rule.asset, "rule": rule.name})
    if _is_accepted(connection, rule, missing):
        return True
    connection.execute(_BLOCKED, (day, rule.asset, rule.name, pull, missing.content))
    return False


def may_withdraw(connection: psycopg.Connection, table: str, missing: Missing) -> bool:
    """Whether what a pull misses of a table may be withdrawn: it is little, or was accepted.

    The check of the pull ends with its run, and this is asked by whatever publishes.
    """
    rule = next(one for one in WHOLENESS_RULES if one.table == table)
    return _is_accepted(connection, rule, missing)


def _is_accepted(connection: psycopg.Connection, rule: WholenessRule, missing: Missing) -> bool:
    names = {"endpoint": rule.asset, "rule": rule.name, "content": missing.content}
    return (
        not missing.collapsed or connection.execute(_MISSING_ACCEPTED, names).fetchone() is not None
    )


def _content(connection: psycopg.Connection, table: str, run_id: str, day: date) -> str:
    """What tells a day's staged rows from others, whatever their order and the run."""
    statement = sql.SQL(_CONTENT).format(sql.Identifier(table))
    row = connection.execute(statement, (run_id, day)).fetchone()
    return str(row[0]) if row else ""


def broken_rules(connection: psycopg.Connection) -> list[BrokenRule]:
    """What holds days back, and what was accepted of days that are not published since."""
    return [BrokenRule(*row) for row in connection.execute(_LISTED).fetchall()]


def awaited_days(connection: psycopg.Connection) -> set[date]:
    """The blocked days whose verdict was accepted and that are not published since."""
    return {day for (day,) in connection.execute(_AWAITED).fetchall()}


def accept(connection: psycopg.Connection, day: date, by: str) -> list[tuple[str, str]]:
    """Accept the verdict of a blocked day: its next materialization publishes it.

    Args:
        connection: A transaction of the warehouse.
        day: A blocked one.
        by: Who answers for it.

    Returns:
        Table and name of each rule that was accepted.

    Raises:
        NothingToDo: When no rule holds the day back.
    """
    accepted = connection.execute(_ACCEPT, {"day": day, "by": by}).fetchall()
    if not accepted:
        raise NothingToDo(
            f"{day} is not blocked, there is no verdict to accept. "
            "`moovitamix days blocked` lists the days that are."
        )
    return sorted(accepted)
