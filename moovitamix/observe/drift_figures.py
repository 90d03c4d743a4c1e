"""Readings of drift as people read them: a sentence, a table, figures over time.

Plots are drawn in `drift_plots.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from moovitamix.observe.drift import Reading, worst
from moovitamix.observe.drift_features import BY_NAME
from moovitamix.observe.drift_plots import distributions, places

if TYPE_CHECKING:
    from moovitamix.observe.drift_reading import DayRead


def sentence(read: DayRead) -> str:
    """The verdict on a day and what it rests on."""
    verdict = worst(read.readings)
    if verdict == "cannot tell":
        return f"{read.day}: cannot tell, for {read.readings[0].reason}."
    beyond = [one for one in read.readings if one.verdict == verdict != "steady"]
    named = "; ".join(f"{one.feature} {_number(one.value)}" for one in beyond)
    blind = sum(one.verdict == "cannot tell" for one in read.readings)
    unknown = f"; {blind} of {len(read.readings)} features cannot be told" if blind else ""
    against = f"against version {read.against.model_version} of {read.against.as_of}"
    return f"{read.day} is {verdict} {against}{': ' + named if named else ''}{unknown}."


def table(readings: Sequence[Reading]) -> str:
    """All readings as Markdown."""
    lines = [
        "| feature | value | usual | warning from | alarm from | verdict |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for one in readings:
        bound = one.bound
        limits = [None] * 3 if bound is None else [bound.usual, bound.warning, bound.alarm]
        cells = " | ".join(_number(number) for number in (one.value, *limits))
        told = f"{one.verdict}: {one.reason}" if one.reason else one.verdict
        lines.append(f"| {one.feature}: {BY_NAME[one.feature].title} | {cells} | {told} |")
    return "\n".join(lines)


def markdown(read: DayRead) -> str:
    """The verdict, the table, where each feature stands, and the present beside the reference."""
    parts = [f"**{sentence(read)}**", table(read.readings)]
    drawn = [one for one in read.readings if one.bound is not None and one.value is not None]
    if drawn:
        parts.append(f"![Where each feature stands]({places(drawn)})")
        parts.append(
            "Left line: usual; dashed: warning; right line: alarm. Each has its own scale."
        )
    if read.seen is not None:
        pictures = distributions(read.seen, read.judged, read.null)
        parts.append(f"![The reference in grey, the present in blue]({pictures})")
        parts.append("Grey: the champion's own data. Blue: the last days.")
    return "\n\n".join(parts)


def series(readings: Sequence[Reading]) -> dict[str, float | str]:
    """Values, thresholds and verdict by feature, bare: Dagster draws the numbers over time."""
    told: dict[str, float | str] = {}
    for one in readings:
        if one.value is not None:
            told[one.feature] = one.value
        if one.bound is not None:
            told[f"{one.feature}_warning"] = one.bound.warning
            told[f"{one.feature}_alarm"] = one.bound.alarm
        told[f"{one.feature}_verdict"] = one.verdict
    return told


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
