"""The plays of the warehouse as a frame, and the day up to which they are taken."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import polars as pl

from moovitamix.errors import NothingToDo
from moovitamix.recommend.matrix import end_of

if TYPE_CHECKING:
    import psycopg

    from moovitamix.resources import Warehouse

# Moments travel as microseconds since 1970: no text to parse.
_PLAYS = """
SELECT user_id, track_id, (extract(epoch FROM listened_at) * 1000000)::bigint
FROM listen_history
WHERE listened_at < %(until)s
"""


@dataclass(frozen=True, slots=True)
class Published:
    """What the warehouse holds.

    Attributes:
        as_of: The newest published day.
        pull: The newest pull in what is published.
    """

    as_of: date
    pull: str


def published(connection: psycopg.Connection) -> Published:
    """What the warehouse holds.

    Raises:
        NothingToDo: When no day has been published.
    """
    row = connection.execute("SELECT max(day), max(pull) FROM published_days").fetchone()
    if row is None or row[0] is None:
        raise NothingToDo("No day has been published yet: load one with `moovitamix run`.")
    return Published(*row)


def read_interactions(warehouse: Warehouse, as_of: date) -> pl.DataFrame:
    """All plays up to the end of a day; columns as in `matrix.INTERACTIONS`, in no order."""
    plays = warehouse.read(
        _PLAYS,
        {"until": end_of(as_of)},
        schema={"user_id": pl.Int64, "track_id": pl.Int64, "listened_at": pl.Int64},
    )
    return plays.with_columns(pl.col("listened_at").cast(pl.Datetime("us")))
