"""What became of what was shown: clicks, skips, hides and listens, by model version, tier and day.

The events are taken in by `warehouse/feedback.py`; offline figures are made in `recommend/`.

An impression is followed by what the same user does with the same track within 24 hours, or until
it is shown to them again. Every reaction so belongs to one impression, and each rate is a share of
impressions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Literal

from moovitamix.settings import get_settings

if TYPE_CHECKING:
    import psycopg

    from moovitamix.resources import Warehouse

By = Literal["day", "model_version", "tier", "arm"]

BY_VERSION: tuple[By, ...] = ("model_version", "tier", "arm")

# Days after a day until nothing comes any more: events may be a week old, and the listens of the
# day after are loaded the night after that.
_OPEN_DAYS = 9
_SETTLED_AFTER_DAYS = 3

# Of the normal distribution: 95 % within.
_Z = 1.959963984540054

_ALONE = "SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || ':online_figures', 0))"

_FORGET = "DELETE FROM online_figures WHERE day = %(day)s"

# All events of a user and a track in their order; each is told the last impression before it.
_COUNT = """
INSERT INTO online_figures
    (day, model_version, tier, arm, impressions, clicks, skips, hides, listens, users)
WITH shown AS (
    SELECT DISTINCT user_id, track_id FROM feedback
    WHERE day = %(day)s AND kind = 'impression'
), heard AS (
    SELECT user_id, track_id, listened_at FROM listen_history
    UNION ALL SELECT user_id, track_id, listened_at FROM activity
), events AS (
    SELECT user_id, track_id, at, kind, model_version, tier, arm
    FROM feedback JOIN shown USING (user_id, track_id)
    WHERE day BETWEEN %(day)s AND %(day)s::date + 1 AND kind <> 'unhide'
    UNION ALL
    SELECT user_id, track_id, listened_at, 'listen', NULL, NULL, NULL
    FROM heard JOIN shown USING (user_id, track_id)
    WHERE listened_at >= %(day)s::date AND listened_at < %(day)s::date + 2
), following AS (
    SELECT *, max(at) FILTER (WHERE kind = 'impression') OVER (
        PARTITION BY user_id, track_id ORDER BY at, kind <> 'impression'
        ROWS UNBOUNDED PRECEDING
    ) AS shown_at
    FROM events
), judged AS (
    SELECT
        user_id,
        coalesce(max(model_version), 0) AS model_version,
        coalesce(max(tier), '') AS tier,
        coalesce(max(arm), '') AS arm,
        bool_or(kind = 'click') AS clicked,
        bool_or(kind = 'skip') AS skipped,
        bool_or(kind = 'hide') AS hidden,
        bool_or(kind = 'listen') AS heard
    FROM (
        SELECT
            user_id, track_id, shown_at, kind,
            CASE kind WHEN 'impression' THEN model_version END AS model_version,
            CASE kind WHEN 'impression' THEN tier END AS tier,
            CASE kind WHEN 'impression' THEN arm END AS arm
        FROM following
        WHERE shown_at >= %(day)s::date AND shown_at < %(day)s::date + 1
            AND at < shown_at + interval '24 hours'
    ) AS reactions
    GROUP BY user_id, track_id, shown_at
)
SELECT
    %(day)s, model_version, tier, arm, count(*),
    count(*) FILTER (WHERE clicked), count(*) FILTER (WHERE skipped),
    count(*) FILTER (WHERE hidden), count(*) FILTER (WHERE heard),
    count(DISTINCT user_id)
FROM judged
GROUP BY model_version, tier, arm
"""

_UNSETTLED = """
SELECT day
FROM (
    SELECT day, max(taken_at) AS taken_at, bool_or(kind = 'impression') AS shown FROM feedback
    WHERE day <= %(today)s GROUP BY day
) AS taken
LEFT JOIN (SELECT day, min(counted_at) AS counted_at FROM online_figures GROUP BY day) AS counted
    USING (day)
WHERE counted_at IS NULL AND shown  -- however long ago: nobody may have counted for weeks
    OR day > %(today)s::date - %(open_days)s AND (counted_at IS NULL
        OR counted_at < taken_at
        OR counted_at < day + %(settled_after_days)s)
