"""Traces that tell where something failed, and of what type it was, without personal values.

The message of an error that somebody else raised may hold anything, a row of a table too: only
ours are passed on. Types and places, with the causes, are told of all.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from typing import Protocol

from moovitamix.errors import MoovitaMixError

_MOST_FRAMES = 40


class _TypeOf(Protocol):
    """What Dagster keeps of an error: `SerializableErrorInfo`."""

    @property
    def message(self) -> str: ...
    @property
    def stack(self) -> list[str]: ...
    @property
    def cls_name(self) -> str | None: ...
    @property
    def cause(self) -> _TypeOf | None: ...
    @property
    def context(self) -> _TypeOf | None: ...


def discreet_trace(error: BaseException) -> str:
    """The trace of an error, its causes first."""
    parts: list[str] = []
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        frames = traceback.extract_tb(link.__traceback__)[-_MOST_FRAMES:]
        places = "".join(
            f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}\n' for frame in frames
        )
        kind = type(link)
        said = f": {link}" if isinstance(link, MoovitaMixError) else ""
        parts.append(f"{places}{kind.__module__}.{kind.__qualname__}{said}")
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return "\n\n".join(reversed(parts))


def discreet_stored_trace(error: _TypeOf) -> str:
    """The same of an error as Dagster stores it."""
    ours = set(_names_of_kinds(MoovitaMixError))
    parts: list[str] = []
    link: _TypeOf | None = error
    while link is not None and len(parts) < _MOST_FRAMES:
        places = "".join(link.stack[-_MOST_FRAMES:])
        said = f": {link.message.partition(': ')[2].strip()}" if link.cls_name in ours else ""
        parts.append(f"{places}{link.cls_name}{said}")
        link = link.cause or link.context
    return "\n\n".join(reversed(parts))


def _names_of_kinds(kind: type[BaseException]) -> Iterator[str]:
    yield kind.__name__
    for narrower in kind.__subclasses__():
        yield from _names_of_kinds(narrower)
