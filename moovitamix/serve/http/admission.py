"""Who may ask for what, and how often: keys, their scopes and their rates.

How keys are kept is told in `keys.py`, what becomes of a request that is let in in `gate.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from moovitamix.serve.http.heads import Head
from moovitamix.serve.http.keys import ApiKey, KeyStore, recognize
from moovitamix.serve.http.keys import Scope as KeyScope
from moovitamix.serve.http.limits import TokenBucket
from moovitamix.serve.http.metrics import Metrics
from moovitamix.serve.http.nearby import is_nearby
from moovitamix.serve.http.noted import Noted
from moovitamix.serve.http.problems import ProblemError

# Asked for without a key: by who watches over the process, and by who wants to know how to ask.
OPEN_PATHS = frozenset(
    {"/health/live", "/health/ready", "/docs", "/docs/oauth2-redirect", "/openapi.json"}
)
READING = frozenset({"GET", "HEAD", "OPTIONS"})
# A browser sends no header with a key: the console lets people in by sessions of its own.
_CONSOLE = "/console/"
_ANONYMOUS = ApiKey("anonymous", "admin", "")
_FROM_ELSEWHERE = (
    "Without keys only this machine may ask, under one of its own names (localhost, 127.0.0.1), "
    "and no page of elsewhere. `moovitamix keys create NAME` makes a key for others."
)

Headers = Iterable[tuple[bytes, bytes]]
_Admitted = tuple[ApiKey, TokenBucket | None]


class Admission:
    """Lets requests in.

    Args:
        keys: The keys in force.
        per_second: Requests a second of a key that does not say; None: any number.
        metrics: Where refusals are counted; None: nowhere.
        clock: Seconds, for rates.
    """

    def __init__(
        self,
        keys: KeyStore,
        per_second: float | None,
        metrics: Metrics | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.keys = keys
        self._per_second = per_second
        self._metrics = metrics
        self.clock = clock
        self._buckets: dict[ApiKey, TokenBucket] = {}
        self._known: dict[bytes, _Admitted] = {}
        self._known_of: tuple[ApiKey, ...] | None = None

    def let_in(self, path: str, method: str, headers: Headers, head: Head, noted: Noted) -> None:
        """Note the key of a request, where one is asked for, and take what it costs.

        Raises:
            ProblemError: When it has none, an unknown one, one of too small a scope, or one that
                has used up its requests; without keys, when it comes from elsewhere.
        """
        keys = self.keys.keys
        is_open = path in OPEN_PATHS and method in READING
        is_open = is_open or path == "/" or path.startswith(_CONSOLE)
        if is_open:
            noted.key = _ANONYMOUS if keys is None else None
            return
        if keys is None:
            if not is_nearby(headers):
                raise self.refusal("origin", ProblemError(403, _FROM_ELSEWHERE))
            noted.key, noted.bucket = _ANONYMOUS, self._bucket(_ANONYMOUS)
        else:
            key, bucket = self._recognized(keys, head)
            needed: KeyScope = "read" if method in READING else "write"
            if path.startswith("/admin") or method == "DELETE":  # what is deleted is gone
                needed = "admin"
            if needed != "read" and not key.may(needed):
                detail = f"This key may {key.scope}; this takes a key of scope {needed}."
                raise self.refusal("scope", ProblemError(403, detail))
            noted.key, noted.bucket = key, bucket
        if noted.bucket is not None and not noted.bucket.take():
            raise self.refusal("rate", _too_many(noted.bucket))

    def let_reader_in(self, headers: Headers, head: Head, noted: Noted) -> bool:
        """The same for a GET of a path that is not open, where nothing speaks against it.

        Returns:
            Whether it is let in. Else nothing was taken or counted: `let_in` tells why not, or
            recognizes a key that is shown for the first time.
        """
        keys = self.keys.keys
        if keys is None:
            if not is_nearby(headers):
                return False
            found: _Admitted = _ANONYMOUS, self._bucket(_ANONYMOUS)
        else:
            shown = head.shown
            if keys is not self._known_of or shown is None:
                return False
            known = self._known.get(shown)
            if known is None:
                return False
            found = known
        noted.key, bucket = found
        noted.bucket = bucket
        return bucket is None or bucket.take()

    def refusal(self, reason: str, problem: ProblemError) -> ProblemError:
        """A problem, counted."""
        if self._metrics is not None:
            self._metrics.refused(reason)
        return problem

    def _recognized(self, keys: tuple[ApiKey, ...], head: Head) -> _Admitted:
        shown = head.shown
        if keys is not self._known_of:
            self._known, self._known_of = {}, keys
        known = None if shown is None else self._known.get(shown)
        if known is not None:
            return known
        found = None if shown is None else recognize(keys, shown.decode("latin-1"))
        if shown is None or found is None:
            detail = "Send a key of this API as `Authorization: Bearer …` or `X-API-Key`."
            raise self.refusal("key", ProblemError(401, detail, {"WWW-Authenticate": "Bearer"}))
        # Whoever shows it again need not be compared with all: as many as there are keys.
        known = self._known[shown] = found, self._bucket(found)
        return known

    def _bucket(self, key: ApiKey) -> TokenBucket | None:
        found = self._buckets.get(key)
        if found is None:
            rate = key.per_second or self._per_second
            if rate is None:
                return None
            found = self._buckets[key] = TokenBucket(rate, self.clock)
        return found


def _too_many(bucket: TokenBucket) -> ProblemError:
    wait = bucket.retry_after
    detail = f"This key has used up its requests. Ask again in {wait} s."
    return ProblemError(429, detail, {"Retry-After": str(wait)})
