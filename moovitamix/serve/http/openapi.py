"""The description of the hot routes, which FastAPI does not see, and of errors and keys.

What the routes do is told in `tiers.py`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, get_args

import msgspec

from moovitamix.serve.http.admission import OPEN_PATHS
from moovitamix.serve.http.answer import Lack, Tier
from moovitamix.serve.http.asking import (
    MAX_EXCLUDED,
    MAX_GENRE_LENGTH,
    MAX_GENRES,
    MAX_LIMIT,
)
from moovitamix.serve.http.openapi_writes import write_paths, write_schemas
from moovitamix.serve.http.problems import MEDIA_TYPE
from moovitamix.serve.http.serving import Told

_INT64 = {"type": "integer", "format": "int64", "minimum": -(1 << 63), "maximum": (1 << 63) - 1}
_REFERENCE = "#/components/schemas/{name}"


class Listen(msgspec.Struct):
    """A track that the user has heard, and what that adds to the score of another."""

    track_id: int
    name: str | None
    artist: str | None
    adds: float


class Item(msgspec.Struct):
    """A track. Scores compare within one tier only; names are null where they are not known yet."""

    track_id: int
    name: str | None
    artist: str | None
    score: float
    tier: Tier
    because: list[Listen] | msgspec.UnsetType = msgspec.UNSET


class TrackList(msgspec.Struct):
    """Tracks, best first, and where they come from."""

    items: list[Item]
    tier: Tier
    model_version: int | None
    generation: str | None
    generated_at: datetime | None
    degraded: list[Lack] | msgspec.UnsetType = msgspec.UNSET


class Recommendations(TrackList, kw_only=True):
    """What a user hears next."""

    user_id: int
    experiment: Told | msgspec.UnsetType = msgspec.UNSET


class SimilarTracks(TrackList, kw_only=True):
    """The tracks most like one."""

    track_id: int


class Fault(msgspec.Struct):
    """A parameter that cannot be used."""

    parameter: str
    detail: str


class Problem(msgspec.Struct):
    """An error: RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[Fault] | msgspec.UnsetType = msgspec.UNSET


def _parameter(
    name: str, schema: dict[str, Any], told: str, *, many: bool = False
) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, "in": "query", "schema": schema, "description": told}
    if many:
        found["style"], found["explode"] = "form", True
    return found


_LIMIT = _parameter(
    "limit",
    {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": 20},
    "How many tracks.",
)
_FLAG = {"type": "boolean", "default": False}
_GENRES = [
    _parameter(
        "genre",
        {
            "type": "array",
            "maxItems": MAX_GENRES,
            "items": {
                "type": "string",
                "minLength": 1,
                "maxLength": MAX_GENRE_LENGTH,
                "pattern": r"^[A-Za-z0-9]([A-Za-z0-9 &'/-]*[A-Za-z0-9])?$",
            },
        },
        "Names or ids of genres, one a parameter or separated by commas; any script and case will "
        "do. One that the catalogue does not have is answered by 404.",
        many=True,
    ),
    _parameter(
        "genre_match",
        {"type": "string", "enum": ["any", "all"], "default": "any"},
        "Whether a track has to be in any or in all of the genres.",
    ),
]
_ID = {"name": "id", "in": "path", "required": True, "schema": _INT64}
_FILTERS = [
    _parameter(
        "exclude",
        {"type": "array", "maxItems": MAX_EXCLUDED, "items": _INT64},
        "Ids of tracks to leave out, one a parameter or separated by commas.",
        many=True,
    ),
    _parameter("repeats", _FLAG, "Tracks that the user has heard may be in the list."),
    _parameter(
        "per_artist",
        {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT},
        "At most so many tracks of an artist.",
    ),
    _parameter("explain", _FLAG, "Say which listens weigh most, and what each adds to the score."),
]


def _get(
    name: str, summary: str, answer: str, parameters: list[dict[str, Any]], *, genres: bool
) -> dict[str, Any]:
    responses: dict[str, Any] = {
        "200": {
            "description": "Never empty where there is anything to serve.",
            "content": {"application/json": {"schema": {"$ref": _REFERENCE.format(name=answer)}}},
        },
        "422": _problem("A parameter that cannot be used."),
    }
    if genres:
        responses["404"] = _problem("A genre that the catalogue does not have.")
    return {
        "get": {
            "operationId": name,
            "summary": summary,
            "tags": ["lists"],
            "parameters": parameters,
            "responses": responses,
        }
    }


def _problem(told: str) -> dict[str, Any]:
    schema = {"$ref": _REFERENCE.format(name="Problem")}
    return {"description": told, "content": {MEDIA_TYPE: {"schema": schema}}}


def hot_paths() -> dict[str, Any]:
    """The OpenAPI paths of the hot routes."""
    return {
        "/users/{id}/recommendations": _get(
            "recommendations",
            "What to play to a user next",
            "Recommendations",
            [_ID, _LIMIT, *_GENRES, *_FILTERS],
            genres=True,
        ),
        "/tracks/{id}/similar": _get(
            "similar", "The tracks most like one", "SimilarTracks", [_ID, _LIMIT], genres=False
        ),
        "/tracks/popular": _get(
            "popular",
            "What most users have heard",
            "TrackList",
            [_LIMIT, *_GENRES],
            genres=True,
        ),
    }


def complete(described: dict[str, Any]) -> dict[str, Any]:
    """FastAPI's description with the hot routes, the errors that all routes have, and keys."""
    assert get_args(Tier) and get_args(Lack)  # noqa: S101, PT018 - the schemas are made of them
    _, schemas = msgspec.json.schema_components(
        [Recommendations, SimilarTracks, TrackList, Problem],
        ref_template=_REFERENCE,
    )
    components = described.setdefault("components", {})
    components.setdefault("schemas", {}).update({**schemas, **write_schemas()})
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    described["paths"] = {**hot_paths(), **write_paths(), **described["paths"]}
    for path, methods in described["paths"].items():
        for operation in methods.values():
            responses = operation["responses"]
            responses["500"] = _problem("A fault of ours.")
            responses.setdefault("503", _problem("The answer took too long: ask again."))
            if path not in OPEN_PATHS:
                operation["security"] = [{}, {"bearer": []}, {"header": []}]
                responses["401"] = _problem("No key of this API was sent.")
                responses["403"] = _problem(
                    "The key does not cover this; without keys: another machine, or its page, asks."
                )
                responses["429"] = _problem("Too many requests: see Retry-After.")
    return described
