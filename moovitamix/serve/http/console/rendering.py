"""Pages as HTML: templates of this package, everything escaped, no script."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

_CODE = re.compile(r"`([^`]+)`")
_HERE = Path(__file__).parent
_STATIC = {"style.css": "text/css; charset=utf-8", "icon.svg": "image/svg+xml"}

HEADERS = {
    # Nothing but our own style sheet and icon; nobody frames us; forms go nowhere else.
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    # Not `no-referrer`: by that a form's `Origin` would be null, which tells where it comes from.
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
}


class Templates:
    """The templates and files of the package, read once."""

    def __init__(self) -> None:
        self.static = {
            name: ((_HERE / "static" / name).read_bytes(), kind) for name, kind in _STATIC.items()
        }
        self._environment = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.filters |= {"moment": moment, "ago": ago, "told": told}
        self._environment.globals["version_of"] = self._version_of

    def render(self, template: str, context: dict[str, Any]) -> str:
        """The HTML of a page."""
        return self._environment.get_template(template).render(context)

    def _version_of(self, name: str) -> str:
        """Tells one content of a file from another, so that browsers may keep it."""
        return hashlib.sha256(self.static[name][0]).hexdigest()[:12]


def told(text: str) -> Markup:
    """A sentence of ours; what is in backticks, commands to be typed, as code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 - was escaped


def moment(at: datetime | None) -> str:
    """A moment as people read it, in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M}" if at else "never"


def ago(at: datetime | None, now: datetime) -> str:
    """How long ago, or how far ahead, in the largest unit that leaves two or more of it."""
    if at is None:
        return "never"
    seconds = (now - at.astimezone(UTC)).total_seconds()
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        count = abs(seconds) / length
        if count >= (1 if unit == "min" else 2):
            return f"{count:.0f} {unit} ago" if seconds > 0 else f"in {count:.0f} {unit}"
    return "just now" if seconds >= 0 else "in a moment"
