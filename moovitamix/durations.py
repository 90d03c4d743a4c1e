"""Stretches of time as people write them: `10m`, `90s`, `2h`, `1h30m`."""

from __future__ import annotations

import re
from datetime import timedelta

from moovitamix.errors import SettingsError

_WRITTEN = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?", re.ASCII)


def parse_duration(text: str) -> timedelta:
    """The stretch of time that a text names; a bare number counts seconds.

    Examples:
        >>> parse_duration("1h30m")
        datetime.timedelta(seconds=5400)

    Raises:
        SettingsError: When it names none.
    """
    found = _WRITTEN.fullmatch(text.strip().lower())
    if found is None or not any(found.groups()):
        raise SettingsError(f"{text!r} is no duration: write it as 10m, 90s or 2h; 0 for none.")
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    if max(hours, minutes, seconds) > 1_000_000:
        raise SettingsError(f"{text!r} is too long: write a duration such as 10m, 90s or 2h.")
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)


def write_duration(duration: timedelta) -> str:
    """The same, written as `parse_duration` reads it; whole seconds.

    Examples:
        >>> write_duration(timedelta(minutes=90))
        '1h30m'
    """
    minutes, seconds = divmod(int(duration.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [
        f"{hours}h" * bool(hours),
        f"{minutes}m" * bool(minutes),
        f"{seconds}s" * bool(seconds),
    ]
    return "".join(parts) or "0s"
