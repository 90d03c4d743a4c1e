"""The plots of drift, as SVG in data URIs, which Dagster's UI shows in Markdown.

What is drawn is told by `drift_figures.py`. No file, no library: a few lines and bars.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from xml.sax.saxutils import escape

import numpy as np

from moovitamix.observe import drift_measures as measures
from moovitamix.observe.drift import Reading, Seen, Verdict
from moovitamix.observe.drift_model import JudgedDay
from moovitamix.observe.drift_null import Null
from moovitamix.observe.drift_shape import Base, base_of
from moovitamix.observe.drift_windows import Values

# Told apart by most people; words stand beside them.
_COLOURS: dict[Verdict, str] = {
    "steady": "#1f6fb2",
    "warning": "#d99a00",
    "drifted": "#c8530b",
    "cannot tell": "#777777",
}
_REFERENCE, _PRESENT, _INK, _LINE = "#999999", "#1f6fb2", "#222222", "#dddddd"

_WIDTH, _ROW, _LABEL = 900, 30, 250
_PANEL_WIDTH, _PANEL_HEIGHT, _MARGIN = 440, 190, 30
_MOST_GENRES = 12
_NAME_LENGTH = 13
_MOST_PLAYS = 1_000


def places(readings: Sequence[Reading]) -> str:
    """Where each feature stands between usual and alarm, which are in the same places for all."""
    usual, alarm, end = _LABEL + 60, _WIDTH - 260, _WIDTH - 120
    rows = []
    for number, one in enumerate(readings):
        bound, value = one.bound, one.value
        if bound is None or value is None:
            continue
        y = _ROW * number + _ROW
        span = bound.alarm - bound.usual or 1.0

        def at(found: float, start: float = bound.usual, whole: float = span) -> float:
            place = usual + (found - start) / whole * (alarm - usual)
            return float(np.clip(place, _LABEL + 10, end))

        colour = _COLOURS[one.verdict]
        rows.append(
            _text(_LABEL, y + 4, one.feature, "end")
            + f'<line x1="{_LABEL + 10}" x2="{end}" y1="{y}" y2="{y}" stroke="{_LINE}"/>'
            + _tick(at(bound.usual), y)
            + _tick(at(bound.warning), y, ' stroke-dasharray="3 2"')
            + _tick(at(bound.alarm), y)
            + f'<circle cx="{at(value):.1f}" cy="{y}" r="6" fill="{colour}"/>'
            + _text(end + 12, y + 4, f"{value:.3f} {one.verdict}", "start", colour)
        )
    return _picture(_WIDTH, _ROW * (len(readings) + 1), "".join(rows))


def distributions(seen: Seen, judged: JudgedDay | None, null: Null | None) -> str:
    """The present beside the reference: plays per track and user, genres, top tracks, scores."""
    base, present = seen.base, _present(seen)
    panels = [
        _curves(
            "popularity_shape",
            "tracks with at most so many plays",
            *_log(base, present, "popularity"),
        ),
        _curves(
            "user_activity", "users with at most so many plays", *_log(base, present, "activity")
        ),
        _bars("genre_mix", seen.window.history.genres, base.genres, present.genres),
        _curves("popular_tracks", "share of plays of the n most played", *_top(seen)),
    ]
    if judged is not None and judged.listeners and null is not None and null.rank_shares:
        reference, shares = np.array(null.rank_shares), judged.rank_shares()[:, 0]
        # Ranks within a catalogue far smaller than the scale begin where it does.
        first = max(int(np.flatnonzero(reference + shares)[0]) - 1, 0)
        panels.append(
            _curves(
                "score_ranks",
                "plays of what ranks in this share of tracks, as a power of ten",
                np.cumsum(reference[first:]),
                np.cumsum(shares[first:]),
                (measures.LOG_RANKS[first], measures.LOG_RANKS[-1]),
            )
        )
    drawn = [
        f'<g transform="translate({place % 2 * (_PANEL_WIDTH + 10)} '
        f'{place // 2 * (_PANEL_HEIGHT + 10)})">{panel}</g>'
        for place, panel in enumerate(panels)
    ]
    height = (len(panels) + 1) // 2 * (_PANEL_HEIGHT + 10)
    return _picture(_WIDTH, height, "".join(drawn))


def _present(seen: Seen) -> Base:
    """The present's distributions, made as those of the reference are."""
    return base_of([seen.window], seen.base.known_before)


