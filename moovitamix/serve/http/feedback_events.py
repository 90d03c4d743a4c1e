"""What `POST /feedback` takes: its JSON as typed events, or a problem that tells what is wrong.

What becomes of events is told in `feedback.py`. A value that was sent is never told back.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from moovitamix.serve.http.problems import ProblemError
from moovitamix.warehouse.feedback import Event, Kind

MAX_EVENTS = 1_000
# Older ones would come after the figures of their day; an app's clock may be so far ahead.
OLDEST, AHEAD = timedelta(days=7), timedelta(minutes=5)

_LONGEST = (1 << 63) - 1
_Id = Annotated[int, Meta(ge=-_LONGEST - 1, le=_LONGEST)]
# Printable ASCII without quotes: what answers hold, and what can be a label of a figure.
_Label = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._:-]{0,99}$")]
_Version = Annotated[int, Meta(ge=1, le=_LONGEST)]


class About(Struct, kw_only=True, forbid_unknown_fields=True):
    """Of the answer that events are about: its members of the same names, sent back."""

    model_version: _Version | UnsetType | None = UNSET
    generation: _Label | UnsetType | None = UNSET
    tier: _Label | UnsetType | None = UNSET
    arm: _Label | UnsetType | None = UNSET


class FeedbackEvent(About, kw_only=True, forbid_unknown_fields=True):
    """Something that a user did with a track."""

    user_id: _Id
    track_id: _Id
    kind: Kind
    at: Annotated[
        datetime,
        Meta(
            tz=True,
            description="When it happened, by the app: at most 7 days ago. It tells a repeat, "
            "which counts once, from a second time, so keep it for when you try again.",
        ),
    ]


class FeedbackBatch(About, kw_only=True, forbid_unknown_fields=True):
    """Many events at once; what they are about may be told here for all that do not tell it."""

    events: Annotated[list[FeedbackEvent], Meta(min_length=1, max_length=MAX_EVENTS)]


class Taken(Struct):
    """All events were taken in, repeats too."""

    accepted: int
    degraded: list[str] | UnsetType = UNSET


class EventFault(Struct):
    """A field that cannot be used; `index` is the event's, from 0, null where it is none's."""

    index: int | None
    field: str
    reason: str


_WANTED = {
    "user_id": "an integer of 64 bits",
    "track_id": "an integer of 64 bits",
    "kind": "impression, click, skip, hide or unhide",
    "at": "a moment with its zone, as 2026-11-26T08:00:00Z, at most 7 days ago and not ahead",
    "model_version": "an integer from 1, or null",
    "events": f"an array of 1 to {MAX_EVENTS} events",
}
_LABEL = "up to 100 letters, digits, spaces and ._:- that begin with a letter or digit, or null"
_ABOUT = ("model_version", "generation", "tier", "arm")

_PLACE = re.compile(r" - at `\$(?:\.events)?(?:\[(\d+)\]|\[\.\.\.\])?(?:\.(\w+))?")
_NAMED = re.compile(r"field `(\w+)`")


class _Envelope(Struct):
    """Only to see which of the two it is."""

    events: msgspec.Raw | UnsetType = UNSET


_NO_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_envelope = msgspec.json.Decoder(_Envelope)
_one = msgspec.json.Decoder(FeedbackEvent)
_many = msgspec.json.Decoder(FeedbackBatch)


def read_events(body: bytes, now: datetime) -> list[Event]:
    """The events of a request, all of them or none.

    Args:
        body: JSON: one event, or `{"events": [...]}`.
        now: UTC.

    Raises:
        ProblemError: When anything is wrong; every field that is gets named.
    """
    try:
        many = _envelope.decode(body).events is not UNSET
    except msgspec.ValidationError:
        raise _refusal([_fault(None, "", "give an event, or an object with `events`")]) from None
    except _NO_JSON:
        raise ProblemError(400, "The body is not JSON. See /docs.") from None
    try:
        whole = (_many if many else _one).decode(body)
    except msgspec.ValidationError:
        whole = _again(body, FeedbackBatch if many else FeedbackEvent)
    except _NO_JSON:
        raise ProblemError(400, "The body is not JSON. See /docs.") from None
    batch = whole if isinstance(whole, FeedbackBatch) else None
    events = [whole] if isinstance(whole, FeedbackEvent) else whole.events
    earliest, latest = now - OLDEST, now + AHEAD
    faults = [
        _fault(index if many else None, "at")
        for index, event in enumerate(events)
        if not earliest <= event.at <= latest
    ]
    if faults:
        raise _refusal(faults)
    return [_row(event, batch) for event in events]


def _again(
    body: bytes, wanted: type[FeedbackBatch] | type[FeedbackEvent]
) -> FeedbackBatch | FeedbackEvent:
    """The same, of a body whose whole numbers may be written as 5.0, as JSON Schema allows.

    Raises:
        ProblemError: Tells of each event that is wrong the first field that is.
    """
    try:
        data = _whole_numbers(msgspec.json.decode(body))
    except msgspec.ValidationError:  # a number that is none: 1e999
        raise _refusal([_fault(None, "", "give numbers of 64 bits")]) from None
    except (*_NO_JSON, ValueError):  # the latter: an integer of thousands of digits
        raise ProblemError(400, "The body is not JSON. See /docs.") from None
    try:
        return msgspec.convert(data, wanted)
    except msgspec.ValidationError as error:
        faults = []
        sent = data.get("events")
        if isinstance(sent, list):
            for index, event in enumerate(sent[:MAX_EVENTS]):
                try:
                    msgspec.convert(event, FeedbackEvent)
                except msgspec.ValidationError as wrong:
                    faults.append(_told(index, str(wrong)))
        raise _refusal(faults or [_told(None, str(error))]) from None


def _whole_numbers(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: _whole_numbers(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(member) for member in value]
    return value


def _row(event: FeedbackEvent, batch: FeedbackBatch | None) -> Event:
    told = {}
    for name in _ABOUT:
        value = getattr(event, name)
        if value is UNSET and batch is not None:
            value = getattr(batch, name)
        told[name] = None if value is UNSET else value
    at = event.at.astimezone(UTC).replace(tzinfo=None)
    return Event(event.user_id, event.track_id, event.kind, at, **told)


def _told(index: int | None, message: str) -> dict[str, Any]:
    """What msgspec says of a value, without the value."""
    named = _NAMED.search(message)
    place = _PLACE.search(message)
    field = named[1] if named else (place[2] if place and place[2] else "")
    if message.startswith("Object contains unknown field"):
        return _fault(index, "", "leave out fields that are not in /docs")
    if not field and index is None and "array" in message.lower():
        field = "events"
    return _fault(index, field)


def _fault(index: int | None, field: str, reason: str | None = None) -> dict[str, Any]:
    if reason is None:
        reason = f"give {_WANTED.get(field, _LABEL if field in _ABOUT else 'an event')}"
    return {"index": index, "field": field, "reason": reason}


def _refusal(faults: list[dict[str, Any]]) -> ProblemError:
    return ProblemError(
        422, "Nothing was taken in. Correct what is told and send all of it again.", errors=faults
    )
