"""The description of the routes that take something in, which FastAPI does not see.

What they do is told in `listens.py` and `feedback.py`. The lists' routes are described in
`openapi.py`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec

from moovitamix.serve.http.feedback import FEEDBACK
from moovitamix.serve.http.feedback_events import EventFault
from moovitamix.serve.http.problems import MEDIA_TYPE
from moovitamix.serve.http.taking import TakenIn
from moovitamix.settings import get_settings

_INT64 = {"type": "integer", "format": "int64", "minimum": -(1 << 63), "maximum": (1 << 63) - 1}
_MOMENT = {
    "type": "string",
    "description": "ISO 8601, UTC, without a zone; no more than a day ahead.",
    "pattern": r"^(19|20)[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])"
    r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?$",
    "examples": ["2026-11-26T09:41:07"],
}
_LISTEN_RECORD = {
    "type": "object",
    "description": "A listen record, as the source's GET /listen_history has it.",
    "required": ["user_id", "items", "created_at", "updated_at"],
    "properties": {
        "user_id": {**_INT64, "description": "Who heard it; known to the warehouse or not yet."},
        "items": {
            "type": "array",
            "maxItems": 100_000,  # as `ingest/contract.py` takes
            "items": _INT64,
            "description": "The tracks heard, in order; a track heard twice is in it twice.",
        },
        "created_at": _MOMENT,
        "updated_at": _MOMENT,
    },
}
_REFERENCE = "#/components/schemas/{name}"
_RECORD = {"$ref": "#/components/schemas/ListenRecord"}


class FeedbackProblem(msgspec.Struct):
    """An error: RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[EventFault]


def write_paths() -> dict[str, Any]:
    """The OpenAPI paths of these routes."""
    return {
        "/listens": {
            "post": {
                "operationId": "listens",
                "summary": "What was heard: taken in for good, and the next list knows it",
                "description": "Answered when it is on disk. The same record may be sent again, "
                "alone or grown, and pulled from the source before or after: each play counts "
                "once. Of several records all are taken in, or none.",
                "tags": ["activity"],
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {
                            "schema": {"anyOf": [_RECORD, {"type": "array", "items": _RECORD}]}
                        }
                    },
                },
                "responses": {
                    "202": {
                        "description": "On disk. Users' lists know it some milliseconds later.",
                        "content": {
                            "application/json": {"schema": {"$ref": "#/components/schemas/TakenIn"}}
                        },
                    },
                    "413": _problem("More bytes than a request may have: send several."),
                    "422": _problem("A record breaks the contract; nothing was taken in."),
                    "503": _problem(
                        "Postgres does not answer: send the same again, after Retry-After."
                    ),
                },
            }
        },
        FEEDBACK: _feedback(),
    }


def _feedback_example() -> dict[str, Any]:
    """Of today: an old one would be refused when somebody tries it."""
    shown = get_settings().present().replace(microsecond=0)
    both = (("impression", shown), ("click", shown + timedelta(seconds=7)))
    return {
        "model_version": 3,
        "generation": "v3-2026-11-25-17",
        "tier": "cached top-N",
        "events": [
            {"user_id": 5, "track_id": 112, "kind": kind, "at": at.isoformat()} for kind, at in both
        ],
    }


def _feedback() -> dict[str, Any]:
    def of(name: str) -> dict[str, Any]:
        return {"$ref": _REFERENCE.format(name=name)}

    content = {
        "schema": {"oneOf": [of("FeedbackEvent"), of("FeedbackBatch")]},
        "example": _feedback_example(),
    }
    taken = {"application/json": {"schema": of("Taken")}}
    wrong = _problem("An event that cannot be taken: nothing was taken in.", "FeedbackProblem")
    return {
        "post": {
            "operationId": "feedback",
            "summary": "What users do with what was recommended",
            "description": "Impressions, clicks, skips, hides and what takes a hide back, one or "
            "many. Send `model_version`, `generation` and `tier` of the answer back with them. A "
            "repeat counts once. A hide acts before it is acknowledged; where `degraded` says "
            "redis, lists follow when it is back.",
            "tags": ["feedback"],
            "requestBody": {"required": True, "content": {"application/json": content}},
            "responses": {
                "202": {"description": "Committed.", "content": taken},
                "400": _problem("No JSON."),
                "413": _problem("Too much at once."),
                "422": wrong,
                "503": _problem("Postgres does not answer: send it again after Retry-After."),
            },
        }
    }


def write_schemas() -> dict[str, Any]:
    """The schemas that they refer to."""
    _, schemas = msgspec.json.schema_components(
        [TakenIn], ref_template="#/components/schemas/{name}"
    )
    return {"ListenRecord": _LISTEN_RECORD, **schemas}


def _problem(told: str, name: str = "Problem") -> dict[str, Any]:
    schema = {"$ref": _REFERENCE.format(name=name)}
    return {"description": told, "content": {MEDIA_TYPE: {"schema": schema}}}
