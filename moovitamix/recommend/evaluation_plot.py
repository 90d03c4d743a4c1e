"""The plot of an evaluation, as an SVG in a data URI, which Dagster's UI shows in Markdown.

What stands beside it in words and tables is told by `figures.py`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from xml.sax.saxutils import escape

from moovitamix.recommend.metrics import Figure

_WIDTH, _ROW, _LABEL, _RIGHT = 900, 30, 240, 730
_JUDGED, _OTHER, _INK, _LINE = "#1f6fb2", "#777777", "#222222", "#dddddd"


def intervals(figures: Mapping[str, Figure], judged: str) -> str:
    """A row by ranker: a bar for the interval, a dot for the value; one scale, from 0.

    Args:
        figures: One figure by the ranker's name, in reading order.
        judged: The ranker that this is about: drawn in colour, the others in grey.

    Returns:
        `data:image/svg+xml;base64,…`
    """
    most = max((figure.high for figure in figures.values()), default=0.0) or 1.0

    def at(value: float) -> str:
        return f"{_LABEL + value / most * (_RIGHT - _LABEL):.1f}"

    rows = []
    for number, (name, figure) in enumerate(figures.items()):
        y, colour = _ROW * number + _ROW, _JUDGED if name == judged else _OTHER
        rows.append(
            f'<text x="{_LABEL - 12}" y="{y + 4}" text-anchor="end" fill="{_INK}">'
            f"{escape(name)}</text>"
            f'<line x1="{_LABEL}" x2="{_RIGHT}" y1="{y}" y2="{y}" stroke="{_LINE}"/>'
            f'<line x1="{at(figure.low)}" x2="{at(figure.high)}" y1="{y}" y2="{y}" '
            f'stroke="{colour}" stroke-width="6"/>'
            f'<circle cx="{at(figure.value)}" cy="{y}" r="6" fill="{colour}"/>'
            f'<text x="{_RIGHT + 16}" y="{y + 4}" fill="{colour}">{escape(str(figure))}</text>'
        )
    foot = _ROW * (len(figures) + 1)
    ticks = "".join(
        f'<text x="{at(value)}" y="{foot}" text-anchor="middle" font-size="10" fill="{_INK}">'
        f"{value:.3g}</text>"
        for value in (0.0, most / 2, most)
    )
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {foot + 10}" '
        f'width="{_WIDTH}" height="{foot + 10}" font-family="sans-serif" font-size="13">'
        f'<rect width="{_WIDTH}" height="{foot + 10}" fill="#ffffff"/>{"".join(rows)}{ticks}</svg>'
    )
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
