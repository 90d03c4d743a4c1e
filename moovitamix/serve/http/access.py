"""The access log: a line a request, written in the background, without personal values.

Lines are put into words where they are added, many at a time: a thread that did it would take the
interpreter from the requests that come meanwhile, which costs these more than the words do.

Users have the names of `observe/logs/pseudonyms.py`, queries are not logged. With a server for
logs, it is sent the same.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections import deque
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from functools import lru_cache
from itertools import chain
from typing import Protocol, TextIO

import msgspec

from moovitamix.observe.logs.gelf import Entry, Value
from moovitamix.observe.logs.lines import Format, format_for
from moovitamix.observe.logs.process import post
from moovitamix.observe.logs.pseudonyms import Pseudonyms, log_key
from moovitamix.settings import Settings

log = logging.getLogger(__name__)

_EVERY = 0.25
# Lines that are put into words at once, which takes a third of a millisecond at most.
_AT_ONCE: dict[Format, int] = {"json": 128, "text": 32}
# Of these pieces so many wait for who reads too slowly; then the oldest are lost.
_WAITING = 1_000
_DAY = 86_400


class Line(msgspec.Struct, omit_defaults=True):
    """What is logged of a request; `at` in seconds since 1970."""

    at: float
    request_id: str
    method: str
    route: str
    status: int
    tier: str
    milliseconds: float
    key: str
    user: int | str | None = None
    generation: str = ""


class Post(Protocol):
    """What takes entries to a server."""

    def send(self, entry: Entry) -> None:
        """Send one, some time; returns at once."""


class AccessLog:
    """Takes lines without waiting, and writes them from a thread of its own.

    Args:
        stream: Where they go.
        users: What users are called; None: names that end with this log.
        form: JSON, or text for people.
        post: Where they are sent, too; None: nowhere.
    """

    def __init__(
        self,
        stream: TextIO = sys.stderr,
        *,
        users: Pseudonyms | None = None,
        form: Format = "json",
        post: Post | None = None,
    ) -> None:
        self._stream = stream
        self._encoder = msgspec.json.Encoder()
        self._users = users or Pseudonyms()
        self._form = form
        self._post = post
        self._lines: deque[Line] = deque()
        self._pieces: deque[tuple[str, list[Line]]] = deque(maxlen=_WAITING)
        self._at_once = _AT_ONCE[form]
        self._in_order = threading.Lock()
        self._is_read = True
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    def add(self, line: Line) -> None:
        """Log a request."""
        self._lines.append(line)
        if len(self._lines) >= self._at_once:
            self._word()

    def close(self) -> None:
        """Write what is left."""
        self._stopping.set()
        self._thread.join(timeout=2)

    def _word(self) -> None:
        """Put the lines that are there into words."""
        with self._in_order:
            lines = [self._lines.popleft() for _ in range(len(self._lines))]
            if not lines or not (self._is_read or self._post):
                return
            try:
                named = [self._named(line) for line in lines]
                self._pieces.append((self._words(named), named if self._post else []))
            except Exception:  # a request is not to fail for its line
                log.exception("%d lines of the access log are lost", len(lines))

    def _words(self, lines: list[Line]) -> str:
        if self._form == "json":
            return self._encoder.encode_lines(lines).decode()
        return "".join(map(_text, lines))

    def _loop(self) -> None:
        ended = False
        while not ended:
            ended = self._stopping.wait(_EVERY)
            self._word()
            pieces = [self._pieces.popleft() for _ in range(len(self._pieces))]
            if pieces and self._is_read:
                self._is_read = self._written(words for words, _ in pieces)
            if self._post is not None:
                for line in chain.from_iterable(lines for _, lines in pieces):
                    self._post.send(_entry(line))
            elif not self._is_read:
                return

    def _written(self, words: Iterable[str]) -> bool:
        """Write lines; False when nobody reads the log any more."""
        try:
            self._stream.writelines(words)
            self._stream.flush()
        except (OSError, ValueError):
            return False
        return True

    def _named(self, line: Line) -> Line:
        if isinstance(line.user, int):
            line.user = self._users.of(line.user, _day(int(line.at // _DAY)))
        return line


@lru_cache(maxsize=2)
def _day(number: int) -> date:
    """A UTC day by its number since 1970."""
    return date(1970, 1, 1) + timedelta(days=number)


def access_log_of(settings: Settings) -> AccessLog:
    """The access log of a process of the API, on standard error."""
    try:
        users = Pseudonyms(log_key(settings))
    except OSError as error:
        log.warning("Users' names in this log end with the process: %s.", type(error).__name__)
        users = Pseudonyms()
    form = format_for(settings.log_format, sys.stderr)
    return AccessLog(sys.stderr, users=users, form=form, post=post("api"))


def _entry(line: Line) -> Entry:
    fields: dict[str, Value] = {
        "logger": "access",
        "request_id": line.request_id,
        "method": line.method,
        "route": line.route,
        "status": line.status,
        "milliseconds": round(line.milliseconds, 3),
    }
    told = {"tier": line.tier, "key": line.key, "user": line.user, "generation": line.generation}
    fields |= {name: value for name, value in told.items() if value}
    level = logging.INFO if line.status < 500 else logging.ERROR
    return Entry(
        at=line.at,
        level=level,
        message=f"{line.method} {line.route} {line.status}",
        fields=fields,
    )


def _text(line: Line) -> str:
    at = datetime.fromtimestamp(line.at).astimezone()
    told = {"user": line.user, "key": line.key, "id": line.request_id}
    more = " ".join(f"{name}={value}" for name, value in told.items() if value)
    return (
        f"{at:%H:%M:%S} {line.status} {line.method:<6} {line.route} {line.milliseconds:.1f} ms"
        f"{f' {line.tier}' if line.tier else ''}  {more}\n"
    )
