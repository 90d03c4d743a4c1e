"""What a listen record tells: the plays of all its contents, and when each of them was heard.

It is settled once, when a pull brings the listen. Which contents are new is told by `bring.py`.
"""

from __future__ import annotations

import polars as pl

from moovitamix.ingest.contract import LISTENS, ListenRecord

_MOST_TIMES = (1 << 15) - 1  # what `nth` holds


def unite(contents: pl.DataFrame) -> pl.DataFrame:
    """Of listen contents that a source holds at once, one a record, with the plays of all.

    A source may hold several records of one user and `created_at`, which are one. What was heard is
    the same as when they had come one after the other: a play is matched by track and by being
    the same of several plays of it.

    Args:
        contents: Columns as the contract's and `sha256`, the latest content of each record last.

    Returns:
        The same columns, one row a record. The latest content stands, with the plays that only
        earlier ones name behind its own, and the hash of what came of it.
    """
    key = list(LISTENS.key)
    repeated = pl.struct(key).is_duplicated()
    several = contents.filter(repeated).reverse()
    if several.is_empty():
        return contents
    plays = (
        several.with_row_index("content")
        .filter(pl.col("items").list.len() > 0)
        .explode("items")
        .with_columns(nth=pl.int_range(pl.len()).over("content", "items"))
        .unique([*key, "items", "nth"], keep="first", maintain_order=True)
        .group_by(key, maintain_order=True)
        .agg("items")
    )
    united = (
        several.unique(key, keep="first", maintain_order=True)
        .drop("items")
        .join(plays, on=key, how="left", maintain_order="left")
        .with_columns(pl.col("items").fill_null([]))
        .select(LISTENS.schema.keys())
    )
    records = [ListenRecord(*row) for row in united.iter_rows()]
    return pl.concat([contents.filter(~repeated), LISTENS.frame(records)])


def settle(new: pl.DataFrame, before: pl.DataFrame | None = None) -> pl.DataFrame:
    """Give each track of each new listen content the moment it was heard.

    That is the record's `created_at`; but for what a later content of the same record has
    added, it is that content's `updated_at`. A play is matched to the earlier content's by
    track and by being the same of several plays of it. What was heard stays heard: plays that
    a later content no longer names are kept, so that it does not matter which contents were
    loaded on the way.

    Args:
        new: New contents with their `day`.
        before: The contents that these replace, as the lake holds them; None where none are.

    Returns:
        The same rows, with `items` completed and `listened_at`, a list of the same length.
    """
    if before is None:
        return _settle_first(new)
    key = list(LISTENS.key)
    first = new.join(before, on=key, how="anti", maintain_order="left")
    grown = new.join(before, on=key, how="semi", maintain_order="left")
    return pl.concat([_settle_first(first), _settle_grown(grown, before)])


def _settle_first(new: pl.DataFrame) -> pl.DataFrame:
    return new.with_columns(listened_at=pl.col("created_at").repeat_by(pl.col("items").list.len()))


def _settle_grown(new: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    key = list(LISTENS.key)
    play = [*key, "track_id", "nth"]
    plays_before = explode(before).select(*play, "listened_at")
    unsettled = new.with_columns(listened_at=pl.col("items").list.eval(pl.lit(None)))
    plays_now = explode(unsettled).with_columns(added=pl.max_horizontal("created_at", "updated_at"))
    heard = (
        plays_now.drop("listened_at")
        .join(plays_before, on=play, how="left", maintain_order="left")
        .select(*play, pl.coalesce("listened_at", "added").alias("listened_at"))
    )
    no_longer_named = plays_before.join(plays_now, on=play, how="anti", maintain_order="left")
    settled = (
        pl.concat([heard, no_longer_named])
        .group_by(key, maintain_order=True)
        .agg(pl.col("track_id").alias("items"), "listened_at")
    )
    return (
        new.drop("items")
        .join(settled, on=key, how="left", maintain_order="left")
        .with_columns(pl.col("items", "listened_at").fill_null([]))
        .select(*new.columns, "listened_at")
    )


def explode(records: pl.DataFrame) -> pl.DataFrame:
    """One row for each track heard, in the order heard.

    Args:
        records: Listen contents with `items` and `listened_at`, lists of one length a row.

    Returns:
        The other columns with `track_id` (Int64), `listened_at` and `nth` (Int16): which of
        several plays of the track in its record, from 1. A record with more plays of one track
        than that can tell breaks the contract; of one that an older lake holds, the first count.
    """
    plays = (
        records.filter(pl.col("items").list.len() > 0)
        .explode("items", "listened_at")
        .rename({"items": "track_id"})
        .with_columns(
            nth=pl.int_range(1, pl.len() + 1, dtype=pl.Int32).over(*LISTENS.key, "track_id")
        )
    )
    if plays.select((pl.col("nth") > _MOST_TIMES).any()).item():
        plays = plays.filter(pl.col("nth") <= _MOST_TIMES)
    return plays.cast({"nth": pl.Int16})
