"""GELF 1.1: what is logged as a message that a Graylog server takes by TCP.

Source: "GELF Payload Specification, version 1.1" in Graylog's documentation. How messages get
there is told in `shipping.py`, what is made a field in `entries.py`.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from functools import lru_cache

import msgspec

Value = str | int | float
"""What an additional field may hold."""

_LEAST_LEVELS = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
)
_DEBUG = 7
_NOT_IN_NAMES = re.compile(r"[^\w.\-]", re.ASCII)
# Longer strings are not indexed: a term of Lucene's has 32,766 bytes, a character up to four.
_LONGEST_FIELD = 8_000
_LONGEST_MESSAGE = 4_000
_LONGEST_FULL = 32_000
_INT64 = 1 << 63


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was said.

    Attributes:
        at: When, in seconds since 1970.
        level: Of `logging`.
        message: What, in one line where possible.
        full: More of it, such as a trace; empty: nothing.
        fields: By name: run, step, asset, …
    """

    at: float
    level: int
    message: str
    full: str = ""
    fields: Mapping[str, Value]


def syslog_level(level: int) -> int:
    """The number that syslog, and so GELF, has for a level of `logging`."""
    return next((number for least, number in _LEAST_LEVELS if level >= least), _DEBUG)


@lru_cache(maxsize=1_000)
def field_name(name: str) -> str:
    """An additional field's name: `_` before it, nothing but what is allowed, and never `_id`."""
    cleaned = _NOT_IN_NAMES.sub("_", name)
    return "_id_" if cleaned == "id" else f"_{cleaned or 'unnamed'}"


def encode(entry: Entry, host: str, static: Mapping[str, Value]) -> bytes:
    """One message, with the null byte that ends it.

    Args:
        entry: What was said.
        host: Where.
        static: Fields of every message of this process; those of the entry come before them.
    """
    message: dict[str, Value] = {
        "version": "1.1",
        "host": host or "unknown",
        # May not be empty.
        "short_message": _text(entry.message, _LONGEST_MESSAGE).strip() or "-",
        "timestamp": round(entry.at, 3),
        "level": syslog_level(entry.level),
    }
    if entry.full:
        message["full_message"] = _text(entry.full, _LONGEST_FULL)
    for fields in (static, entry.fields):
        for name, value in fields.items():
            told = _value(value)
            if told is not None:
                message[field_name(name)] = told
    # JSON writes a null byte inside a string as an escape: the one that ends the message is alone.
    return msgspec.json.encode(message) + b"\0"


def _value(value: Value) -> Value | None:
    if isinstance(value, str):
        return _text(value, _LONGEST_FIELD)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if -_INT64 <= value < _INT64 else str(value)


def _text(text: str, longest: int) -> str:
    """At most so many characters, of which none is half a surrogate pair."""
    cut = text if len(text) <= longest else text[: longest - 1] + "…"
    return cut if cut.isascii() else cut.encode("utf-8", "replace").decode()
