"""The console as a whole: who may see a page, and how an answer leaves.

What the pages show is told in `pages.py` and `deciding.py`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from moovitamix.serve.http.console.aside import Aside, Missing
from moovitamix.serve.http.console.deciding import Deciding
from moovitamix.serve.http.console.entrance import SIGN_IN, Entrance
from moovitamix.serve.http.console.origin import is_named_locally, is_ours, is_secure
from moovitamix.serve.http.console.page import Asked, Elsewhere, Page, message
from moovitamix.serve.http.console.pages import Pages
from moovitamix.serve.http.console.rendering import HEADERS, Templates
from moovitamix.serve.http.console.sessions import COOKIE, LASTS, recall, session_secret
from moovitamix.serve.http.keys import ApiKey
from moovitamix.settings import get_settings

if TYPE_CHECKING:
    from moovitamix.serve.http.console.routes import Surroundings

log = logging.getLogger(__name__)

ANYBODY = ApiKey("anonymous", "admin", "")
NOBODY = ApiKey("nobody", "read", "")
_SECRET_READ_EVERY = 60.0
_MOST_BYTES = 10_000
_A_YEAR = "public, max-age=31536000, immutable"

Handler = Callable[[Asked], Awaitable[Page | Elsewhere]]


class Console:
    """Answers requests for pages.

    Args:
        surroundings: What is looked at.
    """

    def __init__(self, surroundings: Surroundings) -> None:
        self._keys = surroundings.keys
        self._lake = surroundings.lake
        self._aside = Aside()
        self._templates = Templates()
        self._secret: bytes | None = None
        self._secret_at = 0.0
        pages, deciding = Pages(surroundings, self._aside), Deciding(surroundings, self._aside)
        self._entrance = Entrance(self._keys, self.secret)
        self._handlers: dict[str, Handler] = {
            "status": pages.status,
            "user": pages.user,
            "tracks": pages.tracks,
            "track": pages.track,
            "rollback": deciding.rollback,
        }

    async def secret(self) -> bytes | Missing:
        """What sessions are signed with; read again now and then, for the lake may be set aside."""
        now = time.monotonic()
        if self._secret is None or now - self._secret_at > _SECRET_READ_EVERY:
            found = await self._aside.read("The lake", lambda: session_secret(self._lake))
            if isinstance(found, Missing):
                return self._secret or found
            self._secret, self._secret_at = found, now
        return self._secret

    async def answer(self, name: str, request: Request) -> Response:
        """The answer to one request.

        Args:
            name: Of the page.
            request: The request.
        """
        if name == "static":
            return self._static(request.path_params["name"])
        refused = self._refused(request)
        if refused is not None:
            return await self._shown(refused, request, None)
        posted = request.method == "POST"
        form = await _form(request) if posted else {}
        visitor = await self._visitor(request)
        asked = Asked(visitor or NOBODY, request.query_params, form, request.path_params)
        if name == "sign_out":
            page: Page | Elsewhere = Elsewhere(SIGN_IN, cookie="")
        elif name == "sign_in":
            page = await self._entrance.sign_in(asked, posted=posted)
        elif visitor is None:
            back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            page = Elsewhere(f"{SIGN_IN}?{urlencode({'back': back})}")
        else:
            noted = request.scope["noted"]
            noted.key = visitor
            noted.user = asked.user if name == "user" else None
            page = await self._handled(name, asked, noted.request_id.decode())
        return await self._shown(page, request, visitor)

    async def _handled(self, name: str, asked: Asked, request_id: str) -> Page | Elsewhere:
        try:
            return await self._handlers[name](asked)
        except Exception:  # whatever nobody foresaw: a page all the same
            log.exception("Request %s failed", request_id)
            told = f"Something went wrong here. Tell us the request: {request_id}."
            return message("Not shown", told, 500)

    def _refused(self, request: Request) -> Page | None:
        """Why a request is not answered, whoever makes it."""
        if self._keys.keys is None and not is_named_locally(request.headers):
            told = "Without keys it is open to this machine alone: ask for it as 127.0.0.1."
            return message("Not here", told, 403)
        if request.method == "POST" and not is_ours(request.headers):
            told = "This form was sent from elsewhere. Open the page here, and send it again."
            return message("Not from here", told, 403)
        return None

    async def _visitor(self, request: Request) -> ApiKey | None:
        """Who looks; None: somebody without a session."""
        keys = self._keys.keys
        if keys is None:
            return ANYBODY
        cookie = _cookie(request)
        if cookie is None:
            return None
        secret = await self.secret()
        return None if isinstance(secret, Missing) else recall(secret, cookie, keys, time.time())

    async def _shown(
        self, page: Page | Elsewhere, request: Request, visitor: ApiKey | None
    ) -> Response:
        if isinstance(page, Elsewhere):
            response: Response = RedirectResponse(page.path, 303, HEADERS)
            if page.cookie is not None:
                response.set_cookie(
                    COOKIE,
                    page.cookie,
                    max_age=int(LASTS.total_seconds()) if page.cookie else 0,
                    httponly=True,
                    samesite="strict",
                    secure=is_secure(request.headers, request.url.scheme),
                )
            return response
        context = {
            "now": datetime.now(UTC),
            "visitor": visitor,
            "signed_in": visitor is not None and visitor is not ANYBODY,
            "path": request.url.path,
            "ui_url": get_settings().ui_url,
            **page.context,
        }
        html = await asyncio.to_thread(self._templates.render, page.template, context)
        return HTMLResponse(html, page.status, HEADERS)

    def _static(self, name: str) -> Response:
        if name not in self._templates.static:
            return Response(status_code=404)
        content, kind = self._templates.static[name]
        return Response(content, 200, {**HEADERS, "cache-control": _A_YEAR}, kind)


def _cookie(request: Request) -> str | None:
    try:
        found = SimpleCookie(request.headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    return found.value if found else None


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form, each name once; nothing where it is too long to be one of ours."""
    body = bytearray()
    async for block in request.stream():
        body += block
        if len(body) > _MOST_BYTES:
            return {}
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
