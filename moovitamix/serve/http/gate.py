"""What every request passes first: its id, its key, its limits; and where it is counted last.

What a route answers is told in `routes.py`. One ASGI layer does it all: each layer costs.
"""

from __future__ import annotations

import itertools
import logging
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moovitamix.serve.http.access import AccessLog, Line
from moovitamix.serve.http.keys import ApiKey, KeyStore, recognize
from moovitamix.serve.http.keys import Scope as KeyScope
from moovitamix.serve.http.limits import TokenBucket
from moovitamix.serve.http.metrics import Metrics
from moovitamix.serve.http.nearby import is_nearby
from moovitamix.serve.http.noted import JSON, Listing, Noted, completed, head_of_list, noting
from moovitamix.serve.http.problems import ProblemError, send_problem, told_by_starlette
from moovitamix.serve.http.protocol import WHOLE

log = logging.getLogger(__name__)

# Asked for without a key: by who watches over the process, and by who wants to know how to ask.
OPEN_PATHS = frozenset(
    {"/health/live", "/health/ready", "/docs", "/docs/oauth2-redirect", "/openapi.json"}
)
# A browser sends no header with a key: the console lets people in by sessions of its own.
_CONSOLE = "/console/"
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_NO_EXTENSIONS: dict[str, Any] = {}
_ANONYMOUS = ApiKey("anonymous", "admin", "")
_FROM_ELSEWHERE = (
    "Without keys only this machine may ask, under one of its own names (localhost, 127.0.0.1), "
    "and no page of elsewhere. `moovitamix keys create NAME` makes a key for others."
)


def _nothing(path: str) -> None:
    del path


