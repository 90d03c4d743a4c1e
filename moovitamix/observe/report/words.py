"""Numbers as people read them: separators, units, changes, intervals. Pure.

Sentences about a report are `sentences.py`'s.
"""

from __future__ import annotations

from datetime import UTC, date, datetime

from moovitamix.observe.report.of_service import Rate

NOT_KNOWN = "not known"
NONE = "-"

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


def number(count: float | None) -> str:
    """A count with thousands separators; of a mean, one decimal where it is small.

    Examples:
        >>> number(1234567), number(3.25), number(1234.5), number(None)
        ('1,234,567', '3.2', '1,234', '-')
    """
    if count is None:
        return NONE
    if isinstance(count, int):
        return f"{count:,}"
    return f"{count:,.1f}" if abs(count) < 100 else f"{count:,.0f}"


def figure(value: float | None) -> str:
    """A figure between about -10 and 10, such as a distance or NDCG."""
    return NONE if value is None else f"{value:.3f}"


def percent(share: float) -> str:
    """A share as a percentage, with a decimal where it is below ten."""
    found = 100 * share
    return f"{found:.1f} %" if abs(found) < 10 else f"{found:.0f} %"


def change(count: float | None, before: float | None) -> str:
    """How a count has changed, in per cent of what it was.

    Examples:
        >>> change(150, 100), change(97, 100), change(5, 0), change(0, 0), change(1, None)
        ('+50 %', '-3.0 %', 'was 0', 'same', 'not known')
    """
    if count is None or before is None:
        return NOT_KNOWN
    if count == before:
        return "same"
    if not before:
        return "was 0"
    share = count / before - 1
    return f"{'+' if share > 0 else '-'}{percent(abs(share))}"


def share(found: Rate | None) -> str:
    """A share alone; what it is of, and its interval, are told beside it."""
    return NONE if found is None or not found.of else percent(found.count / found.of)


def rate(found: Rate | None) -> str:
    """A share with its interval; what it is of is told beside it."""
    if found is None or not found.of:
        return NONE
    return f"{percent(found.count / found.of)} ({_bare(found.low)} to {percent(found.high)})"


def _bare(share: float) -> str:
    return percent(share).removesuffix(" %")


def stretch(seconds: float | None) -> str:
    """How long something took or lasts.

    Examples:
        >>> stretch(0.26), stretch(8.31), stretch(75), stretch(7_500), stretch(200_000)
        ('0.3 s', '8.3 s', '1 min 15 s', '2 h 5 min', '2 d 7 h')
    """
    if seconds is None:
        return NONE
    if seconds < 0:
        return f"-{stretch(-seconds)}"
    if round(seconds, 1) < _MINUTE:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _HOUR:
        return _two(whole, _MINUTE, "min", 1, "s")
    if whole < _DAY:
        return _two(whole, _HOUR, "h", _MINUTE, "min")
    return _two(whole, _DAY, "d", _HOUR, "h")


def _two(whole: int, large: int, name: str, small: int, below: str) -> str:
    rest = whole % large // small
    return f"{whole // large} {name}" + (f" {rest} {below}" if rest else "")


def size(count: float | None) -> str:
    """Bytes, in the unit that suits.

    Examples:
        >>> size(512), size(1536), size(18964480), size(-2048), size(None)
        ('512 B', '1.5 KiB', '18.1 MiB', '-2.0 KiB', '-')
    """
    if count is None:
        return NONE
    if count < 0:
        return f"-{size(-count)}"
    found = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if round(found, 1) < 1024:
            return f"{found:.0f} B" if unit == "B" else f"{found:,.1f} {unit}"
        found /= 1024
    return f"{found:,.1f} TiB"


def growth(count: int | None) -> str:
    """Bytes that something has more than before."""
    if count is None:
        return NOT_KNOWN
    if not count:
        return "same"
    return size(count) if count < 0 else f"+{size(count)}"


def many(count: int, one: str, more: str | None = None) -> str:
    """A count with its noun.

    Examples:
        >>> many(1, "run"), many(1200, "run"), many(0, "day")
        ('1 run', '1,200 runs', 'no days')
    """
    noun = one if count == 1 else more or f"{one}s"
    return f"{number(count) if count else 'no'} {noun}"


def moment(when: datetime) -> str:
    """A moment, to the minute."""
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def weekday(day: date) -> str:
    """A day with its weekday, in English whatever the system's language is."""
    names = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
    return f"{names[day.weekday()]} {day}"
