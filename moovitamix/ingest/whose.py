"""Whose a rejected record is, as far as its key can be read: pure, from the payload as sent.

A record that breaks the contract may still say which record it is. Where it does, erasure finds
it, and a later content that is good can take its place.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from moovitamix.ingest.contract import LISTENS, Endpoint

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the contract's times have no zone
_MICROSECOND = timedelta(microseconds=1)


def legible_key(endpoint: Endpoint, payload: bytes) -> tuple[int | None, datetime | None]:
    """The id that a record names (of listens its user's), and its `created_at`, naive UTC.

    Read with more patience than by the contract: an id may be text, a moment may have a zone.
    Each is None where it cannot be read.
    """
    record = _fields(payload)
    return _id(record.get(endpoint.key[0])), _moment(record.get("created_at"))


def key_text(endpoint: Endpoint, payload: bytes) -> str | None:
    """The key as `quarantine` keeps it, or None where not even an id can be read.

    The id; of listens the user's, then a space and `created_at` in microseconds since 1970 where
    that can be read.
    """
    found, created = legible_key(endpoint, payload)
    if found is None:
        return None
    if endpoint is not LISTENS or created is None:
        return str(found)
    return f"{found} {microseconds(created)}"


def microseconds(moment: datetime) -> int:
    """A naive moment in microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def _fields(payload: bytes) -> dict[str, Any]:
    try:
        record = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        try:
            # Half of a surrogate pair, or NaN, spoils one field: the others can be read.
            record = json.loads(payload)
        except (ValueError, RecursionError):
            return {}
    return record if isinstance(record, dict) else {}


def _id(value: Any) -> int | None:
    try:
        found = int(value) if isinstance(value, str) else value
    except ValueError:
        return None
    if not isinstance(found, int) or isinstance(found, bool):
        return None
    return found if -(2**63) <= found < 2**63 else None


def _moment(value: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value)
        return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
    except (TypeError, ValueError, OverflowError):
        return None
