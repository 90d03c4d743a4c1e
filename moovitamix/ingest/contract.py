"""The source's contract, declared once: what a record must be, and its columns in a frame.

How a page becomes records is told in `decode.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any

import msgspec
import polars as pl

PAGE_SIZE = 100

# A source that lost its clock says 0001 or 9999: no day of the app's life, and not to be loaded.
EARLIEST = datetime(1900, 1, 1)  # noqa: DTZ001 - the contract's times have no zone
LATEST = datetime(2101, 1, 1)  # noqa: DTZ001

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001

# Postgres text holds no NUL, and a megabyte in a name is an accident, not a name.
Text = Annotated[str, msgspec.Meta(max_length=10_000, pattern=r"\A[^\x00]*\Z")]
# Names of genres, apart by commas. Each has a place in an index, whose rows end at 2,704 bytes.
GENRE_LENGTH = 200
Genres = Annotated[
    str,
    msgspec.Meta(
        max_length=10_000,
        pattern=rf"\A[^\x00,]{{0,{GENRE_LENGTH}}}(,[^\x00,]{{0,{GENRE_LENGTH}}})*\Z",
    ),
]
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Moment = Annotated[datetime, msgspec.Meta(tz=False)]
# Not `\d`, which takes the digits of all scripts.
Duration = Annotated[str, msgspec.Meta(pattern=r"\A[0-9]{1,4}:[0-5][0-9]\Z")]
# Which of several plays of a track it is, is a `smallint` in the tables.
MOST_PLAYS_A_RECORD = 32_000


class TrackRecord(msgspec.Struct, frozen=True, gc=False):
    """A record of `GET /tracks`."""

    id: Int64
    name: Text
    artist: Text
    songwriters: Text
    duration: Duration
    genres: Genres
    album: Text
    created_at: Moment
    updated_at: Moment


class UserRecord(msgspec.Struct, frozen=True, gc=False):
    """A record of `GET /users`."""

    id: Int64
    first_name: Text
    last_name: Text
    email: Text
    gender: Text
    favorite_genres: Genres
    created_at: Moment
    updated_at: Moment


class ListenRecord(msgspec.Struct, frozen=True, gc=False):
    """A record of `GET /listen_history`: one user and the tracks heard, in order.

    The source's own description allows null for `user_id` and `items`; such a record names
    nobody or nothing, cannot be loaded, and is rejected here.
    """

    user_id: Int64
    items: Annotated[list[Int64], msgspec.Meta(max_length=MOST_PLAYS_A_RECORD)]
    created_at: Moment
    updated_at: Moment


@dataclass(frozen=True)
class Endpoint:
    """One of the three endpoints.

    Args:
        name: Its path, and its name in lake and quarantine.
        record: What one of its records must be.
        key: The fields that make a record the same record when its content changes.
        schema: The columns of a frame of its records, as they are sent.
    """

    name: str
    record: type[msgspec.Struct]
    key: tuple[str, ...]
    schema: dict[str, pl.DataType] = field(repr=False)

    def frame(self, records: Sequence[msgspec.Struct]) -> pl.DataFrame:
        """The records as a frame, with the SHA-256 of each one's content in `sha256`.

        The hash is taken over the contract's fields in the contract's order, so that white
        space, the order of fields and fields beyond the contract do not change it.
        """
        return self.with_lists(self.frame_without_lists(records))

    def frame_without_lists(self, records: Sequence[msgspec.Struct]) -> pl.DataFrame:
        """The same, but lists are still JSON, for `with_lists`: it is for many records at a time.

        Written and read again by compiled code, lists take a tenth of the time.
        """
        if not records:
            return pl.DataFrame(schema={**self._schema_without_lists, "sha256": pl.Binary})
        encoder = msgspec.json.Encoder()
        lines = encoder.encode_lines(records)[:-1].split(b"\n")
        digests = [hashlib.sha256(line).digest() for line in lines]
        of_fields = zip(*map(msgspec.structs.astuple, records), strict=True)
        columns = [
            _column(name, kind, values, encoder)
            for (name, kind), values in zip(self.schema.items(), of_fields, strict=True)
        ]
        return pl.DataFrame([*columns, pl.Series("sha256", digests, dtype=pl.Binary)])

    def with_lists(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Rows of `frame_without_lists` with their lists decoded."""
        return frame.with_columns(
            pl.col(name).str.json_decode(kind)
            for name, kind in self.schema.items()
            if isinstance(kind, pl.List)
        )

    @property
    def _schema_without_lists(self) -> dict[str, pl.DataType]:
        return {
            name: pl.String() if isinstance(kind, pl.List) else kind
            for name, kind in self.schema.items()
        }


def _column(
    name: str, kind: pl.DataType, values: Sequence[Any], encoder: msgspec.json.Encoder
) -> pl.Series:
    if isinstance(kind, pl.List):
        return pl.Series(name, _texts(encoder, values))
    if isinstance(kind, pl.Datetime):
        # Asked to take moments as they are, polars looks at each twice and plans a query.
        return pl.Series(name, _microseconds(values), dtype=pl.Int64).cast(kind)
    return pl.Series(name, values, dtype=kind)


def _microseconds(moments: Sequence[datetime]) -> list[int]:
    """Since 1970, exactly; before it, negative."""
    since = [moment - _EPOCH for moment in moments]
    return [(s.days * 86_400 + s.seconds) * 1_000_000 + s.microseconds for s in since]


def _texts(encoder: msgspec.json.Encoder, values: Sequence[Any]) -> list[str]:
    """The JSON of each of some values, of which there is one at least."""
    return encoder.encode_lines(values)[:-1].decode().split("\n")


def _schema(record: type[msgspec.Struct]) -> dict[str, pl.DataType]:
    types: dict[Any, pl.DataType] = {
        Int64: pl.Int64(),
        Moment: pl.Datetime("us"),
    }
    listed = pl.List(pl.Int64)
    return {
        name: listed if name == "items" else types.get(kind, pl.String())
        for name, kind in field_types(record).items()
    }


def field_types(record: type[msgspec.Struct]) -> dict[str, Any]:
    """The types of a record's fields, with what the contract asks of them."""
    from typing import get_type_hints

    return get_type_hints(record, include_extras=True)


TRACKS = Endpoint("tracks", TrackRecord, ("id",), _schema(TrackRecord))
USERS = Endpoint("users", UserRecord, ("id",), _schema(UserRecord))
LISTENS = Endpoint("listen_history", ListenRecord, ("user_id", "created_at"), _schema(ListenRecord))
ENDPOINTS = (TRACKS, USERS, LISTENS)
BY_NAME = {endpoint.name: endpoint for endpoint in ENDPOINTS}
