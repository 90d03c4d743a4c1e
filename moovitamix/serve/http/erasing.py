"""`DELETE /users/{id}`: a user is erased as `moovitamix users erase` does it, everywhere at once.

What is erased is told in `moovitamix/erasure.py`, who may ask for it in `gate.py`. It waits for
whoever works with users' data, so it may take longer than a request may: it goes on in a thread of
its own, and who asks again is told how it went.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import psycopg
import redis
from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, Field

from moovitamix.errors import NothingToDo, StoreUnavailable
from moovitamix.serve.http.problems import MEDIA_TYPE, ProblemError

if TYPE_CHECKING:
    from moovitamix.erasure import Erasure
    from moovitamix.serve.http.forgetting import Forgetting

log = logging.getLogger(__name__)

T = TypeVar("T")

ROUTE = "/users/{id}"
_RETRY_AFTER = "5"
# Erasing reads all files: for so many at once there is the command, which reads them once.
_MOST = 100
_INT64 = 1 << 63

UserId = Annotated[int, Path(ge=-_INT64, lt=_INT64, json_schema_extra={"format": "int64"})]


class ErasedUser(BaseModel):
    """What became of a user's data. All counts are 0 where there was nothing, or nothing more."""

    user_id: int
    state: Literal["erased", "under way"] = Field(
        description="`under way`: it waits for a run that works with users' data, or takes longer "
        "than a request may. Ask again to hear how it went."
    )
    rows: dict[str, int] = Field(default={}, description="Deleted rows, by table.")
    raw_files: int = Field(default=0, description="Files of the lake, written again without them.")
    features: int = Field(default=0, description="Files of features, written again.")
    matrices: int = Field(default=0, description="Matrices, written again or removed.")
    models: int = Field(default=0, description="Models, whose factors of the user are gone.")
    keys: int = Field(default=0, description="Keys of the cache, in all living generations.")
    exported: int = Field(default=0, description="Rows of exports on that machine.")
    exports_elsewhere: int = Field(
        default=0, description="Exports that are not on that machine and may hold the user still."
    )


class Erasing:
    """Erasures that were asked for by requests, of which one is done at a time.

    Args:
        erase: Erases a user; it may wait for long.
        forgetting: Hides the user from this process' answers at once.
        within: Seconds that a request waits for the end.
    """

    def __init__(
        self, erase: Callable[[int], Erasure], forgetting: Forgetting, within: float
    ) -> None:
        self._erase = erase
        self._forgetting = forgetting
        self.within = within
        self._turn = threading.Lock()
        # Waiting, under way, or over and not told to anybody yet.
        self._asked: dict[int, asyncio.Future[Erasure]] = {}
        # What an earlier one has removed, which nobody was told.
        self._before: dict[int, Erasure] = {}

    async def erase(self, user: int) -> Erasure | None:
        """Erase a user, or wait for the erasure that is under way; None: it goes on.

        Raises:
            ProblemError: When too many were asked for that are not done.
            Exception: Whatever kept it from being completed; it has to be asked for again.
        """
        outcome = self._asked.get(user)
        if outcome is not None and outcome.done():
            # Something may have come since: it is erased as well, and both are told.
            del self._asked[user]
            if outcome.exception() is None:
                self._before[user] = outcome.result()
            outcome = None
        if outcome is None:
            if sum(not one.done() for one in self._asked.values()) >= _MOST:
                many = f"{_MOST} users wait already. Ask again, or use `moovitamix users erase`."
                raise ProblemError(503, many, {"Retry-After": _RETRY_AFTER})
            outcome = self._asked[user] = self._begin(user)
        await asyncio.wait([outcome], timeout=self.within)
        if not outcome.done():
            return None
        if self._asked.get(user) is outcome:
            del self._asked[user]
        done = outcome.result()
        before = self._before.pop(user, None)
        return done if before is None else before.and_then(done)

    def _begin(self, user: int) -> asyncio.Future[Erasure]:
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Erasure] = loop.create_future()
        outcome.add_done_callback(asyncio.Future.exception)  # nobody may ask how it went
        self._forgetting.hide(user)

        def work() -> None:
            try:
                with self._turn:  # each takes connections, and they would wait for each other
                    done = self._erase(user)
            except Exception as error:  # noqa: BLE001 - passed on to whoever asks
                self._forgetting.keep(user)
                log.warning("A user was not erased: %s", type(error).__name__)
                _tell(loop, outcome.set_exception, error)
            else:
                self._forgetting.erased(user)
                _tell(loop, outcome.set_result, done)

        # It does not hold up the end of the process: what was begun is completed by the next
        # erasure, what only waited has to be asked for again.
        threading.Thread(target=work, name="erasure", daemon=True).start()
        return outcome


def _tell(loop: asyncio.AbstractEventLoop, told: Callable[[T], None], what: T) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(told, what)


def _problem(told: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": told, "content": {MEDIA_TYPE: {"schema": schema}}}


def erasure_route(erasing: Erasing) -> APIRouter:
    """The route, described for the OpenAPI."""
    router = APIRouter()

    @router.delete(
        ROUTE,
        tags=["people"],
        operation_id="erase_user",
        summary="Erase a user, everywhere",
        description="Everything that is stored under the id goes: rows of all tables, raw files, "
        "features, matrices, factors, lists of all living generations, exports. No pull brings the "
        "person back; a new account that is given the id is let in. Takes a key of scope `admin`. "
        "May be repeated: where there is nothing, all counts are 0.",
        responses={
            202: {"model": ErasedUser, "description": "It goes on: ask again."},
            409: _problem("The source starts anew, and setting its old world aside is half done."),
            422: _problem("The id is none."),
            503: _problem("A store does not answer: repeat it until it is answered by 200."),
        },
    )
    async def erase(request: Request, response: Response, id: UserId) -> ErasedUser:  # noqa: A002 - the name in the path
        request.scope["noted"].route = ROUTE
        try:
            done = await erasing.erase(id)
        except (StoreUnavailable, psycopg.Error, redis.RedisError, OSError) as error:
            raise ProblemError(
                503,
                "A store does not answer, and the user is not erased everywhere. Repeat the "
                "request until it is answered by 200.",
                {"Retry-After": _RETRY_AFTER},
            ) from error
        except NothingToDo as error:
            raise ProblemError(409, str(error)) from error
        if done is None:
            response.status_code = 202
            response.headers["Retry-After"] = _RETRY_AFTER
            return ErasedUser(user_id=id, state="under way")
        return ErasedUser(
            user_id=id,
            state="erased",
            rows=done.rows,
            raw_files=done.files,
            features=done.features,
            matrices=done.matrices,
            models=done.models,
            keys=done.keys,
            exported=done.exported,
            exports_elsewhere=len(done.elsewhere),
        )

    return router
