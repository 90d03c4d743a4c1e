"""The hot routes: lists, as plain ASGI applications that Starlette routes to.

What they answer is told in `tiers.py`, how they are described in `openapi.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from moovitamix.serve.http.asking import Ask, read_id, read_query
from moovitamix.serve.http.gate import Noted
from moovitamix.serve.http.rendering import Answer
from moovitamix.serve.http.tiers import Tiers

RECOMMENDATIONS = "/users/{id}/recommendations"
SIMILAR = "/tracks/{id}/similar"
POPULAR = "/tracks/popular"

PARAMETERS: dict[str, frozenset[str]] = {
    RECOMMENDATIONS: frozenset(
        {"limit", "genre", "genre_match", "exclude", "repeats", "per_artist", "explain"}
    ),
    SIMILAR: frozenset({"limit"}),
    POPULAR: frozenset({"limit", "genre", "genre_match"}),
}

_JSON = (b"content-type", b"application/json")


class ListRoute:
    """Answers one route.

    Args:
        route: Its path.
        answer: From the id in the path and the query to the answer.
        of_user: Whether the id is a user's.
    """

    def __init__(
        self, route: str, answer: Callable[[int, Ask], Awaitable[Answer]], *, of_user: bool = False
    ) -> None:
        self._route = route
        self._answer = answer
        self._of_user = of_user
        self._allowed = PARAMETERS[route]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        del receive
        noted: Noted = scope["noted"]
        noted.route = self._route
        text = scope["path_params"].get("id")
        asked = 0 if text is None else read_id(text)
        if self._of_user:
            noted.user = asked
        body, noted.tier, noted.generation = await self._answer(
            asked, read_query(scope["query_string"], self._allowed)
        )
        headers = [_JSON, (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def list_routes(tiers: Tiers) -> list[Route]:
    """The routes of lists, the most asked for first."""

    async def similar(track: int, ask: Ask) -> Answer:
        return await tiers.similar(track, ask.limit)

    async def popular(_: int, ask: Ask) -> Answer:
        return await tiers.popular(ask)

    return [
        Route(
            RECOMMENDATIONS,
            ListRoute(RECOMMENDATIONS, tiers.recommend, of_user=True),
            methods=["GET"],
        ),
        Route(POPULAR, ListRoute(POPULAR, popular), methods=["GET"]),
        Route(SIMILAR, ListRoute(SIMILAR, similar), methods=["GET"]),
    ]
