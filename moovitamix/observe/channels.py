"""Where alerts are sent to: channels named by Apprise URLs, and one message to one of them.

A channel is called by its scheme and a hash of its URL, in tables, logs and on screens: the URL
itself mostly holds a password or a token. What is sent, and when, is the business of `outbox.py`.
"""

from __future__ import annotations

import hashlib
import logging
import re
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from moovitamix.observe.conditions import Severity

if TYPE_CHECKING:
    from apprise import AppriseAsset, NotifyBase, NotifyType

# A comma may also be within a URL: it divides only where another URL follows.
_BETWEEN = re.compile(r"[\s,]+(?=[A-Za-z][A-Za-z0-9+.-]*://)")

# Apprise and the libraries it sends by write addresses, and so tokens, to their logs.
_TALKATIVE = ("apprise", "urllib3.connectionpool", "requests_oauthlib", "mail.log")

# Shorter parts of a URL are words such as `to` or `1`, and hiding them would hide the reason.
_LEAST_SECRET = 4


@dataclass(frozen=True)
class Channel:
    """Where to send.

    Attributes:
        url: For Apprise; never shown.
    """

    url: str = field(repr=False)

    @property
    def scheme(self) -> str:
        """What kind of channel it is: `mailto`, `slack`, `json`."""
        return self.url.partition("://")[0].lower()

    @property
    def is_mail(self) -> bool:
        """Whether it takes a page of HTML as it is."""
        return self.scheme in {"mailto", "mailtos"}

    @property
    def name(self) -> str:
        """What it is called everywhere: tells it from others, and tells nothing of its secrets."""
        return f"{self.scheme}-{hashlib.sha256(self.url.encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class Sent:
    """What came of a message: None, or why it was not taken, without secrets."""

    fault: str | None


def read_channels(urls: str | None) -> list[Channel]:
    """The channels of a setting, each once."""
    parts = _BETWEEN.split(urls.strip(" \t\r\n,")) if urls else []
    return [Channel(url) for url in dict.fromkeys(part.strip(" \t\r\n,") for part in parts) if url]


def is_understood(channel: Channel) -> bool:
    """Whether Apprise can make something of the URL. Sends nothing."""
    with _in_silence():
        return _open(channel) is not None


def send(
    channel: Channel, title: str, body: str, severity: Severity | None, *, page: str | None = None
) -> Sent:
    """Send one message, and wait until it was taken or refused.

    Args:
        channel: Where to.
        title: In a line.
        body: Plain text.
        severity: Of the worst in it; None where all is over, or nothing is wrong.
        page: The same as HTML, which mail gets instead.
    """
    from apprise import NotifyFormat

    with _in_silence() as overheard:
        opened = _open(channel)
        if opened is None:
            return Sent("Apprise does not understand its URL: correct the setting that holds it.")
        as_page = page is not None and channel.is_mail
        try:
            taken = opened.notify(
                body=page if as_page else body,
                title=title,
                notify_type=_type(severity),
                body_format=NotifyFormat.HTML if as_page else NotifyFormat.TEXT,
            )
        except Exception as error:  # noqa: BLE001 - whatever a plugin raises, the alert is kept
            return Sent(f"{type(error).__name__} while sending")
    if taken:
        return Sent(None)
    said = overheard[-1] if overheard else "It was not taken"
    return Sent(_without_secrets(said, channel))


def _open(channel: Channel) -> NotifyBase | None:
    from apprise import Apprise

    return Apprise.instantiate(channel.url, asset=_asset(), suppress_exceptions=True)


def _asset() -> AppriseAsset:
    from apprise import AppriseAsset, PersistentStoreMode

    return AppriseAsset(
        app_id="MoovitaMix",
        app_desc="MoovitaMix",
        app_url="",
        storage_mode=PersistentStoreMode.MEMORY,
        secure_logging=True,
    )


def _type(severity: Severity | None) -> NotifyType:
    from apprise import NotifyType

    types = {
        "critical": NotifyType.FAILURE,
        "warning": NotifyType.WARNING,
        "info": NotifyType.INFO,
        None: NotifyType.SUCCESS,
    }
    return types[severity]


def _without_secrets(said: str, channel: Channel) -> str:
    """Words of a library, without any part of the channel's URL that may be a secret."""
    parts = re.split(r"[/@:?&=,]+", channel.url.partition("://")[2])
    hidden = {form for part in parts for form in (part, urllib.parse.unquote(part))}
    for part in sorted(hidden, key=len, reverse=True):
        if len(part) >= _LEAST_SECRET:
            said = said.replace(part, "••••")
    return " ".join(said.split())[:300]


_overheard: ContextVar[list[str] | None] = ContextVar("_overheard", default=None)


class _Discretion(logging.Filter):
    """Keeps what is logged while something is sent to those who ask; lets all else pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        heard = _overheard.get()
        if heard is None:
            return True
        if record.levelno >= logging.WARNING:
            heard.append(record.getMessage())
        return False


_discretion = _Discretion()


@contextmanager
def _in_silence() -> Iterator[list[str]]:
    """Nothing that is logged on the way gets to a log; the warnings are in what is yielded."""
    for name in _TALKATIVE:
        logging.getLogger(name).addFilter(_discretion)  # once, however often it is added
    heard: list[str] = []
    token = _overheard.set(heard)
    try:
        yield heard
    finally:
        _overheard.reset(token)
