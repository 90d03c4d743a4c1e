"""The documented rest, by FastAPI: status, health, figures. And one OpenAPI for all routes.

The hot routes are described in `openapi.py` and answered by `routes.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import date, datetime
from typing import Any, Literal

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from moovitamix import __version__
from moovitamix.serve.http.metrics import CONTENT_TYPE, Metrics
from moovitamix.serve.http.openapi import complete
from moovitamix.serve.http.problems import (
    MEDIA_TYPE,
    ProblemError,
    render_problem,
    told_by_starlette,
)
from moovitamix.serve.http.reads import ListReader
from moovitamix.serve.http.world import World

_DESCRIPTION = """What people hear next. A `GET` of a list is always answered: `tier` says by what,
and `degraded`, when it is there, which store did not take part. Errors are problem details
(RFC 9457)."""


class CurrentModel(BaseModel):
    """What is being served. Null: not known, because nothing was published or Redis is down."""

    model_config = ConfigDict(protected_namespaces=())

    generation: str | None = Field(description="Name of the generation of lists.")
    model_version: int | None = Field(description="Of the registry.")
    algorithm: str | None = Field(description="`als` or `popularity`.")
    as_of: date | None = Field(description="The last day of the data.")
    generated_at: datetime | None
    expires_at: datetime | None
    live_model_version: int | None = Field(description="What ranks live in this process.")


class Health(BaseModel):
    """Whether requests are answered, and by what."""

    status: Literal["ok", "degraded", "nothing to serve"]
    redis: Literal["closed", "open", "half-open"] = Field(description="Its circuit breaker.")
    names: int = Field(description="Tracks in the name table.")
    popular: int = Field(description="Tracks that can be served when nothing else answers.")
    live: bool = Field(description="Whether factors are loaded, to rank live.")
    removals_known: bool = Field(description="Whether Postgres told lately what was removed.")


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


def documented_app(
    reader: ListReader, world: World, metrics: Metrics | None, *more: APIRouter
) -> FastAPI:
    """The FastAPI application of everything but lists.

    Args:
        reader: Knows the current generation.
        world: What the process holds.
        metrics: What `/metrics` shows; None: the route is not there.
        more: Routes that have a module of their own.
    """
    app = FastAPI(title="MoovitaMix", version=__version__, description=_DESCRIPTION, redoc_url=None)
    for kind, handler in EXCEPTION_HANDLERS.items():
        app.exception_handler(kind)(handler)
    app.exception_handler(RequestValidationError)(_problem_of_validation)

    @app.get("/models/current", tags=["status"], summary="What is being served")
    async def current(request: Request) -> CurrentModel:
        _note(request, "/models/current")
        found, live = reader.generation, world.live
        return CurrentModel(
            generation=found.name if found else None,
            model_version=found.model_version if found else None,
            algorithm=found.algorithm if found else None,
            as_of=found.as_of if found else None,
            generated_at=found.published_at if found else None,
            expires_at=found.expires_at if found else None,
            live_model_version=live.champion.version if live else None,
        )

    @app.get("/health/live", tags=["status"], summary="Whether the process answers")
    async def alive(request: Request) -> Alive:
        _note(request, "/health/live")
        return Alive()

    @app.get(
        "/health/ready",
        tags=["status"],
        summary="Whether there is anything to serve",
        responses={503: {"model": Health, "description": "Nothing to serve yet."}},
    )
    async def ready(request: Request, response: Response) -> Health:
        _note(request, "/health/ready")
        popular = len(world.ranking.ids)
        healthy = reader.breaker.closed and world.removals_known
        something = bool(popular or reader.generation)
        if not something:
            response.status_code = 503
        return Health(
            status="nothing to serve" if not something else "ok" if healthy else "degraded",
            redis=reader.breaker.state,
            names=len(world.tracks),
            popular=popular,
            live=world.live is not None,
            removals_known=world.removals_known,
        )

    for router in more:
        app.include_router(router)

    if metrics is not None:
        shown = metrics

        @app.get(
            "/metrics",
            tags=["status"],
            summary="Figures for Prometheus",
            response_class=Response,
            responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
        )
        async def figures(request: Request) -> Response:
            _note(request, "/metrics")
            return Response(shown.render(), media_type=CONTENT_TYPE)

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            described = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
            )
            app.openapi_schema = complete(described)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend it
    return app


async def _problem_itself(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, ProblemError)  # noqa: S101 - by which it is registered
    return Response(render_problem(error), error.status, error.headers, MEDIA_TYPE)


async def _problem_of_fault(request: Request, error: Exception) -> Response:
    """What nobody foresaw: told without its message, which `gate.py` logs."""
    del request, error
    problem = ProblemError(500, "Something went wrong here. Tell us the X-Request-Id.")
    return Response(render_problem(problem), 500, media_type=MEDIA_TYPE)


async def _problem_of_http(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, HTTPException)  # noqa: S101 - by which it is registered
    problem = told_by_starlette(error)
    return Response(render_problem(problem), problem.status, problem.headers, MEDIA_TYPE)


async def _problem_of_validation(request: Request, error: Exception) -> Response:
    del request
    faults = error.errors() if isinstance(error, RequestValidationError) else ()
    errors = [{"parameter": str(fault["loc"][-1]), "detail": str(fault["msg"])} for fault in faults]
    problem = ProblemError(422, "Correct these parameters. See /docs.", errors=errors)
    return Response(render_problem(problem), 422, media_type=MEDIA_TYPE)


EXCEPTION_HANDLERS: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
    HTTPException: _problem_of_http,
    ProblemError: _problem_itself,
    Exception: _problem_of_fault,
}


def _note(request: Request, route: str) -> None:
    request.scope["noted"].route = route
