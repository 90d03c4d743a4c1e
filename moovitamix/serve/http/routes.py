"""The hot routes: lists, as plain ASGI applications that Starlette routes to.

What they answer is told in `tiers.py`, how they are described in `openapi.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from moovitamix.serve.http.asking import Ask, read_id, read_query
from moovitamix.serve.http.noted import JSON, Listing, Noted
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

    async def body(self, noted: Noted, item: str, query: bytes) -> bytes:
        """The JSON of an answer; see `noted.Listing`."""
        noted.route = self._route
        asked = read_id(item) if item else 0
        if self._of_user:
            noted.user = asked
        body, noted.tier, noted.generation = await self._answer(
            asked, read_query(query, self._allowed)
        )
        return body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        del receive
        item = scope["path_params"].get("id", "")
        body = await self.body(scope["noted"], item, scope["query_string"])
        headers = [JSON, (b"content-length", b"%d" % len(body))]
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


def shortcut(routes: list[Route]) -> Callable[[str], tuple[Listing, str] | None]:
    """Finds the route of a path of the form `/what/{id}/which`, as Starlette would.

    Args:
        routes: Of lists.
    """
    known: dict[tuple[str, str], Listing] = {}
    for route in routes:
        _, what, item, *which = route.path.split("/")
        if item == "{id}" and len(which) == 1 and isinstance(route.endpoint, ListRoute):
            known[what, which[0]] = route.endpoint

    def find(path: str) -> tuple[Listing, str] | None:
        parts = path.split("/")
        if len(parts) != 4 or not parts[2]:
            return None
        found = known.get((parts[1], parts[3]))
        return None if found is None or parts[0] else (found, parts[2])

    return find
