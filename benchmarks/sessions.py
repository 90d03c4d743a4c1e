"""Gives listening sessions that have no clock one, for the other benchmarks: the same each time.

The sessions are a CSV (gzip or not) with user_id, session_no, pos and track_id, in order, as public
sets of them come. A place in a session is a minute; sessions of one day are a second apart. The
last fifth of each user's sessions becomes the last days, whose number is printed, and is meant to
be the test of `tuning.py` and `evaluation.py --listens`.
"""

from __future__ import annotations

from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from datetime import datetime
from pathlib import Path

import polars as pl

DAYS = 100
FIRST = datetime(2026, 1, 1)  # noqa: DTZ001 - as the warehouse has moments

SESSION = pl.col("session_no").rank("dense").over("user_id") - 1
SESSIONS = pl.col("session_no").n_unique().over("user_id")


def main() -> None:
    """Read, give it a clock, write."""
    parser = ArgumentParser(description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter)
    parser.add_argument("sessions", type=Path)
    parser.add_argument("plays", type=Path, help="the CSV to write")
    parser.add_argument(
        "--daily",
        action="store_true",
        help="a session a day, everybody's last fifth beginning on one day; else a user's sessions "
        f"are spread over {DAYS} days",
    )
    asked = parser.parse_args()
    sessions = pl.read_csv(asked.sessions)
    plays = with_clock(sessions, daily_day(sessions) if asked.daily else spread_day())
    plays.write_csv(asked.plays, datetime_format="%Y-%m-%dT%H:%M:%S")
    test_days = sessions.select((SESSIONS - _kept()).max()).item() if asked.daily else DAYS // 5
    print(
        f"{plays.height:,} plays of {plays['user_id'].n_unique():,} users: --test-days {test_days}"
    )


def spread_day() -> pl.Expr:
    """The day of a session, from 0: in their order, evenly over all days."""
    return DAYS * SESSION // SESSIONS


def daily_day(sessions: pl.DataFrame) -> pl.Expr:
    """The day of a session, from 0: one each, the test's first on the same day for everybody."""
    longest = sessions.select(_kept().max()).item()
    return SESSION - _kept() + pl.lit(longest)


def _kept() -> pl.Expr:
    return (4 * SESSIONS + 4) // 5


def with_clock(sessions: pl.DataFrame, day: pl.Expr) -> pl.DataFrame:
    """user_id, track_id and listened_at (naive UTC) of sessions, in their order."""
    placed = sessions.with_columns(session=SESSION.cast(pl.Int64), day=day.cast(pl.Int64))
    first_of_day = pl.col("session").min().over("user_id", "day")
    moment = pl.lit(FIRST) + pl.duration(
        days="day", minutes="pos", seconds=pl.col("session") - first_of_day
    )
    return placed.select("user_id", "track_id", moment.alias("listened_at"))


if __name__ == "__main__":
    main()
