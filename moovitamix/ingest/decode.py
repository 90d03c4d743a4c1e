"""Pages as the source sends them, decoded into records, each on its own merits.

What a record must be is told in `contract.py`; what is done with good and rejected ones, in
`fetch.py`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, cast

import msgspec

from moovitamix.errors import SourceContractError
from moovitamix.ingest.contract import (
    EARLIEST,
    ENDPOINTS,
    GENRE_LENGTH,
    LATEST,
    Endpoint,
    Genres,
    Text,
    field_types,
)

# Below this many records, a page of mostly broken ones may be bad luck; from it on the source
# has changed.
_TELLING_PAGE = 10


@dataclass(frozen=True)
class Rejected:
    """A record that breaks the contract: kept as it was sent, with the field and the reason."""

    payload: bytes
    field: str | None
    reason: str


@dataclass(frozen=True)
class Page:
    """A decoded page: the total it states, its good records and its rejected ones.

    `unknown` counts its records by the names of fields beyond the contract.
    """

    total: int | None
    records: list[msgspec.Struct]
    rejected: list[Rejected]
    unknown: Counter[str] = field(default_factory=Counter)

    @property
    def length(self) -> int:
        """How many records the page holds, good or not."""
        return len(self.records) + len(self.rejected)


Total = Annotated[int, msgspec.Meta(ge=0)] | None


class _Envelope(msgspec.Struct):
    items: list[msgspec.Raw]
    total: Total


def _whole_page(record: type[msgspec.Struct]) -> msgspec.json.Decoder[Any]:
    """A decoder of pages in which nothing is to be told: all good, and no field beyond."""
    # The pattern of `Text` takes longer than all the rest; it only looks for NUL, which the page
    # as a whole can be searched for. And a list of genres that is no longer than one may be holds
    # none that is too long; with a longer one the page is looked at record by record.
    sent: dict[Any, Any] = {
        Text: Annotated[str, msgspec.Meta(max_length=10_000)],
        Genres: Annotated[str, msgspec.Meta(max_length=GENRE_LENGTH)],
    }
    fields = [(name, sent.get(kind, kind)) for name, kind in field_types(record).items()]
    strict = msgspec.defstruct(
        record.__name__, fields, forbid_unknown_fields=True, frozen=True, gc=False
    )
    # A type that is made at run time, which the type checker cannot know.
    page = msgspec.defstruct("Page", [("items", list[strict]), ("total", Total)])  # type: ignore[valid-type]
    return msgspec.json.Decoder(page)


_WHOLE_PAGES = {endpoint.name: _whole_page(endpoint.record) for endpoint in ENDPOINTS}
_ENVELOPE = msgspec.json.Decoder(_Envelope)
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
# Nesting a thousand deep is no record either.
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_PATH = re.compile(r" - at `\$\.?(?P<field>[A-Za-z_]*)")


def decode_page(endpoint: Endpoint, body: bytes, *, where: str) -> Page:
    """The records of a page, each on its own merits.

    A field beyond the contract is accepted, counted and left out.

    Args:
        endpoint: Whose page it is.
        body: What the source answered.
        where: The URL, for messages.

    Raises:
        SourceContractError: When the answer is no page at all, or most of its records break
            the contract: then the source has changed, and its owner must act.
    """
    return _decode_whole(endpoint, body) or _decode_each(endpoint, body, where)


def _decode_whole(endpoint: Endpoint, body: bytes) -> Page | None:
    """The page by one compiled call, or None when one of its records needs a closer look."""
    if b"\\u0000" in body:
        return None
    try:
        page = _WHOLE_PAGES[endpoint.name].decode(body)
    except _UNREADABLE:
        return None
    # Not `_absurd`: a call a record takes longer than the comparisons.
    if not all(
        EARLIEST <= record.created_at < LATEST and EARLIEST <= record.updated_at < LATEST
        for record in page.items
    ):
        return None
    return Page(page.total, page.items, [])


def _absurd(record: Any) -> str | None:
    """The field that holds a moment of no sensible year, or None."""
    if not EARLIEST <= record.created_at < LATEST:
        return "created_at"
    if not EARLIEST <= record.updated_at < LATEST:
        return "updated_at"
    return None


def _decode_each(endpoint: Endpoint, body: bytes, where: str) -> Page:
    """The page record by record, so that one that is broken costs no other."""
    envelope = _envelope(body, where)
    records, rejected, unknown = _decode_records(endpoint, envelope.items)
    if len(rejected) > len(records) and len(envelope.items) >= _TELLING_PAGE:
        first = rejected[0]
        raise SourceContractError(
            f"{len(rejected)} of {len(envelope.items)} records on {where} break the contract, the "
            f"first at `{first.field}`: {first.reason}. Nothing was stored; tell its owner."
        )
    return Page(envelope.total, records, rejected, unknown)


def _envelope(body: bytes, where: str) -> _Envelope:
    r"""The page with its records still as they were sent.

    Half of a surrogate pair (`"\ud800"`), a NaN or a control character that is not escaped is a
    fault of one record, for which msgspec refuses the page. The standard library reads them all; it
    writes the first two as they were, and escapes the third, which makes it a good text.
    """
    try:
        return _ENVELOPE.decode(body)
    except _UNREADABLE as error:
        refused = error
    try:
        page = json.loads(body, strict=False)
        if isinstance(page, dict) and isinstance(page.get("items"), list):
            # The total is still to be judged, and the items may be anything.
            envelope = _ENVELOPE.decode(msgspec.json.encode({"total": page["total"], "items": []}))
            envelope.items = [
                msgspec.Raw(json.dumps(item, separators=(",", ":")).encode())
                for item in cast("list[Any]", page["items"])
            ]
            return envelope
    except (*_UNREADABLE, ValueError, KeyError):
        pass
    raise SourceContractError(
        f"{where} did not answer with a page of records ({refused}). "
        "Check that MOOVITAMIX_SOURCE_URL is the root of a MooVitamix source API."
    ) from refused


def decode_records(
    endpoint: Endpoint, payloads: Iterable[bytes | msgspec.Raw]
) -> tuple[list[msgspec.Struct], list[Rejected]]:
    """The good ones of some records, and the rejected ones with field and reason."""
    records, rejected, _ = _decode_records(endpoint, payloads)
    return records, rejected


def decode_one_by_one(
    endpoint: Endpoint, payloads: Iterable[bytes | msgspec.Raw]
) -> Iterator[msgspec.Struct | Rejected]:
    """The same one after the other, each when it is asked for."""
    decoder = msgspec.json.Decoder(endpoint.record)
    for raw in payloads:
        yield _judged(decoder, raw)


def _decode_records(
    endpoint: Endpoint, payloads: Iterable[bytes | msgspec.Raw]
) -> tuple[list[msgspec.Struct], list[Rejected], Counter[str]]:
    """The same, and the names of the fields beyond the contract with their counts."""
    decoder = msgspec.json.Decoder(endpoint.record)
    records: list[msgspec.Struct] = []
    rejected: list[Rejected] = []
    unknown: Counter[str] = Counter()
    for raw in payloads:
        found = _judged(decoder, raw)
        if isinstance(found, Rejected):
            rejected.append(found)
        else:
            records.append(found)
            unknown.update(_OBJECT.decode(raw).keys() - endpoint.schema.keys())
    return records, rejected, unknown


def _judged(
    decoder: msgspec.json.Decoder[msgspec.Struct], raw: bytes | msgspec.Raw
) -> msgspec.Struct | Rejected:
    try:
        record = decoder.decode(raw)
        _OBJECT.decode(raw)  # what is beyond the contract has to be JSON too
    except _UNREADABLE as error:
        return _rejection(bytes(raw), error)
    if absurd := _absurd(record):
        reason = f"Expected a year from {EARLIEST.year} to {LATEST.year - 1}"
        return Rejected(bytes(raw), absurd, reason)
    return record


def _rejection(payload: bytes, error: Exception) -> Rejected:
    message = str(error)
    found = _PATH.search(message)
    missing = re.search(r"missing required field `(\w+)`", message)
    name = missing.group(1) if missing else (found.group("field") if found else None)
    # The reason must not quote the value: it is shown where personal values may not go.
    return Rejected(payload, name or None, _PATH.split(message)[0])
