"""A verdict as people read it: a table of what was asked and found, and a plot of the intervals."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from moovitamix.recommend.criteria import Criterion
from moovitamix.recommend.gate import Decision

if TYPE_CHECKING:
    from moovitamix.observe.online import OnlineFigures

_WORDS = {True: "yes", False: "no", None: "cannot be told"}

_WIDTH, _ROW, _LABEL, _RIGHT = 900, 34, 430, 880
# Read by anybody: blue and orange are told apart by most, and words stand beside them.
_COLOURS = {True: "#1f6fb2", False: "#c8530b", None: "#777777"}


def markdown(decision: Decision) -> str:
    """The verdict, why, a table of the criteria, and the plot where there are intervals."""
    lines = [f"**{decision.verdict}.** {decision.reason}"]
    if decision.criteria:
        lines += ["", "| criterion | found | asked | met |", "| --- | --- | --- | --- |"]
        lines += [
            f"| {one.name} | {one.value} | {one.bound} | {_WORDS[one.passed]} |"
            for one in decision.criteria
        ]
    drawn = [one for one in decision.criteria if one.figure is not None]
    if drawn:
        picture = base64.b64encode(plot(drawn).encode()).decode()
        lines += ["", f"![Intervals and bounds](data:image/svg+xml;base64,{picture})"]
        lines += ["", "Bars are 95 % bootstrap intervals over users, dashed lines the bounds."]
    return "\n".join(lines)


def online_markdown(figures: Sequence[OnlineFigures], champion: int) -> str:
    """What users did with what versions showed them, as a table; one line where nothing is known.

    It stands beside a verdict and decides nothing: a candidate has shown nobody anything yet, and
    versions that were served on other days saw other days. An experiment tells.

    Args:
        figures: By model version.
        champion: Marked in the table.
    """
    if not figures:
        return "No impressions were reported (`POST /feedback`)."
    lines = ["| version | impressions | clicked | skipped | listened to |"]
    lines += ["| --- | --- | --- | --- | --- |"]
    for one in figures:
        version = one.by[0] or "not told"
        named = f"**{version}**, the champion" if version == champion else version
        shares = (one.click_through, one.skip_rate, one.listening)
        told = " | ".join(f"{s.share:.1%} [{s.low:.1%}, {s.high:.1%}]" for s in shares)
        lines.append(f"| {named} | {one.impressions:,} | {told} |")
    return "\n".join(lines)


def plot(criteria: Sequence[Criterion]) -> str:
    """An SVG with a row for each criterion that has a figure: interval, value, and bound.

    Each row has a scale of its own, for a share and a difference have nothing in common.
    """
    rows = [
        _row(one, one.figure, index * _ROW + _ROW)
        for index, one in enumerate(criteria)
        if one.figure is not None
    ]
    height = _ROW * (len(criteria) + 1)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" font-family="sans-serif" font-size="13">'
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>{"".join(rows)}</svg>'
    )


def _row(criterion: Criterion, figure: tuple[float, float, float], y: int) -> str:
    value, low, high = figure
    limit = criterion.limit if criterion.limit is not None else value
    least, most = min(low, limit), max(high, limit)
    margin = (most - least or 1.0) * 0.12
    left, right = least - margin, most + margin

    def at(number: float) -> str:
        return f"{_LABEL + (number - left) / (right - left) * (_RIGHT - _LABEL):.1f}"

    colour = _COLOURS[criterion.passed]
    label = escape(f"{criterion.name} · {_WORDS[criterion.passed]}")
    return (
        f'<text x="{_LABEL - 12}" y="{y + 4}" text-anchor="end" fill="#222222">{label}</text>'
        f'<line x1="{_LABEL}" x2="{_RIGHT}" y1="{y}" y2="{y}" stroke="#dddddd"/>'
        f'<line x1="{at(low)}" x2="{at(high)}" y1="{y}" y2="{y}" stroke="{colour}" '
        f'stroke-width="6"/>'
        f'<circle cx="{at(value)}" cy="{y}" r="6" fill="{colour}"/>'
        f'<line x1="{at(limit)}" x2="{at(limit)}" y1="{y - 12}" y2="{y + 8}" stroke="#222222" '
        f'stroke-dasharray="3 2"/>'
        f'<text x="{at(limit)}" y="{y + 18}" text-anchor="middle" font-size="10" '
        f'fill="#555555">{limit:.4g}</text>'
    )
