"""Places that name users, as all stages tell of theirs: for erasures, and for the check on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import polars as pl

# By what a place names somebody: an account with the moment it was created; a listen with the
# moment it was recorded; an id, and nothing else.
Kind = Literal["account", "listen", "id"]

NAMED_SCHEMA = pl.Schema({"id": pl.Int64(), "at": pl.Datetime("us")})


@dataclass(frozen=True)
class Named:
    """The users that a place names.

    Args:
        place: A table, or a folder or kind of file of the lake: fit to be shown.
        kind: What `at` is.
        rows: Columns as `NAMED_SCHEMA`; `at` is null where it cannot be read, or for ids alone.
    """

    place: str
    kind: Kind
    rows: pl.DataFrame


def named_by_id(place: str, ids: pl.Series) -> Named:
    """A place that holds ids alone."""
    rows = pl.DataFrame({"id": ids.cast(pl.Int64)}).unique()
    return Named(place, "id", rows.with_columns(at=pl.lit(None, pl.Datetime("us"))))
