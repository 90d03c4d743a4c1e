"""What a page is made of before it is HTML: what was asked, what is to be shown.

How it becomes HTML is told in `rendering.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from moovitamix.serve.http.keys import ApiKey

_INT64 = 1 << 63
# What people type is shorter.
_LONGEST = 100


@dataclass(frozen=True)
class Asked:
    """A request for a page.

    Attributes:
        visitor: The key that the session was begun with.
        query: Of the address, each name once.
        form: What was filled in; empty unless it is a POST.
        path: The ids in the path.
    """

    visitor: ApiKey
    query: Mapping[str, str]
    form: Mapping[str, str]
    path: Mapping[str, Any]

    @property
    def user(self) -> int | None:
        """The user that is asked for; None where none is, or what was typed is no id."""
        return read_id(self.typed("id"))

    def typed(self, name: str) -> str:
        """What was typed into a field of a form that only looks, as far as it can be printed."""
        text = self.query.get(name, "")[:_LONGEST]
        return "".join(filter(str.isprintable, text)).strip()


@dataclass(frozen=True)
class Page:
    """What is to be shown.

    Attributes:
        template: In `templates/`.
        context: What it is filled with.
        status: Of HTTP.
    """

    template: str
    context: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200


@dataclass(frozen=True)
class Elsewhere:
    """Another page to be opened instead.

    Attributes:
        path: Of ours.
        cookie: To be kept; empty: the session is over; None: stays as it is.
    """

    path: str
    cookie: str | None = None


def read_id(text: str) -> int | None:
    """An id that was typed; None when it is none."""
    try:
        found = int(text)
    except ValueError:
        return None
    return found if -_INT64 <= found < _INT64 else None


def message(title: str, text: str, status: int) -> Page:
    """A page that says one thing."""
    return Page("message.html", {"title": title, "text": text}, status)
