"""The report as one page that needs nothing else: for a browser, and as the body of a mail.

What it says in words is told in `sentences.py`, how it is arranged in `page.html.j2`. There is no
script, no image and no address to load anything from.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from moovitamix.observe.report import charts, sentences, words
from moovitamix.observe.report.model import Report

if TYPE_CHECKING:
    from jinja2 import Template

_TEMPLATE = "page.html.j2"


@lru_cache(maxsize=1)
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["marked"] = _marked
    environment.filters["breakable"] = _breakable
    return environment.get_template(_TEMPLATE)


def render(report: Report, *, runbook: str) -> str:
    """The page.

    Args:
        report: What it says.
        runbook: Where the runbook is read; a link where that is an address.
    """
    return _template().render(
        report=report,
        say=sentences,
        words=words,
        charts=charts,
        runbook=runbook,
        is_linked=runbook.startswith(("http://", "https://")),
        longest=max((one.seconds for one in report.work.steps), default=0.0) or 1.0,
    )


def _breakable(name: str) -> Markup:
    """A long name that may be broken where its words end."""
    escaped = str(escape(name))
    return Markup(escaped.replace("_", "_<wbr>").replace(".", ".<wbr>"))  # noqa: S704 - escaped above


def _marked(text: str) -> Markup:
    """Text with what is between backticks as code."""
    parts = str(text).split("`")
    if len(parts) % 2 == 0:  # one that is not closed is a backtick
        return escape(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else escape(part)
        for place, part in enumerate(parts)
    )