Curves = tuple[Values, Values, tuple[float, float]]


def _log(base: Base, present: Base, name: str) -> Curves:
    within = measures.COUNTS <= _MOST_PLAYS
    reference, found = (np.cumsum(getattr(one, name)[within]) for one in (base, present))
    places = np.linspace(0, np.log10(_MOST_PLAYS), 200)
    at = np.searchsorted(np.log10(measures.COUNTS[within]), places, side="right") - 1
    return reference[at], found[at], (1, _MOST_PLAYS)


def _top(seen: Seen) -> Curves:
    """Of the reference's most played tracks, in its order; what it lacks shows as a gap below."""
    base, window = seen.base, seen.window
    plays = np.zeros(len(window.history.tracks))
    plays[window.tracks] = np.asarray(window.plays.sum(axis=0)).ravel()
    order = np.argsort(-base.top_shares[:-1], kind="stable")
    found = plays[base.top][order] / plays.sum()
    return np.cumsum(base.top_shares[:-1][order]), np.cumsum(found), (1, len(order))


def _curves(
    title: str, what: str, reference: Values, present: Values, ends: tuple[float, float]
) -> str:
    top = max(float(reference.max()), float(present.max()), 1e-9)
    lines = _path(reference / top, _REFERENCE) + _path(present / top, _PRESENT)
    return _frame(title, f"{what}: {ends[0]:g} to {ends[1]:g}", f"{top:.2f}") + lines


def _bars(title: str, names: Sequence[str], reference: Values, present: Values) -> str:
    chosen = np.argsort(-(reference + present), kind="stable")[:_MOST_GENRES]
    top = max(float(reference.max()), float(present.max()), 1e-9)
    step = (_PANEL_WIDTH - 2 * _MARGIN) / max(len(chosen), 1)
    foot, high = _PANEL_HEIGHT - _MARGIN, _PANEL_HEIGHT - 2 * _MARGIN
    bars = []
    for number, genre in enumerate(chosen.tolist()):
        x = _MARGIN + number * step
        for shift, share, colour in (
            (0.1, reference[genre], _REFERENCE),
            (0.5, present[genre], _PRESENT),
        ):
            height = share / top * high
            bars.append(
                f'<rect x="{x + shift * step:.1f}" y="{foot - height:.1f}" '
                f'width="{0.35 * step:.1f}" height="{height:.1f}" fill="{colour}"/>'
            )
        # On two lines in turn: a name of two words fits beside its neighbours.
        bars.append(
            f'<text x="{x + step / 2:.1f}" y="{foot + 11 + number % 2 * 11}" '
            f'text-anchor="middle" font-size="9" fill="{_INK}">'
            f"{escape(names[genre][:_NAME_LENGTH])}</text>"
        )
    return _frame(title, "", f"{top:.2f}") + "".join(bars)


def _frame(title: str, what: str, top: str) -> str:
    foot = _PANEL_HEIGHT - _MARGIN
    return (
        f'<text x="{_MARGIN}" y="14" font-size="11" fill="{_INK}">{title}</text>'
        f'<line x1="{_MARGIN}" x2="{_PANEL_WIDTH - _MARGIN}" y1="{foot}" y2="{foot}" '
        f'stroke="{_LINE}"/>'
        f'<text x="{_MARGIN - 4}" y="{_MARGIN + 4}" text-anchor="end" font-size="9" '
        f'fill="{_INK}">{top}</text>'
        f'<text x="{_PANEL_WIDTH / 2:.0f}" y="{_PANEL_HEIGHT - 8}" text-anchor="middle" '
        f'font-size="10" fill="{_INK}">{escape(what)}</text>'
    )


def _path(shares: Values, colour: str) -> str:
    foot, high = _PANEL_HEIGHT - _MARGIN, _PANEL_HEIGHT - 2 * _MARGIN
    across = np.linspace(_MARGIN, _PANEL_WIDTH - _MARGIN, len(shares))
    points = " ".join(f"{x:.1f},{foot - y * high:.1f}" for x, y in zip(across, shares, strict=True))
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'


def _tick(x: float, y: int, style: str = "") -> str:
    return f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y - 9}" y2="{y + 9}" stroke="{_INK}"{style}/>'


def _text(x: float, y: int, told: str, anchor: str, colour: str = _INK) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{colour}">{escape(told)}</text>'


def _picture(width: int, height: int, content: str) -> str:
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="13">'
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>{content}</svg>'
    )
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
