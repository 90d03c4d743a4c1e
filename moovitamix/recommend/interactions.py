"""The warehouse's plays, skips and hides as frames, and the day up to which they are taken.

Only what has been published is in `listen_history`: a blocked day has no rows there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from moovitamix.errors import NothingToDo
from moovitamix.recommend.matrix import HIDE, PLAY, SKIP, WITH_FEEDBACK, end_of
from moovitamix.warehouse.integer_rows import POSTGRES_EPOCH, stream_integers

if TYPE_CHECKING:
    import psycopg

    from moovitamix.resources import Warehouse

# Impressions and clicks are no interactions with a track: they are for figures. A hide counts until
# it is taken back, however old it is; so it is read whatever the window.
_INTERACTIONS = f"""
SELECT user_id, track_id, listened_at, {PLAY}::bigint
FROM listen_history
WHERE listened_at < %(until)s AND listened_at >= %(since)s
UNION ALL
SELECT user_id, track_id, at, {SKIP}::bigint
FROM feedback
WHERE kind = 'skip' AND at < %(until)s AND at >= %(since)s
UNION ALL
SELECT user_id, track_id, hidden_at, {HIDE}::bigint
FROM hides
WHERE hidden_at < %(until)s
"""  # noqa: S608 - numbers of ours

_BY_USER = f"{_INTERACTIONS} ORDER BY user_id"

# Rows a block: a block, as it came and while it is summed up, takes a few megabytes.
_BLOCK = 1 << 14


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
    """All plays, skips and hides up to the end of a day; as `matrix.WITH_FEEDBACK`, in no order."""
    empty = pl.DataFrame(schema=WITH_FEEDBACK)
    return pl.concat([empty, *_blocks(warehouse, _INTERACTIONS, as_of, None)], rechunk=True)


def stream_interactions(
    warehouse: Warehouse, as_of: date, window_days: int | None = None
) -> Iterator[pl.DataFrame]:
    """The same by user, in blocks that hold all of their users; one query, little memory.

    Args:
        warehouse: Holds them.
        as_of: The last day.
        window_days: Of the matrix that is made of them: plays and skips before the last so many
            days, which it would leave out, stay in Postgres; None: all.
    """
    held: list[pl.DataFrame] = []  # of one user, whose rows may go on in the next block
    for block in _blocks(warehouse, _BY_USER, as_of, window_days):
        users = block["user_id"].to_numpy()
        last = int(np.searchsorted(users, users[-1]))
        if last:
            yield pl.concat([*held, block[:last]])
            held = [block[last:]]
        elif held and held[-1]["user_id"][-1] != users[-1]:
            yield pl.concat(held)
            held = [block]
        else:
            held.append(block)
    if held:
        yield pl.concat(held)


def _blocks(
    warehouse: Warehouse, query: str, as_of: date, window_days: int | None
) -> Iterator[pl.DataFrame]:
    until = end_of(as_of)
    since = "-infinity" if window_days is None else until - timedelta(days=window_days)
    with warehouse.connect() as connection:
        for block in stream_integers(
            connection,
            query,
            {"until": until, "since": since},
            columns=WITH_FEEDBACK.names(),
            block_rows=_BLOCK,
        ):
            block["listened_at"] += POSTGRES_EPOCH
            yield pl.DataFrame(block).cast(
                {"listened_at": WITH_FEEDBACK["listened_at"], "kind": WITH_FEEDBACK["kind"]}
            )
