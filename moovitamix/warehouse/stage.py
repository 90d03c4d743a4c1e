"""A run's slices on their way from the lake to the staging area, typed, before they are believed.

Whether they are believed is told by `judge.py`, how they are published by `publish.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date

import polars as pl
import psycopg
from psycopg import sql

from moovitamix.ingest.contract import LISTENS, TRACKS, USERS, Endpoint
from moovitamix.ingest.lake import LakeStore
from moovitamix.ingest.pulls import kept_pulls, latest_contents
from moovitamix.ingest.settle import explode
from moovitamix.ingest.slices import empty_contents, iterate_days, read_contents, read_days

# Text for COPY is made of so many rows at a time.
ROWS_A_WRITE = 20_000

# A run that was killed leaves its rows behind; after this long nobody looks at them any more.
_SWEEP = "DELETE FROM {} WHERE run_id = %s OR staged_at < now() - interval '7 days'"


def tracks_slice(
    lake: LakeStore, days: Sequence[date], told: pl.DataFrame | None = None
) -> pl.DataFrame:
    """The rows of `staged_tracks`: what was dealt to these days, and what their listens name.

    Args:
        lake: Where from.
        days: Which.
        told: What the app has told with these days (`told.named`): it names tracks, too.
    """
    also = None if told is None else told["track_id"]
    return typed_tracks(_with_named(lake, TRACKS, days, pl.col("items").explode(), also))


def typed_tracks(records: pl.DataFrame) -> pl.DataFrame:
    """Records of `GET /tracks`, with `day` and `pull`, as rows of `staged_tracks`."""
    parts = pl.col("duration").str.split_exact(":", 1).struct
    # What is no number is null, for the check that looks for it: it blocks a day, and ends no run.
    minutes, seconds = (parts[place].cast(pl.Int32, strict=False) for place in (0, 1))
    return records.with_columns(
        duration_seconds=minutes * 60 + seconds,
        genres=folded_genres("genres"),
    ).drop("duration", "sha256")


def users_slice(
    lake: LakeStore, days: Sequence[date], told: pl.DataFrame | None = None
) -> pl.DataFrame:
    """The rows of `staged_users`: what was dealt to these days, and who listened on them.

    Arguments as of `tracks_slice`.
    """
    also = None if told is None else told["user_id"]
    return typed_users(_with_named(lake, USERS, days, pl.col("user_id"), also))


def typed_users(records: pl.DataFrame) -> pl.DataFrame:
    """Records of `GET /users`, with `day` and `pull`, as rows of `staged_users`."""
    return records.drop("sha256").with_columns(folded_genres("favorite_genres"))


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
    return pl.concat([typed_listens(empty_contents(LISTENS)), *listens_by_file(lake, days)])


def listens_by_file(lake: LakeStore, days: Sequence[date]) -> Iterator[pl.DataFrame]:
    """The same rows, one file of the lake at a time: a backfill of years fits into memory."""
    return map(typed_listens, iterate_days(lake, LISTENS, days))


def typed_listens(records: pl.DataFrame) -> pl.DataFrame:
    """Listen records with `listened_at`, `day` and `pull`, as rows of `staged_listens`."""
    return explode(records).select(
        "day",
        "pull",
        "user_id",
        "track_id",
        "listened_at",
        pl.col("created_at").alias("recorded_at"),
        "nth",
    )


def _with_named(
    lake: LakeStore,
    endpoint: Endpoint,
    days: Sequence[date],
    named: pl.Expr,
    also: pl.Series | None,
) -> pl.DataFrame:
    """The dealt records of some days, and what else their listens name, with a null day.

    `also` is named by listens that are not in the lake.
    """
    dealt = read_days(lake, endpoint, days)
    found = [
        records.filter(pl.col("items").list.len() > 0).select(named.unique().alias("id"))
        for records in iterate_days(lake, LISTENS, days)
    ]
    told = pl.DataFrame({"id": [] if also is None else also}, schema={"id": pl.Int64})
    ids = pl.concat([told, *found]).unique()
    wanted = ids.join(dealt, on="id", how="anti")
    if wanted.is_empty():
        return dealt
    latest = latest_contents(lake, endpoint, kept_pulls(lake)).join(wanted, on="id", how="semi")
    brought = read_contents(lake, endpoint, latest).with_columns(day=pl.lit(None, pl.Date))
    return pl.concat([dealt, brought])


def copy_to_staging(
    connection: psycopg.Connection,
    table: str,
    run_id: str,
    rows: pl.DataFrame | Iterable[pl.DataFrame],
) -> int:
    """Replace this run's rows of a staging table; how many there are now.

    Args:
        connection: A transaction of the warehouse.
        table: `staged_tracks`, `staged_users` or `staged_listens`.
        run_id: Of the run that will publish them.
        rows: Columns named as the table's; in parts, of which one at a time is in memory.
    """
    connection.execute(sql.SQL(_SWEEP).format(sql.Identifier(table)), (run_id,))
    count = 0
    for frame in [rows] if isinstance(rows, pl.DataFrame) else rows:
        named = frame.with_columns(run_id=pl.lit(run_id))
        columns = sql.SQL(", ").join(map(sql.Identifier, named.columns))
        statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(
            sql.Identifier(table), columns
        )
        with connection.cursor().copy(statement) as copy:
            for part in named.iter_slices(ROWS_A_WRITE):
                copy.write(part.write_csv(include_header=False).encode())
        count += frame.height
    connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table)))
    return count


def rows_by_day(connection: psycopg.Connection, table: str, run_id: str) -> dict[date, int]:
    """How many rows of each day a run has staged; what is brought along is of no day."""
    statement = sql.SQL(
        "SELECT day, count(*) FROM {} WHERE run_id = %s AND day IS NOT NULL GROUP BY day"
    ).format(sql.Identifier(table))
    return dict(connection.execute(statement, (run_id,)).fetchall())


# What is staged, by table, in an order in which progress makes sense.
Rows = pl.DataFrame | Iterator[pl.DataFrame]
SLICES: dict[str, Callable[[LakeStore, Sequence[date]], Rows]] = {
    "staged_tracks": tracks_slice,
    "staged_users": users_slice,
    "staged_listens": listens_by_file,
}
