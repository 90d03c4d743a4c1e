"""The plays of the warehouse as frames, and the day up to which they are taken.

Only what has been published is in `listen_history`: a blocked day has no rows there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import polars as pl

from moovitamix.errors import NothingToDo
from moovitamix.recommend.matrix import INTERACTIONS, end_of

if TYPE_CHECKING:
    import psycopg

    from moovitamix.resources import Warehouse

# Moments travel as microseconds since 1970: no text to parse.
_PLAYS = """
SELECT user_id, track_id, (extract(epoch FROM listened_at) * 1000000)::bigint
FROM listen_history
WHERE listened_at < %(until)s
"""

_PLAYS_BY_USER = f"{_PLAYS} ORDER BY user_id"

_PLAYS_SCHEMA = {"user_id": pl.Int64, "track_id": pl.Int64, "listened_at": pl.Int64}


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
    plays = warehouse.read(_PLAYS, {"until": end_of(as_of)}, schema=_PLAYS_SCHEMA)
    return plays.with_columns(pl.col("listened_at").cast(pl.Datetime("us")))


def stream_interactions(warehouse: Warehouse, as_of: date) -> Iterator[pl.DataFrame]:
    """The same by user, in blocks that hold all plays of their users; one query, little memory."""
    held = pl.DataFrame(schema=INTERACTIONS)
    for block in warehouse.stream(_PLAYS_BY_USER, {"until": end_of(as_of)}, schema=_PLAYS_SCHEMA):
        plays = block.with_columns(pl.col("listened_at").cast(pl.Datetime("us")))
        held = pl.concat([held, plays])
        # The plays of a block's last user may go on in the next one.
        is_last = pl.col("user_id") == held["user_id"][-1]
        whole = held.filter(~is_last)
        if whole.height:
            yield whole
        held = held.filter(is_last)
    if held.height:
        yield held
