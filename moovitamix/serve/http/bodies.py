"""The bodies of routes that take something in: read in full, and answered when it is on disk."""

from __future__ import annotations

import msgspec
from starlette.types import Receive, Send

from moovitamix.serve.http.problems import ProblemError

_JSON = (b"content-type", b"application/json")


async def read_body(receive: Receive) -> bytes:
    """What was sent along; its size is bounded by the gate.

    Raises:
        ProblemError: When it did not arrive in full.
    """
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ProblemError(400, "The body did not arrive in full. Send it again.")
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


async def send_accepted(send: Send, told: msgspec.Struct) -> None:
    """Answer 202 with what came of it, as JSON."""
    body = msgspec.json.encode(told)
    headers = [_JSON, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 202, "headers": headers})
    await send({"type": "http.response.body", "body": body})
