"""Counts, for every user, what they did while an experiment ran; never shown by user.

What is made of the counts is told in `experiment_figures.py`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import polars as pl

from moovitamix.recommend.arms import arm_of
from moovitamix.recommend.experiment_figures import COUNTS
from moovitamix.resources import copy_out

if TYPE_CHECKING:
    import psycopg

    from moovitamix.recommend.experiments import Experiment

# All users count, those too who did nothing: to leave these out would be to choose users by what
# the arm did to them. A play that the app told of and a pull has brought counts once, at the moment
# that the pull has for it.
_HEARD = """
    SELECT user_id, track_id, listened_at FROM listen_history
    WHERE listened_at >= %(start)s AND listened_at < %(end)s
    UNION ALL
    SELECT user_id, track_id, listened_at FROM activity a
    WHERE listened_at >= %(start)s AND listened_at < %(end)s AND NOT EXISTS (
        SELECT FROM listen_history h
        WHERE h.user_id = a.user_id AND h.recorded_at = a.recorded_at
          AND h.track_id = a.track_id AND h.nth = a.nth)
"""

_PLAYS = f"""
SELECT users.id, count(play.user_id)
FROM users LEFT JOIN ({_HEARD}) AS play ON play.user_id = users.id
WHERE users.withdrawn_at IS NULL GROUP BY users.id ORDER BY users.id
"""  # noqa: S608 - our own words

# Impressions are kept for a time only, skips for good: they count from the first impression on.
_FEEDBACK = f"""
WITH told AS (
    SELECT user_id, track_id, kind, at FROM feedback
    WHERE at >= %(from)s AND at < %(to)s AND kind IN ('impression', 'click', 'skip')
      AND day >= (SELECT min(day) FROM feedback
                  WHERE at >= %(from)s AND at < %(to)s AND kind = 'impression')
), heard AS ({_HEARD}), followed AS (
    SELECT heard.user_id, count(*) AS followed FROM heard
    WHERE EXISTS (
        SELECT FROM told
        WHERE told.kind = 'impression' AND told.user_id = heard.user_id
            AND told.track_id = heard.track_id AND told.at <= heard.listened_at
    )
    GROUP BY heard.user_id
)
SELECT told.user_id,
    count(*) FILTER (WHERE kind = 'impression'),
    count(*) FILTER (WHERE kind = 'click'),
    count(*) FILTER (WHERE kind = 'skip'),
    coalesce(max(followed.followed), 0)
FROM told LEFT JOIN followed USING (user_id) GROUP BY told.user_id
"""  # noqa: S608 - the same


def count_by_user(
    connection: psycopg.Connection, experiment: Experiment, until: datetime
) -> pl.DataFrame:
    """What every user did from the start of an experiment to its end, or to a moment before.

    Args:
        connection: A transaction on the warehouse.
        experiment: Which one.
        until: With a zone; later than the experiment's end counts as that.

    Returns:
        A row for each user who is not withdrawn; columns as in `experiment_figures.COUNTS`.
    """
    end = min(until, experiment.stopped_at or until)
    span = {
        "start": _bare(experiment.started_at),
        "end": _bare(end),
        "from": experiment.started_at,
        "to": end,
    }
    integer = pl.Int64()
    played = copy_out(
        connection,
        _PLAYS,
        {"start": span["start"], "end": span["end"]},
        schema={"user_id": integer, "plays": integer},
    )
    arms = [arm_of(user, experiment.salt, experiment.share) for user in played["user_id"].to_list()]
    counts = played.with_columns(pl.Series("arm", arms, dtype=pl.String()))
    told = _feedback(connection, span)
    return (
        counts.join(told, on="user_id", how="left")
        .with_columns(pl.col("impressions", "clicks", "skips", "followed").fill_null(0))
        .select(COUNTS.names())
    )


def _feedback(connection: psycopg.Connection, span: dict[str, Any]) -> pl.DataFrame:
    """Impressions, clicks, skips and listens that followed, by user; none without the table."""
    integer = pl.Int64()
    names = ("user_id", "impressions", "clicks", "skips", "followed")
    schema: dict[str, pl.DataType] = dict.fromkeys(names, integer)
    return copy_out(connection, _FEEDBACK, span, schema=schema)


def _bare(moment: datetime) -> datetime:
    """As the warehouse keeps moments: in UTC, without a zone."""
    return moment.astimezone(UTC).replace(tzinfo=None)
