"""Which tracks and users a pull did not see any more, and since which pull: pure, from frames.

Each pull carries this list on from the one before, so that the newest pull alone tells who is
withdrawn, in whatever order days are loaded. What follows from it is the warehouse's business.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
import polars as pl

GONE_SCHEMA: dict[str, pl.DataType] = {"id": pl.Int64(), "since": pl.Datetime("us")}


class _Identified(msgspec.Struct):
    id: int


def still_gone(
    known: pl.DataFrame,
    seen: pl.DataFrame,
    present: pl.DataFrame,
    before: pl.DataFrame,
    began: datetime,
) -> pl.DataFrame:
    """The ids that earlier pulls have stored and this one does not hold.

    Args:
        known: With `id`: all that earlier pulls have stored.
        seen: With `id`: the good records of this pull.
        present: With `id`: a record that breaks the contract is there all the same.
        before: The list of the pull before, columns as `GONE_SCHEMA`.
        began: When this pull began: since then what is missing for the first time is gone.

    Returns:
        Columns as `GONE_SCHEMA`, ascending by id.
    """
    held = pl.concat([seen.select("id"), present])
    return (
        known.select("id")
        .unique()
        .join(held, on="id", how="anti")
        .join(before, on="id", how="left")
        .select("id", pl.col("since").fill_null(pl.lit(began, pl.Datetime("us"))))
        .sort("id")
    )


def identified(rejected: pl.DataFrame) -> pl.DataFrame:
    """The ids of rejected records (their `payload`), as far as they can be read."""
    decoder = msgspec.json.Decoder(_Identified)
    ids = []
    for payload in rejected["payload"]:
        try:
            found = decoder.decode(payload).id
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        if -(2**63) <= found < 2**63:
            ids.append(found)
    return pl.DataFrame({"id": ids}, schema={"id": pl.Int64})
