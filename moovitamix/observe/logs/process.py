"""This process's one way to the GELF server, and the handlers that feed it.

Handlers come and go: Dagster makes one for each run, and closes those it finds when it does. The
queue and the connection stay until the process ends.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from pathlib import Path
from typing import TextIO

from moovitamix import __version__
from moovitamix.observe.logs.address import read_address
from moovitamix.observe.logs.entries import OURS, entry_of
from moovitamix.observe.logs.gelf import Entry, Value, encode
from moovitamix.observe.logs.lines import FORMATTERS, format_for
from moovitamix.observe.logs.shipping import CLOSING_SECONDS, Shipper
from moovitamix.settings import get_settings


class Post:
    """Encodes entries, and hands them to a shipper.

    Args:
        url: Of the server.
        service: What this process is: `api`, `run`, `daemon`, …
        namespace: Of the platform, where several share a server.
    """

    def __init__(self, url: str, service: str, namespace: str) -> None:
        address = read_address(url)
        self._host = socket.gethostname()
        self._static: dict[str, Value] = {
            "service": service,
            "namespace": namespace,
            "version": __version__,
        }
        self.shipper = Shipper(address.connect, str(address), self._lost)

    def send(self, entry: Entry) -> None:
        """Send an entry, some time; returns at once."""
        static = {**self._static, "process": os.getpid()}
        self.shipper.put(encode(entry, self._host, static))

    def _lost(self, count: int) -> bytes:
        said = f"{count} older log messages were dropped: the server was down, or too slow."
        fields: dict[str, Value] = {"logger": "graylog", "dropped": count}
        entry = Entry(at=time.time(), level=logging.WARNING, message=said, fields=fields)
        return encode(entry, self._host, {**self._static, "process": os.getpid()})


# Without a lock, which a process could be forked under: two that come at once both make one, of
# which one is kept, and a queue that nothing was put into has no thread.
_posts: dict[str, Post] = {}


def post(service: str) -> Post | None:
    """The post of this process, made at the first call; None where no server is configured.

    Args:
        service: What the process is, if nobody has said so before.

    Raises:
        SettingsError: When the address is none.
    """
    settings = get_settings()
    url = settings.gelf_url
    if url is None:
        return None
    found = _posts.get(url)
    return found or _posts.setdefault(url, Post(url, service, settings.namespace))


def close(seconds: float = CLOSING_SECONDS) -> None:
    """Send what waits, within so many seconds; what is logged from then on goes a new way."""
    while _posts:
        _, one = _posts.popitem()
        one.shipper.close(seconds)


class GelfHandler(logging.Handler):
    """Hands records to the post of this process; does nothing where no server is configured.

    Named in `dagster.yaml`, from where Dagster gives it every record of a run.

    Args:
        service: What the process is.
        level: Of `logging`. Of what is said in words, INFO is the least in any case; events of
            Dagster have levels of their own sense, and are chosen by kind.
    """

    def __init__(self, service: str = "run", level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self._service = service

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`; never raises, and never waits."""
        if record.levelno < logging.INFO and not hasattr(record, "dagster_event"):
            return
        try:
            found = post(self._service)
            if found is None:
                return
            entry = entry_of(record)
            if entry is not None:
                found.send(entry)
        except Exception as error:  # noqa: BLE001 - a log that fails must not fail what it tells of
            # Not by `handleError`, which would print the record.
            print(f"A log message was not shipped: {type(error).__name__}", file=sys.stderr)  # noqa: T201 - logging is what failed

    def flush(self) -> None:
        """Nothing: Dagster calls it for all handlers it finds, and would wait for the server."""


class _NotOfRuns(logging.Filter):
    """Leaves out what is told by the handler of its run."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not hasattr(record, "dagster_meta")


def attach(service: str, *, stream: TextIO | None = None) -> list[logging.Handler]:
    """Have everything that this process logs shipped and, with a stream, written there as lines.

    Called again, it replaces what it attached before.

    Args:
        service: What the process is.
        stream: Where lines go; None: they are somebody else's business.

    Raises:
        SettingsError: When the address of the server is none.
    """
    root = logging.getLogger()
    detach()
    handlers: list[logging.Handler] = []
    if post(service) is not None:
        shipping = GelfHandler(service)
        shipping.addFilter(_NotOfRuns())
        handlers.append(shipping)
    if stream is not None:
        writing = logging.StreamHandler(stream)
        writing.setFormatter(FORMATTERS[format_for(get_settings().log_format, stream)]())
        handlers.append(writing)
        logging.getLogger(OURS).setLevel(logging.INFO)
    for handler in handlers:
        root.addHandler(handler)
    _attached.extend(handlers)
    return handlers


_attached: list[logging.Handler] = []


def detach() -> None:
    """Undo `attach`."""
    for handler in _attached:
        logging.getLogger().removeHandler(handler)
    _attached.clear()


def service_of(script: str) -> str:
    """What a process is that runs a console script of Dagster's."""
    name = Path(script).name
    return {"dagster": "code-location"}.get(name, name.removeprefix("dagster-"))
