"""Pages from the source, over HTTP, with patience.

What is in a page is told by `decode.py`; which pages make a pull, by `pull.py`.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self

import aiohttp
import httptools
import tenacity

from moovitamix.errors import SourceContractError, SourceUnavailable
from moovitamix.ingest.connections import MOST_BYTES, Answer, Connections, TooLong, Unusual
from moovitamix.ingest.contract import PAGE_SIZE, Endpoint
from moovitamix.ingest.decode import Page, decode_page
from moovitamix.ingest.request_times import RequestTimes

CONCURRENT_REQUESTS = 16
ATTEMPTS = 6
LONGEST_WAIT_SECONDS = 30.0  # of our own accord
# A source that asks for more had better be left alone until later.
LONGEST_ASKED_SECONDS = 300.0
_TIMEOUT = aiohttp.ClientTimeout(total=60, connect=10)
_ANSWER_SECONDS = 60.0

# Worth another try, as is all from 500 on (there are more than those of HTTP: gateways have made up
# theirs): the server is busy, restarting, or asks for patience.
_PASSING = frozenset({408, 429})


class _PassingTrouble(Exception):
    """An answer, or none, that the next try may mend."""

    def __init__(self, said: str, retry_after: float | None = None) -> None:
        super().__init__(said)
        self.retry_after = retry_after


def _wait(state: tenacity.RetryCallState) -> float:
    """Seconds: exponential back-off with full jitter, never sooner than the server asks for."""
    waited = tenacity.wait_random_exponential(multiplier=0.2, max=LONGEST_WAIT_SECONDS)(state)
    trouble = state.outcome.exception() if state.outcome else None
    asked = trouble.retry_after if isinstance(trouble, _PassingTrouble) else None
    return max(waited, asked or 0)


def token_headers(token: str | None, header: str | None) -> dict[str, str]:
    """The headers that a request to the source carries.

    Args:
        token: None sends none.
        header: The header that holds the bare token; None sends it as a bearer token.
    """
    if token is None:
        return {}
    return {header: token} if header else {"Authorization": f"Bearer {token}"}


class SourceClient:
    """An asynchronous client of one source; use it as a context manager.

    Args:
        url: The root of the source, without a slash at the end.
        token: What the source knows us by, where it asks.
        token_header: See `token_headers`.

    Attributes:
        times: How long requests took so far.
    """

    def __init__(self, url: str, token: str | None = None, token_header: str | None = None) -> None:
        self.url = url
        self.times = RequestTimes()
        self._headers = token_headers(token, token_header)
        self._places = asyncio.Semaphore(CONCURRENT_REQUESTS)
        self._connections: Connections | None = None
        self._complete = False  # whether it takes a complete HTTP client

    async def __aenter__(self) -> Self:
        with suppress(Unusual):
            self._connections = Connections(self.url, self._headers)
        self._session = aiohttp.ClientSession(
            headers=self._headers,
            timeout=_TIMEOUT,
            connector=aiohttp.TCPConnector(limit=CONCURRENT_REQUESTS),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._connections is not None:
            self._connections.close()
        await self._session.close()

    async def page(self, endpoint: Endpoint, number: int) -> Page:
        """One page of an endpoint.

        Args:
            endpoint: Which of the three.
            number: From 1; a page past the end is empty.

        Raises:
            SourceUnavailable: When the source gave no usable answer in `ATTEMPTS` tries, or asks
                to be left alone for more than `LONGEST_ASKED_SECONDS`.
            SourceContractError: When it refuses the request or its answer is no page.
        """
        where = f"{self.url}/{endpoint.name}?page={number}&size={PAGE_SIZE}"
        try:
            try:
                body = await self._body(endpoint, where)
            except _PassingTrouble as trouble:
                body = await self._patiently(endpoint, where, trouble)
        except _PassingTrouble as trouble:
            raise SourceUnavailable(
                f"{where} gave no answer in {ATTEMPTS} tries; the last one: {trouble}. "
                "Nothing was changed. Check the source (MOOVITAMIX_SOURCE_URL) and run again."
            ) from trouble
        return decode_page(endpoint, body, where=where)

    async def _patiently(self, endpoint: Endpoint, where: str, trouble: _PassingTrouble) -> bytes:
        """Try again, and again, after the first try has given trouble.

        The first try is made without tenacity: nearly all succeed, and it takes as long to ask
        for its opinion as to decode a page.
        """
        retrying = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            wait=_wait,
            retry=tenacity.retry_if_exception_type(_PassingTrouble),
            reraise=True,
        )
        async for attempt in retrying:
            with attempt:
                if attempt.retry_state.attempt_number == 1:
                    raise trouble
                return await self._body(endpoint, where)
        raise trouble

    async def _body(self, endpoint: Endpoint, where: str) -> bytes:
        try:
            async with self._places:  # waiting for one's turn is not the source's time
                began = time.perf_counter()
                body = await self._ask(where)
        except (_PassingTrouble, SourceUnavailable, SourceContractError):
            self.times.failed(endpoint.name)
            raise
        self.times.took(endpoint.name, time.perf_counter() - began)
        return body

    async def _ask(self, where: str) -> bytes:
        try:
            answer = await self._answer(where)
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, OSError) as error:
            raise _PassingTrouble(f"{type(error).__name__} {error}".strip()) from error
        except (aiohttp.ClientError, httptools.HttpParserError) as error:
            said, refused = f"with no HTTP that can be read ({type(error).__name__})", False
        except TooLong as error:
            raise SourceContractError(
                f"{where} answered with more than {MOST_BYTES / 2**20:,.0f} MiB, which is no page "
                "of a hundred records. Nothing was stored; tell the source's owner."
            ) from error
        else:
            if answer.status == 200:
                return answer.body
            said = f"HTTP {answer.status} {answer.reason}".strip()
            if answer.status >= 500 or answer.status in _PASSING:
                raise _passing(where, said, _retry_after(answer.retry_after))
            refused = answer.status in {401, 403}
        remedy = (
            "Set MOOVITAMIX_SOURCE_TOKEN to a token it accepts, and MOOVITAMIX_SOURCE_TOKEN_HEADER "
            "where it wants one other than `Authorization: Bearer`."
            if refused
            else "Check that MOOVITAMIX_SOURCE_URL is the root of a MooVitamix source API."
        )
        raise SourceContractError(f"{where} answered {said}. {remedy}")

    async def _answer(self, where: str) -> Answer:
        """By kept connections, until the source asks for more than they can: then by aiohttp."""
        if self._connections is not None and not self._complete:
            try:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    return await self._connections.get(where)
            except Unusual:
                self._complete = True
        async with self._session.get(where) as answer:
            body = bytearray()
            async for piece in answer.content.iter_any():
                body += piece
                if len(body) > MOST_BYTES:
                    raise TooLong
            wait = answer.headers.get("Retry-After")
            return Answer(answer.status, answer.reason or "", bytes(body), wait)


def _passing(where: str, said: str, asked: float | None) -> Exception:
    """What an answer means that the next try may mend, unless it asks for too much patience."""
    if asked is None or asked <= LONGEST_ASKED_SECONDS:
        return _PassingTrouble(said, asked)
    return SourceUnavailable(
        f"{where} answered {said} and asks to be left alone for {asked:,.0f} seconds, more than "
        f"the {LONGEST_ASKED_SECONDS:,.0f} that a pull waits. Nothing was changed. Run again after "
        "that."
    )


def _retry_after(header: str | None) -> float | None:
    """Seconds asked for by a Retry-After header, given as a number or as a date."""
    if header is None:
        return None
    # `isdigit` alone takes digits that are no number to `float`: ², ③.
    if (seconds := header.strip()).isascii() and seconds.isdigit():
        return float(seconds)
    try:
        return max(0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None
