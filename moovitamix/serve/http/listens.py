"""The route `POST /listens`: takes in what was heard, durable before it is acknowledged.

How it is written is told in `taking.py`, what becomes of it in lists in `freshener.py`. The natural
key of a play is the warehouse's: user, the record's `created_at`, track, and which of several plays
of that track in the record it is. So the same record may be sent again, and pulled from the source
before or after: it counts once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
from starlette.types import Receive, Scope, Send

from moovitamix.errors import StoreUnavailable
from moovitamix.ingest.contract import LISTENS, ListenRecord
from moovitamix.ingest.deal import CLOCK_ERROR
from moovitamix.ingest.decode import decode_records
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

# Of so many faults the first are told.
_FAULTS_TOLD = 20
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
        sent = read_listens(await read_body(receive), self._present())
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
    records, faults = _checked(raws, now)
    if faults:
        raise ProblemError(
            422,
            f"{len(faults)} of {len(raws)} records break the contract; nothing was taken in. "
            "Correct them and send all again.",
            errors=faults[:_FAULTS_TOLD],
        )
    updated: dict[Play, datetime] = {}
    for record in records:
        heard: Counter[int] = Counter()
        for track in record.items:
            heard[track] += 1
            play = Play(record.user_id, record.created_at, track, heard[track])
            updated[play] = min(record.updated_at, updated.get(play, record.updated_at))
    if len(updated) > MOST_PLAYS:
        raise ProblemError(
            422,
            f"{len(updated):,} plays at once; nothing was taken in. Send {MOST_PLAYS:,} at most in "
            "one request.",
        )
    return Sent(list(updated), list(updated.values()))


def _checked(
    raws: Sequence[bytes | msgspec.Raw], now: datetime
) -> tuple[list[ListenRecord], list[dict[str, str]]]:
    latest = now.astimezone(UTC).replace(tzinfo=None) + CLOCK_ERROR
    good: list[ListenRecord] = []
    faults: list[dict[str, str]] = []
    for place, raw in enumerate(raws):
        records, rejected = decode_records(LISTENS, [raw])
        name, reason = (rejected[0].field, rejected[0].reason) if rejected else (None, "")
        for record in cast("list[ListenRecord]", records):
            if record.created_at > latest or record.updated_at > latest:
                name = "created_at" if record.created_at > latest else "updated_at"
                reason = "Dated further ahead than clocks err"
            else:
                good.append(record)
        if reason:
            where = f"[{place}]" + (f".{name}" if name else "")
            faults.append({"parameter": where, "detail": reason})
    return good, faults
