"""The plots of a report as inline SVG, each with what it shows in words. Pure.

They are drawn for the width of a phone, in colours that can be told from a light and from a dark
ground, and the letters take the colour of the text around them: no style sheet is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from xml.sax.saxutils import escape, quoteattr

from markupsafe import Markup

from moovitamix.observe.report.of_data import DriftFigure, Volume
from moovitamix.observe.report.of_service import Rate
from moovitamix.observe.report.words import figure, number, percent

_WIDTH = 360
_LEFT, _TOP, _HIGH, _FOOT = 4, 18, 78, 20
_PLAIN, _STRONG, _WEEKDAY, _MISSING = "#8fb3d9", "#2a76bd", "#4d90cc", "#c8530b"
_VERDICTS = {"steady": "#3d8bcd", "warning": "#c98a00", "drifted": "#d0491f"}
_ROW = 30
_USUAL, _ALARM, _END = 24, 216, 252


def by_day(found: Volume, day: date) -> Markup:
    """A bar for each day, this one and its weekday marked; days without data are marks below."""
    history = found.history
    known = [count for count in history if count is not None]
    top = max(known, default=0)
    foot = _TOP + _HIGH
    step = (_WIDTH - 2 * _LEFT) / len(history)
    drawn = []
    for place, count in enumerate(history):
        x = _LEFT + place * step
        if count is None:
            drawn.append(_bar(x, foot - 2, step, 4, _MISSING))
            continue
        back = len(history) - 1 - place
        colour = _STRONG if not back else _WEEKDAY if back % 7 == 0 else _PLAIN
        height = count / top * _HIGH if top else 0
        drawn.append(_bar(x, foot - height, step, height, colour))
    missing = len(history) - len(known)
    words = (
        f"{found.name} by day over {len(history)} days: {number(min(known))} to {number(top)}"
        if known
        else f"{found.name} by day: no day is known"
    )
    words += f", on {day} {number(found.count)}" if found.count is not None else ""
    words += f"; {missing} days without data" if missing else ""
    return _picture(
        words,
        foot + _FOOT,
        f"{_text(_LEFT, 11, f'{found.name}, at most {number(top)} a day')}"
        f"{''.join(drawn)}{_ends(day, len(history), foot)}",
    )


def rates_by_day(name: str, rates: Sequence[Rate | None], day: date) -> Markup | None:
    """A share by day with its interval; None where fewer than two days tell it."""
    known = [one for one in rates if one is not None and one.of]
    if len(known) < 2:
        return None
    # An interval of few impressions reaches far, and would press all others flat.
    top = max(min(1.0, 2 * max(one.count / one.of for one in known)), 1e-6)
    foot = _TOP + _HIGH
    step = (_WIDTH - 2 * _LEFT) / len(rates)

    def at(share: float) -> float:
        return foot - min(share / top, 1.0) * _HIGH

    drawn = []
    for place, one in enumerate(rates):
        if one is None or not one.of:
            continue
        x = _LEFT + (place + 0.5) * step
        drawn.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{at(one.low):.1f}" y2="{at(one.high):.1f}" '
            f'stroke="{_PLAIN}" stroke-width="3"/>'
            f'<circle cx="{x:.1f}" cy="{at(one.count / one.of):.1f}" r="3.5" fill="{_STRONG}"/>'
        )
    shares = [one.count / one.of for one in known]
    words = (
        f"{name} by day with 95 % intervals: {percent(min(shares))} to {percent(max(shares))}"
        f" on {len(known)} days"
    )
    return _picture(
        words,
        foot + _FOOT,
        f"{_text(_LEFT, 11, f'{name} with 95 % intervals, 0 to {percent(top)}')}"
        f"{_line(_LEFT, _WIDTH - _LEFT, foot)}{''.join(drawn)}{_ends(day, len(rates), foot)}",
    )


def distances(figures: Sequence[DriftFigure]) -> Markup | None:
    """Where each feature stands between usual and alarm; None where none can be told."""
    drawn: list[str] = []
    told: list[str] = []
    for one in figures:
        known = (one.value, one.usual, one.warning, one.alarm)
        if any(limit is None for limit in known):
            continue
        value, usual, warning, alarm = (limit or 0.0 for limit in known)
        span = alarm - usual or 1.0
        y = _ROW * len(told) + 40
        colour = _VERDICTS.get(one.verdict, _PLAIN)

        def at(found: float, start: float = usual, whole: float = span) -> float:
            place = _USUAL + (found - start) / whole * (_ALARM - _USUAL)
            return min(max(place, _LEFT + 4), _END)

        drawn.append(
            _text(_LEFT, y - 9, one.feature)
            + _line(_LEFT, _END + 4, y)
            + "".join(_tick(at(limit), y) for limit in (usual, warning, alarm))
            + f'<circle cx="{at(value):.1f}" cy="{y}" r="5" fill="{colour}"/>'
            + _text(_END + 12, y + 4, f"{figure(value)} {one.verdict}")
        )
        told.append(f"{one.feature} {one.verdict}")
    if not told:
        return None
    heads = "".join(
        _text(x, 11, word, "middle") for x, word in ((_USUAL + 4, "usual"), (_ALARM, "alarm"))
    )
    return _picture(
        f"Where each figure stands between usual and alarm: {', '.join(told)}",
        _ROW * len(told) + 24,
        heads + "".join(drawn),
    )


def length(share: float) -> Markup:
    """A bar that is so much of the longest one."""
    wide = max(1.0, 60 * min(max(share, 0.0), 1.0))
    return Markup(  # noqa: S704 - a number alone is put in
        '<svg xmlns="http://www.w3.org/2000/svg" width="60" height="9" aria-hidden="true">'
        f'<rect width="{wide:.1f}" height="9" rx="2" fill="{_PLAIN}"/></svg>'
    )


def _ends(day: date, days: int, foot: float) -> str:
    first = day - timedelta(days=days - 1)
    return _text(_LEFT, foot + 14, f"{first:%m-%d}") + _text(
        _WIDTH - _LEFT, foot + 14, f"{day:%m-%d}", "end"
    )


def _bar(x: float, y: float, step: float, height: float, colour: str) -> str:
    return (
        f'<rect x="{x + 0.1 * step:.1f}" y="{y:.1f}" width="{0.8 * step:.1f}" '
        f'height="{max(height, 0.5):.1f}" fill="{colour}"/>'
    )


def _line(start: float, end: float, y: float) -> str:
    return (
        f'<line x1="{start}" x2="{end}" y1="{y}" y2="{y}" stroke="currentColor" '
        'stroke-opacity="0.3"/>'
    )


def _tick(x: float, y: float) -> str:
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y - 6}" y2="{y + 6}" stroke="currentColor" '
        'stroke-opacity="0.6"/>'
    )


def _text(x: float, y: float, told: str, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="currentColor">{escape(told)}</text>'


def _picture(words: str, height: float, content: str) -> Markup:
    return Markup(  # noqa: S704 - all text in it went through `escape`
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" '
        f'width="{_WIDTH}" height="{height:.0f}" role="img" aria-label={quoteattr(words)} '
        'font-family="sans-serif" font-size="11">'
        f"<title>{escape(words)}</title>{content}</svg>"
    )