ORDER BY day
"""


@dataclass(frozen=True, slots=True)
class Share:
    """So many of all, with the 95 % interval of Wilson.

    Attributes:
        count: Of `of`.
        of: Of these.
        low: Lower bound; 0 where `of` is 0.
        high: Upper bound; 1 where `of` is 0.
    """

    count: int
    of: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """Count / of; not a number where `of` is 0."""
        return self.count / self.of if self.of else math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlineFigures:
    """What became of some impressions.

    Attributes:
        by: The values of what they are told apart by, in its order: a day, the registry's version
            (0: not told), a tier or an arm (empty: not told).
        impressions: Tracks shown.
        user_days: Users who were shown something, counted once a day.
        click_through: Of the impressions, those that were clicked.
        skip_rate: Those that were skipped.
        hide_rate: Those that were hidden.
        listening: Those that were listened to, clicked or not.
    """

    by: tuple[object, ...]
    impressions: int
    user_days: int
    click_through: Share
    skip_rate: Share
    hide_rate: Share
    listening: Share


def wilson(count: int, of: int) -> Share:
    """A share with its score interval.

    Wilson, "Probable Inference, the Law of Succession, and Statistical Inference" (JASA, 1927);
    equation 4 of Brown, Cai & DasGupta, "Interval Estimation for a Binomial Proportion" (2001).
    It holds for independent trials: impressions of one user are less than that, so that the true
    interval is somewhat wider.

    Raises:
        ValueError: When there are not `count` of `of`.
    """
    if not 0 <= count <= of:
        raise ValueError(f"There cannot be {count} of {of}. Count again.")
    if not of:
        return Share(0, 0, 0.0, 1.0)
    share, z2 = count / of, _Z * _Z
    middle = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = _Z / (1 + z2 / of) * math.sqrt(share * (1 - share) / of + z2 / (4 * of * of))
    low = 0.0 if count == 0 else middle - half
    high = 1.0 if count == of else middle + half
    return Share(count, of, low, high)


def count_day(connection: psycopg.Connection, day: date) -> int:
    """Count a day's impressions anew, in the caller's transaction; may be repeated.

    Returns:
        The rows written: by model version, tier and arm.
    """
    connection.execute(_ALONE)
    connection.execute(_FORGET, {"day": day})
    return connection.execute(_COUNT, {"day": day}).rowcount


def unsettled_days(connection: psycopg.Connection, today: date) -> list[date]:
    """The days with feedback whose figures are missing, or may still change, oldest first."""
    asked = {
        "today": today,
        "open_days": _OPEN_DAYS,
        "settled_after_days": _SETTLED_AFTER_DAYS,
    }
    return [day for (day,) in connection.execute(_UNSETTLED, asked).fetchall()]


def count_unsettled(connection: psycopg.Connection, today: date) -> dict[date, int]:
    """Count all days anew whose figures are missing or may still change; rows by day."""
    return {day: count_day(connection, day) for day in unsettled_days(connection, today)}


def online_figures(
    connection: psycopg.Connection, first: date, last: date, by: Sequence[By] = BY_VERSION
) -> list[OnlineFigures]:
    """What became of the impressions of some days that have been counted.

    Args:
        connection: A transaction of the warehouse.
        first: The first day.
        last: The last day.
        by: What impressions are told apart by; none: all together.

    Returns:
        In ascending order of `by`; empty when nothing was shown.
    """
    return list(_read(connection, first, last, tuple(by)))


def lately(warehouse: Warehouse, days: int = 28) -> list[OnlineFigures]:
    """What became of the impressions of the last days that are over, by model version."""
    yesterday = get_settings().present().date() - timedelta(days=1)
    with warehouse.connect() as connection:
        first = yesterday - timedelta(days=days - 1)
        return online_figures(connection, first, yesterday, ("model_version",))


def _read(
    connection: psycopg.Connection, first: date, last: date, by: tuple[By, ...]
) -> Iterator[OnlineFigures]:
    from psycopg import sql

    columns = sql.SQL(", ").join(map(sql.Identifier, by))
    counts = ("impressions", "users", "clicks", "skips", "hides", "listens")
    query = sql.SQL(
        "SELECT {told} {sums} FROM online_figures WHERE day BETWEEN %s AND %s {grouped}"
    ).format(
        told=columns + sql.SQL(",") if by else sql.SQL(""),
        sums=sql.SQL(", ").join(
            sql.SQL("coalesce(sum({}), 0)::bigint").format(sql.Identifier(name)) for name in counts
        ),
        grouped=sql.SQL("GROUP BY {} ORDER BY {}").format(columns, columns) if by else sql.SQL(""),
    )
    for row in connection.execute(query, (first, last)).fetchall():
        impressions, users, clicks, skips, hides, listens = row[len(by) :]
        if impressions:
            yield OnlineFigures(
                by=tuple(row[: len(by)]),
                impressions=impressions,
                user_days=users,
                click_through=wilson(clicks, impressions),
                skip_rate=wilson(skips, impressions),
                hide_rate=wilson(hides, impressions),
                listening=wilson(listens, impressions),
            )
