"""Which days are in the tables, which are missing, and which are blocked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import psycopg

_ONE_DAY = timedelta(days=1)


def published_days(connection: psycopg.Connection) -> set[date]:
    """The days that have been published."""
    return {day for (day,) in connection.execute("SELECT day FROM published_days").fetchall()}


def blocked_days(connection: psycopg.Connection) -> dict[date, list[str]]:
    """The days that a check holds back, each with `table.check` names."""
    rows = connection.execute(
        "SELECT day, endpoint || '.' || check_name FROM blocked_days "
        "WHERE accepted_at IS NULL ORDER BY 1, 2"
    )
    blocked: dict[date, list[str]] = {}
    for day, check in rows.fetchall():
        blocked.setdefault(day, []).append(check)
    return blocked


def days_between(first: date, last: date) -> list[date]:
    """All days from the first to the last, both included."""
    return [first + index * _ONE_DAY for index in range((last - first).days + 1)]


def gaps(days: Sequence[date]) -> list[tuple[date, date]]:
    """Contiguous stretches of some days, oldest first: the first and last day of each.

    Examples:
        >>> from datetime import date
        >>> gaps([date(2026, 1, 1), date(2026, 1, 2), date(2026, 1, 4)])
        [(datetime.date(2026, 1, 1), datetime.date(2026, 1, 2)), \
(datetime.date(2026, 1, 4), datetime.date(2026, 1, 4))]
    """
    stretches: list[tuple[date, date]] = []
    for day in sorted(days):
        if stretches and day - stretches[-1][1] == _ONE_DAY:
            stretches[-1] = (stretches[-1][0], day)
        else:
            stretches.append((day, day))
    return stretches
