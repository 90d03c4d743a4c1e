"""Entries as lines: for people at a terminal, or as JSON for whatever reads logs.

Requests have a form of their own, in `serve/http/access.py`.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Literal, TextIO

import msgspec

from moovitamix.observe.logs.entries import entry_of

Format = Literal["text", "json"]

# Beside the sentence, what a person at a terminal wants to see of it.
_SHOWN = ("request_id", "run", "step", "asset", "partition", "sensor", "generation")


def format_for(configured: str, stream: TextIO) -> Format:
    """Text or JSON, as configured; `auto`: text for a terminal, JSON for everything else."""
    if configured == "text":
        return "text"
    if configured == "json":
        return "json"
    return "text" if stream.isatty() else "json"


class TextLines(logging.Formatter):
    """A line a record: when, how bad, what, and where it belongs; below it the trace."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        entry = entry_of(record)
        if entry is None:
            return record.getMessage()
        at = datetime.fromtimestamp(entry.at).astimezone()
        shown = [f"{name}={entry.fields[name]}" for name in _SHOWN if name in entry.fields]
        line = " ".join([f"{at:%H:%M:%S}", f"{record.levelname:<7}", entry.message, *shown])
        return f"{line}\n{entry.full}" if entry.full else line


class JsonLines(logging.Formatter):
    """A JSON object a record; `at` in UTC, the fields beside the sentence."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        entry = entry_of(record)
        if entry is None:
            return json_line({"message": record.getMessage()})
        line: dict[str, object] = {
            "at": f"{datetime.fromtimestamp(entry.at, UTC):%Y-%m-%dT%H:%M:%S.%f}Z",
            "level": record.levelname,
            "message": entry.message,
            **entry.fields,
        }
        if entry.full:
            line["trace"] = entry.full
        return json_line(line)


def json_line(line: dict[str, object]) -> str:
    """An object as one line."""
    try:
        return msgspec.json.encode(line).decode()
    except UnicodeEncodeError:  # half a surrogate pair, as file names may hold
        return ascii(line)


FORMATTERS: dict[Format, type[logging.Formatter]] = {"text": TextLines, "json": JsonLines}