class _Head(NamedTuple):
    """The headers that are looked at here, as they came."""

    bearer: bytes | None
    api_key: bytes | None
    request_id: bytes | None
    length: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a request may take.

    Attributes:
        per_second: Requests a second of a key, in one process; None: any number.
        body_bytes: Of what is sent along.
        seconds: Until the answer has to be there.
    """

    per_second: float | None = None
    body_bytes: int = 1 << 20
    seconds: float = 10.0


@dataclass(slots=True)
class Gate:
    """The outermost ASGI application.

    Args:
        app: What answers.
        keys: The keys in force.
        limits: Of a request.
        metrics: Where requests are counted; None: nowhere.
        access: Where they are logged; None: nowhere.
        clock: Seconds, for rates.
        lists: What answers a GET of a path without `app`, and the id in the path; None: `app` does.
    """

    app: ASGIApp
    keys: KeyStore
    limits: Limits
    metrics: Metrics | None = None
    access: AccessLog | None = None
    clock: Callable[[], float] = time.monotonic
    lists: Callable[[str], tuple[Listing, str] | None] = _nothing
    _buckets: dict[ApiKey, TokenBucket] = field(default_factory=dict)
    _known: dict[bytes, tuple[ApiKey, TokenBucket | None]] = field(default_factory=dict)
    _known_of: tuple[ApiKey, ...] | None = None
    _ids: itertools.count[int] = field(default_factory=itertools.count)
    _prefix: bytes = field(default_factory=lambda: secrets.token_hex(4).encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        head = _read_head(scope)
        noted = scope["noted"] = Noted(self._request_id(head.request_id))
        try:
            self._let_in(scope, head, noted)
            hot = None
            if scope["method"] == "GET" and head.length is None and not scope.get("root_path"):
                hot = self.lists(scope["path"])
            if hot is None:
                await self._pass_on(scope, receive, noting(send, noted), head)
            else:
                listing, item = hot
                body = await listing.body(noted, item, scope["query_string"])
                whole = scope.get("extensions", _NO_EXTENSIONS).get(WHOLE)
                if whole is None or not whole(send, head_of_list(len(body), noted), body):
                    length = (b"content-length", b"%d" % len(body))
                    await send(completed(200, [JSON, length], noted))
                    await send({"type": "http.response.body", "body": body})
        except ProblemError as problem:
            if not noted.started:
                await send_problem(noting(send, noted), problem)
        except HTTPException as error:
            await send_problem(noting(send, noted), told_by_starlette(error))
        except Exception:
            # The message of an unforeseen error may hold anything: the log leaves it out.
            request_id = noted.request_id.decode()
            log.exception("Request %s failed", request_id, extra={"request_id": request_id})
            noted.status = 500
            if not noted.started:
                wrong = "Something went wrong here. Tell us the X-Request-Id."
                await send_problem(noting(send, noted), ProblemError(500, wrong))
        finally:
            self._count(scope, noted, time.perf_counter() - began)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send, head: _Head) -> None:
        scope["app"] = self  # Starlette then raises what it would else send as plain text
        if head.length is not None or scope["method"] not in _READING:
            receive = self._bounded(receive, head.length)
        await self.app(scope, receive, send)

    def _request_id(self, sent: bytes | None) -> bytes:
        if sent is not None and _REQUEST_ID.fullmatch(sent):
            return sent
        return b"%b-%x" % (self._prefix, next(self._ids))

    def _count(self, scope: Scope, noted: Noted, seconds: float) -> None:
        if self.metrics is not None:
            self.metrics.answered(noted.route, noted.tier, noted.status, seconds)
        if self.access is not None:
            self.access.add(
                Line(
                    time.time(),
                    noted.request_id.decode(),
                    scope["method"],
                    noted.route,
                    noted.status,
                    noted.tier,
                    1_000 * seconds,
                    "" if noted.key is None else noted.key.name,
                    noted.user,
                    noted.generation,
                )
            )

    def _let_in(self, scope: Scope, head: _Head, noted: Noted) -> None:
        """Note the key of a request, where one is asked for, and take what it costs.

        Raises:
            ProblemError: When it has none, an unknown one, one of too small a scope, or one that
                has used up its requests; without keys, when it comes from elsewhere.
        """
        keys = self.keys.keys
        path, method = scope["path"], scope["method"]
        is_open = path in OPEN_PATHS and method in _READING
        is_open = is_open or path == "/" or path.startswith(_CONSOLE)
        if keys is None:
            if not is_open and not is_nearby(scope["headers"]):
                raise self._refusal("origin", ProblemError(403, _FROM_ELSEWHERE))
            noted.key, noted.bucket = _ANONYMOUS, self._bucket(_ANONYMOUS)
        elif is_open:
            return
        else:
            key, bucket = self._recognized(keys, head)
            needed: KeyScope = "read" if method in _READING else "write"
            if path.startswith("/admin") or method == "DELETE":  # what is deleted is gone
                needed = "admin"
            if needed != "read" and not key.may(needed):
                detail = f"This key may {key.scope}; this takes a key of scope {needed}."
                raise self._refusal("scope", ProblemError(403, detail))
            noted.key, noted.bucket = key, bucket
        if noted.bucket is not None and not noted.bucket.take():
            raise self._refusal("rate", _too_many(noted.bucket))

    def _recognized(
        self, keys: tuple[ApiKey, ...], head: _Head
    ) -> tuple[ApiKey, TokenBucket | None]:
        shown, bearer = head.api_key, head.bearer
        if shown is None and bearer is not None and bearer[:7].lower() == b"bearer ":
            shown = bearer[7:].strip()
        if keys is not self._known_of:
            self._known, self._known_of = {}, keys
        known = None if shown is None else self._known.get(shown)
        if known is not None:
            return known
        found = None if shown is None else recognize(keys, shown.decode("latin-1"))
        if shown is None or found is None:
            detail = "Send a key of this API as `Authorization: Bearer …` or `X-API-Key`."
            raise self._refusal("key", ProblemError(401, detail, {"WWW-Authenticate": "Bearer"}))
        # Whoever shows it again need not be compared with all: as many as there are keys.
        known = self._known[shown] = found, self._bucket(found)
        return known

    def _bucket(self, key: ApiKey) -> TokenBucket | None:
        found = self._buckets.get(key)
        if found is None:
            rate = key.per_second or self.limits.per_second
            if rate is None:
                return None
            found = self._buckets[key] = TokenBucket(rate, self.clock)
        return found

    def _refusal(self, reason: str, problem: ProblemError) -> ProblemError:
        if self.metrics is not None:
            self.metrics.refused(reason)
        return problem

    def _bounded(self, receive: Receive, length: bytes | None) -> Receive:
        """What is sent along, up to its limit.

        Raises:
            ProblemError: At once when it says that it is larger, else when it turns out to be.
        """
        most = self.limits.body_bytes
        detail = f"Send at most {most:,} bytes in one request."
        if length is not None and length.isdigit() and int(length) > most:
            raise self._refusal("size", ProblemError(413, detail))
        taken = 0

        async def bounded() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > most:
                raise self._refusal("size", ProblemError(413, detail))
            return message

        return bounded


def _read_head(scope: Scope) -> _Head:
    bearer = api_key = request_id = length = None
    for name, value in scope["headers"]:
        if name == b"authorization":
            bearer = value
        elif name == b"x-api-key":
            api_key = value
        elif name == b"x-request-id":
            request_id = value
        elif name == b"content-length":
            length = value
    return _Head(bearer, api_key, request_id, length)


def _too_many(bucket: TokenBucket) -> ProblemError:
    wait = bucket.retry_after
    detail = f"This key has used up its requests. Ask again in {wait} s."
    return ProblemError(429, detail, {"Retry-After": str(wait)})
