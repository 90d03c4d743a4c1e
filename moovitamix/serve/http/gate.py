"""What every request passes first: its id, its key, its limits; and where it is counted last.

Who is let in is told in `admission.py`, what a route answers in `routes.py`, and which requests
take a shorter way in `direct.py`. One ASGI layer does it all: each layer costs.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moovitamix.serve.http.access import AccessLog, Line
from moovitamix.serve.http.admission import READING, Admission
from moovitamix.serve.http.heads import Head, RequestIds, read_head
from moovitamix.serve.http.metrics import Metrics
from moovitamix.serve.http.noted import JSON, Listing, Noted, completed, head_of_list, noting
from moovitamix.serve.http.problems import (
    ProblemError,
    headers_of,
    render_problem,
    send_problem,
    told_by_starlette,
)
from moovitamix.serve.http.protocol import Take
from moovitamix.serve.http.turns import WHOLE

log = logging.getLogger(__name__)

_NO_EXTENSIONS: dict[str, Any] = {}


def _nothing(path: str) -> None:
    del path


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
        admission: Lets requests in.
        limits: Of a request.
        metrics: Where requests are counted; None: nowhere.
        access: Where they are logged; None: nowhere.
        lists: What answers a GET of a path without `app`, and the id in the path; None: `app` does.

    Attributes:
        ids: Names requests.
        take: What takes requests on a shorter way, see `protocol.py`; None: nothing does.
    """

    app: ASGIApp
    admission: Admission
    limits: Limits
    metrics: Metrics | None = None
    access: AccessLog | None = None
    lists: Callable[[str], tuple[Listing, str] | None] = _nothing
    ids: RequestIds = field(default_factory=RequestIds)
    take: Take | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        head = read_head(scope["headers"])
        noted = scope["noted"] = Noted(self.ids.of(head.request_id))
        await self.conclude(
            self._answered(scope, receive, send, head, noted), scope["method"], send, noted, began
        )

    async def conclude(
        self, answering: Awaitable[None], method: str, send: Send, noted: Noted, began: float
    ) -> None:
        """See to it that a request is answered, whatever happens, and counted.

        Args:
            answering: Sends the answer.
            method: Of HTTP.
            send: Sends what is said instead when that fails.
            noted: Of the request.
            began: When it came, by `time.perf_counter`.
        """
        try:
            await answering
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
            self.count(method, noted, time.perf_counter() - began)

    def count(self, method: str, noted: Noted, seconds: float) -> None:
        """Count and log a request that was answered."""
        if self.metrics is not None:
            self.metrics.answered(noted.route, noted.tier, noted.status, seconds)
        if self.access is not None:
            self.access.add(
                Line(
                    time.time(),
                    noted.request_id.decode(),
                    method,
                    noted.route,
                    noted.status,
                    noted.tier,
                    1_000 * seconds,
                    "" if noted.key is None else noted.key.name,
                    noted.user,
                    noted.generation,
                )
            )

    def refuse_unread(self, problem: ProblemError) -> tuple[list[tuple[bytes, bytes]], bytes]:
        """What is answered to what is no request, or one that is not read to its end; counted.

        Returns:
            Headers and body.
        """
        noted = Noted(self.ids.of(None))
        message = completed(problem.status, list(headers_of(problem)), noted)
        self.admission.refusal("malformed", problem)
        self.count("?", noted, 0.0)
        return message["headers"], render_problem(problem)

    async def _answered(
        self, scope: Scope, receive: Receive, send: Send, head: Head, noted: Noted
    ) -> None:
        method, path = scope["method"], scope["path"]
        self.admission.let_in(path, method, scope["headers"], head, noted)
        hot = None
        if method == "GET" and head.length is None and not scope.get("root_path"):
            hot = self.lists(path)
        if hot is None:
            await self._pass_on(scope, receive, noting(send, noted), head)
            return
        listing, item = hot
        body = await listing.body(noted, item, scope["query_string"])
        whole = scope.get("extensions", _NO_EXTENSIONS).get(WHOLE)
        if whole is None or not whole(send, head_of_list(len(body), noted), body):
            await send_list(send, body, noted)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send, head: Head) -> None:
        scope["app"] = self  # Starlette then raises what it would else send as plain text
        if head.length is not None or scope["method"] not in READING:
            receive = self._bounded(receive, head.length)
        await self.app(scope, receive, send)

    def _bounded(self, receive: Receive, length: bytes | None) -> Receive:
        """What is sent along, up to its limit.

        Raises:
            ProblemError: At once when it says that it is larger, else when it turns out to be, or
                takes too long to come.
        """
        most = self.limits.body_bytes
        detail = f"Send at most {most:,} bytes in one request."
        if length is not None and length.isdigit() and int(length) > most:
            raise self.admission.refusal("size", ProblemError(413, detail))
        taken, is_whole = 0, False
        until = asyncio.get_running_loop().time() + self.limits.seconds

        async def bounded() -> Message:
            nonlocal taken, is_whole
            try:
                async with asyncio.timeout_at(None if is_whole else until):
                    message = await receive()
            except TimeoutError:
                late = f"The body did not arrive within {self.limits.seconds:g} s. Send it again."
                raise self.admission.refusal("time", ProblemError(408, late)) from None
            is_whole = not message.get("more_body", False)
            taken += len(message.get("body", b""))
            if taken > most:
                raise self.admission.refusal("size", ProblemError(413, detail))
            return message

        return bounded


async def send_list(send: Send, body: bytes, noted: Noted) -> None:
    """Send the answer of a list as messages."""
    length = (b"content-length", b"%d" % len(body))
    await send(completed(200, [JSON, length], noted))
    await send({"type": "http.response.body", "body": body})
