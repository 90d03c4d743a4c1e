"""What is noted of a request on its way, and how the head of its answer tells it.

Who notes and counts it is told in `gate.py`.
"""

from __future__ import annotations

from typing import Protocol

from starlette.types import Message, Send

from moovitamix.serve.http.keys import ApiKey
from moovitamix.serve.http.limits import TokenBucket

JSON = (b"content-type", b"application/json")


class Noted:
    """A request on its way: what a route tells of it, and what is counted and logged.

    Attributes:
        request_id: Sent along, or given here.
        route: The path with names for ids.
        tier: Of the answer.
        generation: Of the answer.
        user: Whom it is about.
        status: Of the answer.
        started: Whether its head has been sent.
        key: That was shown.
        bucket: Of that key.
    """

    __slots__ = (
        *("bucket", "generation", "key", "request_id", "route", "started", "status", "tier"),
        "user",
    )

    def __init__(self, request_id: bytes) -> None:
        self.request_id = request_id
        self.route = "other"
        self.tier = ""
        self.generation = ""
        self.user: int | None = None
        self.status = 500
        self.started = False
        self.key: ApiKey | None = None
        self.bucket: TokenBucket | None = None


class Listing(Protocol):
    """A route whose answers are lists."""

    async def body(self, noted: Noted, item: str, query: bytes) -> bytes:
        """The JSON of an answer.

        Args:
            noted: What is told of it is noted here.
            item: The id in the path.
            query: As it came.

        Raises:
            ProblemError: When there is no such answer.
        """


def noting(send: Send, noted: Noted) -> Send:
    """Sends what an application sends, its head completed."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = completed(message["status"], list(message.get("headers", ())), noted)
        await send(message)

    return sending


def completed(status: int, headers: list[tuple[bytes, bytes]], noted: Noted) -> Message:
    """The head of an answer; what it says is noted."""
    noted.started = True
    noted.status = status
    headers.append((b"x-request-id", noted.request_id))
    bucket = noted.bucket
    if bucket is not None:
        headers.append((b"ratelimit-policy", bucket.policy))
        headers.append((b"ratelimit", b'"default";r=%d;t=1' % bucket.left))
    return {"type": "http.response.start", "status": status, "headers": headers}


def head_of_list(length: int, noted: Noted) -> bytes:
    """The same for the answer of a list, as lines; nothing in them needs to be escaped.

    Args:
        length: Bytes of the answer.
        noted: Its id is checked in `heads.py`.
    """
    noted.started = True
    noted.status = 200
    told = length, noted.request_id
    lines = b"content-type: application/json\r\ncontent-length: %d\r\nx-request-id: %b\r\n" % told
    bucket = noted.bucket
    if bucket is None:
        return lines
    limits = b'ratelimit-policy: %b\r\nratelimit: "default";r=%d;t=1\r\n'
    return lines + limits % (bucket.policy, bucket.left)
