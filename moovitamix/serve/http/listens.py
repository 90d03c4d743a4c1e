"""The route `POST /listens`: takes in what was heard, durable before it is acknowledged.

How it is written is told in `taking.py`, what becomes of it in lists in `freshener.py`. The natural
key of a play is the warehouse's: user, the record's `created_at`, track, and which of several plays
of that track in the record it is. So the same record may be sent again, and pulled from the source
before or after: it counts once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
from starlette.types import Receive, Scope, Send

from moovitamix.errors import StoreUnavailable
from moovitamix.ingest.contract import LISTENS, ListenRecord
from moovitamix.ingest.deal import CLOCK_ERROR
from moovitamix.ingest.decode import Rejected, decode_one_by_one
from moovitamix.serve.http.bodies import read_body, send_accepted
from moovitamix.serve.http.group_commit import GroupCommit
from moovitamix.serve.http.noted import Noted
from moovitamix.serve.http.problems import ProblemError
from moovitamix.serve.http.taking import Play, Sent, TakenIn
from moovitamix.settings import get_settings

ROUTE = "/listens"

# More would keep others waiting: they share a transaction, or wait for it. As many of one track are
# within what `nth` holds, 32,767.
MOST_PLAYS = 10_000

# So many faults are told; what comes after them is not looked at.
_FAULTS_TOLD = 20
# A larger body is read beside the event loop: it would hold up everybody for tens of milliseconds.
_AT_ONCE = 16_384
_RETRY_AFTER = {"Retry-After": "1"}


class ListensRoute:
    """The route, as a plain ASGI application.

    Args:
        commits: Writes.
        told: Called with the users of whom something new is on disk, in the event loop.
        present: The present, with a zone.
    """

    def __init__(
        self,
        commits: GroupCommit[Sent, tuple[TakenIn, frozenset[int]]],
        told: Callable[[frozenset[int]], None],
        present: Callable[[], datetime] = lambda: get_settings().present(),
    ) -> None:
        self._commits = commits
        self._told = told
        self._present = present

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request.

        Raises:
            ProblemError: When a record breaks the contract, or Postgres does not answer: then
                nothing of it was taken in, or all was and may be sent again.
        """
        noted: Noted = scope["noted"]
        noted.route = ROUTE
        body, now = await read_body(receive), self._present()
        if len(body) > _AT_ONCE:
            sent = await asyncio.to_thread(read_listens, body, now)
        else:
            sent = read_listens(body, now)
        try:
            taken, users = await self._commits.commit(sent, len(sent.plays))
        except StoreUnavailable as error:
            raise ProblemError(503, str(error), _RETRY_AFTER) from error
        if users:
            self._told(users)
        await send_accepted(send, taken)


def read_listens(body: bytes, now: datetime) -> Sent:
    """The plays in the body of a request: a listen record as the source sends it, or a list.

    Raises:
        ProblemError: When it is neither, or any record breaks the contract.
    """
    try:
        found: Any = msgspec.json.decode(body, type=list[msgspec.Raw] | dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProblemError(
            422, "Send a listen record as JSON, or a list of them, as GET /listen_history has them."
        ) from error
    raws = found if isinstance(found, list) else [body]
    if len(raws) > MOST_PLAYS:
        raise _too_many(f"More records ({len(raws):,})")
    updated: dict[Play, datetime] = {}
    for record in _checked(raws, now):
        heard: Counter[int] = Counter()
        for track in record.items:
            heard[track] += 1
            play = Play(record.user_id, record.created_at, track, heard[track])
            updated[play] = min(record.updated_at, updated.get(play, record.updated_at))
        if len(updated) > MOST_PLAYS:
            raise _too_many("More plays")
    return Sent(list(updated), list(updated.values()))


def _too_many(sent: str) -> ProblemError:
    return ProblemError(
        422,
        f"{sent} at once than can be taken in; nothing was. Send {MOST_PLAYS:,} plays at most in "
        "one request.",
    )


def _checked(raws: Sequence[bytes | msgspec.Raw], now: datetime) -> list[ListenRecord]:
    """The records.

    Raises:
        ProblemError: When any breaks the contract: of so many as are told.
    """
    latest = now.astimezone(UTC).replace(tzinfo=None) + CLOCK_ERROR
    good: list[ListenRecord] = []
    faults: list[dict[str, str]] = []
    place = 0
    for place, found in enumerate(decode_one_by_one(LISTENS, raws), start=1):
        if isinstance(found, Rejected):
            faults.append(_fault(place, found.field, found.reason))
        else:
            record = cast("ListenRecord", found)
            if record.created_at <= latest and record.updated_at <= latest:
                good.append(record)
                continue
            name = "created_at" if record.created_at > latest else "updated_at"
            faults.append(_fault(place, name, "Dated further ahead than clocks err"))
        if len(faults) == _FAULTS_TOLD:
            break
    if faults:
        raise ProblemError(
            422,
            f"{len(faults)} of the first {place} records break the contract; nothing of the "
            f"{len(raws)} was taken in. Correct them and send all again.",
            errors=faults,
        )
    return good


def _fault(place: int, name: str | None, reason: str) -> dict[str, str]:
    return {"parameter": f"[{place - 1}]" + (f".{name}" if name else ""), "detail": reason}
