"""The source's contract, declared once: what a record must be, and how a page becomes records.

What is done with the records, good or rejected, is the business of `pull.py`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any

import msgspec
import polars as pl

from moovitamix.errors import SourceContractError

PAGE_SIZE = 100

# Below this many records, a page of mostly broken ones may be bad luck; from it on the source
# has changed.
_TELLING_PAGE = 10

# Postgres text holds no NUL, and a megabyte in a name is an accident, not a name.
Text = Annotated[str, msgspec.Meta(max_length=10_000, pattern=r"\A[^\x00]*\Z")]
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Moment = Annotated[datetime, msgspec.Meta(tz=False)]
Duration = Annotated[str, msgspec.Meta(pattern=r"\A\d{1,4}:[0-5]\d\Z")]


class TrackRecord(msgspec.Struct, frozen=True, gc=False):
    """A record of `GET /tracks`."""

    id: Int64
    name: Text
    artist: Text
    songwriters: Text
    duration: Duration
    genres: Text
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
    favorite_genres: Text
    created_at: Moment
    updated_at: Moment


class ListenRecord(msgspec.Struct, frozen=True, gc=False):
    """A record of `GET /listen_history`: one user and the tracks heard, in order.

    The source's own description allows null for `user_id` and `items`; such a record names
    nobody or nothing, cannot be loaded, and is rejected here.
    """

    user_id: Int64
    items: Annotated[list[Int64], msgspec.Meta(max_length=100_000)]
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
        encode = msgspec.json.Encoder().encode
        rows = [msgspec.structs.astuple(record) for record in records]
        digests = [hashlib.sha256(encode(record)).digest() for record in records]
        return pl.DataFrame(rows, schema=self.schema, orient="row").with_columns(
            pl.Series("sha256", digests, dtype=pl.Binary)
        )


def _schema(record: type[msgspec.Struct]) -> dict[str, pl.DataType]:
    types: dict[Any, pl.DataType] = {
        Int64: pl.Int64(),
        Moment: pl.Datetime("us"),
    }
    listed = pl.List(pl.Int64)
    return {
        name: listed if name == "items" else types.get(kind, pl.String())
        for name, kind in _annotations(record).items()
    }


def _annotations(record: type[msgspec.Struct]) -> dict[str, Any]:
    from typing import get_type_hints

    return get_type_hints(record, include_extras=True)


TRACKS = Endpoint("tracks", TrackRecord, ("id",), _schema(TrackRecord))
USERS = Endpoint("users", UserRecord, ("id",), _schema(UserRecord))
LISTENS = Endpoint("listen_history", ListenRecord, ("user_id", "created_at"), _schema(ListenRecord))
ENDPOINTS = (TRACKS, USERS, LISTENS)


@dataclass(frozen=True)
class Rejected:
    """A record that breaks the contract: kept as it was sent, with the field and the reason."""

    payload: bytes
    field: str | None
    reason: str


@dataclass(frozen=True)
class Page:
    """A decoded page: the total it states, its good records and its rejected ones."""

    total: int | None
    records: list[msgspec.Struct]
    rejected: list[Rejected]

    @property
    def length(self) -> int:
        """How many records the page holds, good or not."""
        return len(self.records) + len(self.rejected)


class _Envelope(msgspec.Struct):
    items: list[msgspec.Raw]
    total: Annotated[int, msgspec.Meta(ge=0)] | None


_ENVELOPE = msgspec.json.Decoder(_Envelope)
# Nesting a thousand deep is no record either.
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_PATH = re.compile(r" - at `\$\.?(?P<field>[A-Za-z_]*)")


def decode_page(endpoint: Endpoint, body: bytes, *, where: str) -> Page:
    """The records of a page, each on its own merits.

    A field beyond the contract is accepted and ignored.

    Args:
        endpoint: Whose page it is.
        body: What the source answered.
        where: The URL, for messages.

    Raises:
        SourceContractError: When the answer is no page at all, or most of its records break
            the contract: then the source has changed, and its owner must act.
    """
    try:
        envelope = _ENVELOPE.decode(body)
    except _UNREADABLE as error:
        raise SourceContractError(
            f"{where} did not answer with a page of records ({error}). "
            "Check that MOOVITAMIX_SOURCE_URL is the root of a MooVitamix source API."
        ) from error
    records, rejected = decode_records(endpoint, envelope.items)
    if len(rejected) > len(records) and len(envelope.items) >= _TELLING_PAGE:
        first = rejected[0]
        raise SourceContractError(
            f"{len(rejected)} of {len(envelope.items)} records on {where} break the contract, the "
            f"first at `{first.field}`: {first.reason}. Nothing was stored; tell its owner."
        )
    return Page(envelope.total, records, rejected)


def decode_records(
    endpoint: Endpoint, payloads: Iterable[bytes | msgspec.Raw]
) -> tuple[list[msgspec.Struct], list[Rejected]]:
    """The good ones of some records, and the rejected ones with field and reason."""
    decoder = msgspec.json.Decoder(endpoint.record)
    records: list[msgspec.Struct] = []
    rejected: list[Rejected] = []
    for raw in payloads:
        try:
            records.append(decoder.decode(raw))
        except _UNREADABLE as error:
            rejected.append(_rejection(bytes(raw), error))
    return records, rejected


def _rejection(payload: bytes, error: Exception) -> Rejected:
    message = str(error)
    found = _PATH.search(message)
    missing = re.search(r"missing required field `(\w+)`", message)
    name = missing.group(1) if missing else (found.group("field") if found else None)
    # The reason must not quote the value: it is shown where personal values may not go.
    return Rejected(payload, name or None, _PATH.split(message)[0])
