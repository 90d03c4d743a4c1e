"""Past and future: which plays a model may see, and which it is then judged by.

How well it did is `evaluate.py`'s business.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Literal

import polars as pl

from moovitamix.recommend.matrix import PLAY, WITH_FEEDBACK, end_of

SplitName = Literal["temporal", "per-user hold-out"]

# Of each user's tracks, in the order of their first play, the share that is held out.
HELD_OUT_SHARE = 0.2

_PAIR = ["user_id", "track_id"]


@dataclass(frozen=True, eq=False, slots=True)
class Split:
    """Plays in two parts, and what else a model may see.

    Attributes:
        name: How they were divided.
        past: The plays that a model may see.
        future: What it is judged by.
        as_of: The last day of the past: the age of a play is counted from its end.
        cut_off: The first moment of the future; None for the per-user hold-out, which has none.
        feedback: Skips and hides that a model may see; see `matrix.WITH_FEEDBACK`.
    """

    name: SplitName
    past: pl.DataFrame
    future: pl.DataFrame
    as_of: date
    cut_off: datetime | None
    feedback: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=WITH_FEEDBACK))

    @property
    def seen(self) -> pl.DataFrame:
        """All that a model is made from: the past's plays and the feedback."""
        if self.feedback.is_empty():
            return self.past
        kind = pl.lit(PLAY, dtype=WITH_FEEDBACK["kind"])
        return pl.concat([self.past.with_columns(kind=kind), self.feedback])


def split_plays(
    interactions: pl.DataFrame, as_of: date, *, test_days: int, minimum_users: int
) -> Split:
    """Divide plays by time; by user where that leaves too few users to judge by.

    Args:
        interactions: user_id, track_id, listened_at, with or without skips and hides; see
            `matrix.WITH_FEEDBACK`. What is judged by, and whom, is told by plays alone.
        as_of: The last day of the data; later plays are left out.
        test_days: So many last days are the future.
        minimum_users: So many users with a past need a track in the future that they had not
            heard and somebody had; else it is the per-user hold-out.
    """
    known = interactions.filter(pl.col("listened_at") < end_of(as_of))
    by_time = split_by_time(known, as_of, test_days)
    if discoveries(by_time)["user_id"].n_unique() >= minimum_users:
        return by_time
    return hold_out_by_user(known, as_of)


def split_by_time(interactions: pl.DataFrame, as_of: date, test_days: int) -> Split:
    """The last days are the future, for everybody at once."""
    cut_off = end_of(as_of) - timedelta(days=test_days)
    is_past = pl.col("listened_at") < cut_off
    plays, feedback = _told_apart(interactions)
    return Split(
        name="temporal",
        past=plays.filter(is_past),
        future=plays.filter(~is_past),
        as_of=as_of - timedelta(days=test_days),
        cut_off=cut_off,
        feedback=feedback.filter(is_past),
    )


def hold_out_by_user(interactions: pl.DataFrame, as_of: date) -> Split:
    """Of each user with two tracks or more, those first heard last, with all their plays.

    A fifth of the user's tracks, one at least. Tracks first heard at the same moment are taken
    by a hash of user and track, lest the order of ids decide who is easy to predict.
    """
    plays, feedback = _told_apart(interactions)
    first_plays = plays.group_by(_PAIR).agg(pl.col("listened_at").min())
    shuffled = (pl.col("user_id") * 0x9E3779B1 + pl.col("track_id") * 0x85EBCA77) % 0x7FFFFFFF
    of_user = pl.len().over("user_id")
    held_out = (
        first_plays.with_columns(chance=shuffled)
        .sort(
            "user_id", "listened_at", "chance", "track_id", descending=[False, True, False, False]
        )
        .with_columns(nth=pl.int_range(pl.len()).over("user_id"), tracks=of_user)
        .filter(
            pl.col("tracks") >= 2,
            pl.col("nth") < (pl.col("tracks") * HELD_OUT_SHARE).round().clip(lower_bound=1),
        )
        .select(_PAIR)
    )
    return Split(
        name="per-user hold-out",
        past=plays.join(held_out, on=_PAIR, how="anti"),
        future=plays.join(held_out, on=_PAIR, how="semi"),
        as_of=as_of,
        cut_off=None,
        feedback=feedback.join(held_out, on=_PAIR, how="anti"),
    )


def _told_apart(interactions: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Plays, and skips and hides."""
    if "kind" not in interactions.columns:
        return interactions, pl.DataFrame(schema=WITH_FEEDBACK)
    is_play = pl.col("kind") == PLAY
    return interactions.filter(is_play).drop("kind"), interactions.filter(~is_play)


def discoveries(split: Split) -> pl.DataFrame:
    """The pairs a model can get right: users with a past, and tracks new to them but not to all.

    Returns:
        user_id and track_id, distinct, in ascending order.
    """
    return _new_pairs(split).join(split.past, on="track_id", how="semi").sort(_PAIR)


def unreachable(split: Split) -> int:
    """How many pairs no model of plays can get right: nobody had heard their track before."""
    return _new_pairs(split).join(split.past, on="track_id", how="anti").height


def _new_pairs(split: Split) -> pl.DataFrame:
    pairs = split.future.select(_PAIR).unique()
    return pairs.join(split.past, on="user_id", how="semi").join(split.past, on=_PAIR, how="anti")
