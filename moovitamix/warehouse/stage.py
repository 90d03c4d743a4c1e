"""A run's slices on their way from the lake to the staging area, typed, before they are believed.

Whether they are believed is told by `judge.py`, how they are published by `publish.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import polars as pl
import psycopg
from psycopg import sql

from moovitamix.ingest.contract import LISTENS, TRACKS, USERS, Endpoint
from moovitamix.ingest.lake import LakeStore
from moovitamix.ingest.pulls import kept_pulls, latest_contents, read_contents, read_days
from moovitamix.ingest.settle import explode

# A run that was killed leaves its rows behind; after this long nobody looks at them any more.
_SWEEP = "DELETE FROM {} WHERE run_id = %s OR staged_at < now() - interval '7 days'"


def tracks_slice(lake: LakeStore, days: Sequence[date]) -> pl.DataFrame:
    """The rows of `staged_tracks`: what was dealt to these days, and what their listens name."""
    minutes_and_seconds = pl.col("duration").str.split_exact(":", 1).struct
    frame = _with_named(lake, TRACKS, days, named_by="track_id")
    return frame.with_columns(
        duration_seconds=minutes_and_seconds[0].cast(pl.Int32) * 60
        + minutes_and_seconds[1].cast(pl.Int32),
        genres=folded_genres("genres"),
    ).drop("duration", "sha256")


def users_slice(lake: LakeStore, days: Sequence[date]) -> pl.DataFrame:
    """The rows of `staged_users`: what was dealt to these days, and who listened on them."""
    frame = _with_named(lake, USERS, days, named_by="user_id").drop("sha256")
    return frame.with_columns(folded_genres("favorite_genres"))


def folded_genres(column: str) -> pl.Expr:
    """A list of genre names as the source sends it, in the one spelling that the tables know.

    Names stay apart by commas; case is lowered, white space at the ends dropped and within
    folded to one. Here rather than in SQL, where lowering depends on the server's locale.
    """
    return (
        pl.col(column)
        .str.to_lowercase()
        .str.replace_all(r"\s+", " ")
        .str.split(",")
        .list.eval(pl.element().str.strip_chars())
        .list.join(",")
    )


def listens_slice(lake: LakeStore, days: Sequence[date]) -> pl.DataFrame:
    """The rows of `staged_listens`: one for each time a user heard a track."""
    return explode(read_days(lake, LISTENS, days)).select(
        "day",
        "pull",
        "user_id",
        "track_id",
        "listened_at",
        pl.col("created_at").alias("recorded_at"),
        "nth",
    )


def _with_named(
    lake: LakeStore, endpoint: Endpoint, days: Sequence[date], *, named_by: str
) -> pl.DataFrame:
    """The dealt records of some days, and those that their listens name, with a null day."""
    dealt = read_days(lake, endpoint, days)
    named = listens_slice(lake, days).select(pl.col(named_by).alias("id")).unique()
    latest = latest_contents(lake, endpoint, kept_pulls(lake)).join(named, on="id", how="semi")
    brought = read_contents(lake, endpoint, latest).with_columns(day=pl.lit(None, pl.Date))
    return pl.concat([dealt, brought])


def copy_to_staging(
    connection: psycopg.Connection, table: str, run_id: str, rows: pl.DataFrame
) -> None:
    """Replace this run's rows of a staging table.

    Args:
        connection: A transaction of the warehouse.
        table: `staged_tracks`, `staged_users` or `staged_listens`.
        run_id: Of the run that will publish them.
        rows: Columns named as the table's.
    """
    connection.execute(sql.SQL(_SWEEP).format(sql.Identifier(table)), (run_id,))
    frame = rows.with_columns(run_id=pl.lit(run_id))
    columns = sql.SQL(", ").join(map(sql.Identifier, frame.columns))
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(
        sql.Identifier(table), columns
    )
    with connection.cursor().copy(statement) as copy:
        for part in frame.iter_slices(100_000):
            copy.write(part.write_csv(include_header=False).encode())
    connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table)))
