"""The lake's slices in Dagster's words: the columns of a day's records, by endpoint.

The columns themselves are declared in `contract.py`. They come from the API, where no asset is.
"""

from __future__ import annotations

import dagster as dg
import polars as pl

from moovitamix.ingest.contract import ENDPOINTS, LISTENS, Endpoint
from moovitamix.tabular import Tabular

# What the names do not tell; the same for all endpoints.
_MEANING = {
    "id": "The source's id.",
    "user_id": "Who heard it.",
    "items": "The tracks heard, by id, in order.",
    "duration": "Minutes and seconds, as sent.",
    "genres": "Names, joined by commas, as sent.",
    "favorite_genres": "Names, joined by commas, as sent. Personal.",
    "first_name": "Personal.",
    "last_name": "Personal.",
    "email": "Personal; not unique.",
    "gender": "Personal; free text.",
    "created_at": "At the source, UTC.",
    "updated_at": "At the source, UTC; may be earlier than created_at.",
    "sha256": "Of the record's content: ours, to tell a new content from a known one.",
    "listened_at": "When each of the tracks was heard, UTC: ours, settled when a pull is kept.",
}


def _tabular(endpoint: Endpoint) -> Tabular:
    settled = {"listened_at": pl.List(pl.Datetime("us"))} if endpoint is LISTENS else {}
    schema = {**endpoint.schema, "sha256": pl.Binary(), **settled}
    return Tabular(
        [
            dg.TableColumn(name, type=type_name(kind), description=_MEANING.get(name))
            for name, kind in schema.items()
        ],
        constraints=dg.TableConstraints(other=[f"one row for each {', '.join(endpoint.key)}"]),
    )


def type_name(kind: pl.DataType | pl.datatypes.DataTypeClass) -> str:
    """A polars type as people write it: `int64`, `list[timestamp]`."""
    if isinstance(kind, pl.List):
        return f"list[{type_name(kind.inner)}]"
    if kind == pl.Datetime:
        return "timestamp"
    return str(kind).lower()


RAW = {f"raw_{endpoint.name}": _tabular(endpoint) for endpoint in ENDPOINTS}
