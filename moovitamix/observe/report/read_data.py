"""Reads from the warehouse how much came in, what waits, what is held back, and how it drifts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING

from moovitamix.observe.drift import worst
from moovitamix.observe.drift_features import BY_NAME
from moovitamix.observe.drift_store import read_readings
from moovitamix.observe.report.of_data import (
    BlockedRule,
    Drift,
    DriftFigure,
    QuarantineGroup,
    Unit,
    Volume,
)
from moovitamix.warehouse.acceptance import broken_rules

if TYPE_CHECKING:
    import psycopg

# Four of each weekday.
HISTORY_DAYS = 28
_WEEK = 7

_PUBLISHED = "SELECT day FROM published_days WHERE day BETWEEN %(first)s AND %(last)s"

_HEARD = """
SELECT listened_at::date, count(*), count(DISTINCT user_id), count(DISTINCT track_id)
FROM listen_history
WHERE listened_at >= %(first)s::date AND listened_at < %(last)s::date + 1
GROUP BY 1
"""

_NEW = """
SELECT created_at::date, count(*) FROM {table}
WHERE created_at >= %(first)s::date AND created_at < %(last)s::date + 1
GROUP BY 1
"""

_WITHDRAWN = """
SELECT withdrawn_at::date, count(*) FROM {table}
WHERE withdrawn_at >= %(first)s::date AND withdrawn_at < %(last)s::date + 1
GROUP BY 1
"""

_WAITING = """
SELECT endpoint, field, reason, count(*), count(*) FILTER (WHERE day = %s)
FROM quarantine WHERE resolved_at IS NULL
GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3
"""


def read_volumes(connection: psycopg.Connection, day: date) -> tuple[Volume, ...]:
    """What came in on a day, and on the days before that are published."""
    span = {"first": day - timedelta(days=HISTORY_DAYS - 1), "last": day}
    published = {one for (one,) in connection.execute(_PUBLISHED, span).fetchall()}
    heard = connection.execute(_HEARD, span).fetchall()

    def counted(query: str, table: str) -> dict[date, int]:
        return dict(connection.execute(query.format(table=table).encode(), span).fetchall())

    counts: list[tuple[str, Unit, Mapping[date, int]]] = [
        ("listens", "plays", {row[0]: row[1] for row in heard}),
        ("listening users", "users", {row[0]: row[2] for row in heard}),
        ("tracks heard", "tracks", {row[0]: row[3] for row in heard}),
        ("new users", "users", counted(_NEW, "users")),
        ("new tracks", "tracks", counted(_NEW, "tracks")),
        ("users gone", "users", counted(_WITHDRAWN, "users")),
        ("tracks gone", "tracks", counted(_WITHDRAWN, "tracks")),
    ]
    days = [span["first"] + timedelta(days=number) for number in range(HISTORY_DAYS)]
    return tuple(
        volume(name, unit, [found.get(one, 0) if one in published else None for one in days])
        for name, unit, found in counts
    )


def volume(name: str, unit: Unit, history: Sequence[int | None]) -> Volume:
    """A count beside those before it, of which some may not be known.

    Args:
        name: What is counted.
        unit: Of what.
        history: By day, the oldest first, the day itself last; more than a week.
    """
    week = [count for count in history[-1 - _WEEK : -1] if count is not None]
    return Volume(
        name=name,
        unit=unit,
        count=history[-1],
        week_before=history[-1 - _WEEK],
        usual=sum(week) / len(week) if week else None,
        history=tuple(history),
    )


def read_quarantine(connection: psycopg.Connection, day: date) -> tuple[QuarantineGroup, ...]:
    """What waits in quarantine, by endpoint, field and reason; the most frequent first."""
    return tuple(
        QuarantineGroup(
            endpoint=endpoint, field=field, reason=reason, waiting=waiting, of_the_day=of_the_day
        )
        for endpoint, field, reason, waiting, of_the_day in connection.execute(
            _WAITING, (day,)
        ).fetchall()
    )


def read_blocked(connection: psycopg.Connection) -> tuple[BlockedRule, ...]:
    """Which rules hold which days back. Who accepted one is left out."""
    return tuple(
        BlockedRule(
            day=one.day,
            rule=f"{one.table}.{one.rule}",
            why=one.why,
            since=one.since,
            accepted=one.accepted_by is not None,
        )
        for one in broken_rules(connection)
    )


def read_drift(connection: psycopg.Connection, day: date) -> Drift | None:
    """The readings of a day; None where it was not read."""
    found = read_readings(connection, day)
    if found is None:
        return None
    figures = []
    for one in found.readings:
        feature, bound = BY_NAME.get(one.feature), one.bound
        figures.append(
            DriftFigure(
                feature=one.feature,
                title=feature.title if feature else one.feature,
                unit=feature.unit if feature else "",
                value=one.value,
                usual=bound.usual if bound else None,
                warning=bound.warning if bound else None,
                alarm=bound.alarm if bound else None,
                verdict=one.verdict,
                reason=one.reason,
            )
        )
    return Drift(
        model_version=found.model_version,
        as_of=found.as_of,
        verdict=worst(found.readings),
        figures=tuple(figures),
    )
