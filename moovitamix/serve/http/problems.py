"""Errors as answers: problem details for HTTP APIs, RFC 9457. Never a stack trace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.types import Send

MEDIA_TYPE = "application/problem+json"


class ProblemError(Exception):
    """A request that is answered with an error.

    Args:
        status: Of HTTP.
        detail: What is wrong with this request, and what to do.
        headers: Further ones.
        errors: One for each parameter at fault: `{"parameter": …, "detail": …}`.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        self.errors = list(errors)


def render_problem(problem: ProblemError) -> bytes:
    """The body: type, title, status, detail and, where parameters are at fault, errors."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
    }
    if problem.errors:
        body["errors"] = problem.errors
    return msgspec.json.encode(body)


def headers_of(problem: ProblemError) -> list[tuple[bytes, bytes]]:
    """The headers of an answer that is a problem."""
    return [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", b"%d" % len(render_problem(problem))),
        *((name.lower().encode(), value.encode()) for name, value in problem.headers.items()),
    ]


async def send_problem(send: Send, problem: ProblemError) -> None:
    """Answer with a problem."""
    headers = headers_of(problem)
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": render_problem(problem)})


def told_by_starlette(error: HTTPException) -> ProblemError:
    """What Starlette raises for paths and methods that are not there, as a problem."""
    details = {
        404: "There is nothing under this path. See /docs.",
        405: "This path does not take this method. See /docs.",
    }
    detail = details.get(error.status_code, "See /docs.")
    return ProblemError(error.status_code, detail, error.headers)
