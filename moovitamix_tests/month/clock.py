"""A clock that processes live by: moved by a file that `moved_clock` reads in each of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path


class Clock:
    """The time by which the daemon and all its processes live.

    Args:
        file: Holds by how many seconds it differs from ours; read again and again.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._ahead = 0.0

    def now(self) -> datetime:
        """What it shows, UTC."""
        return datetime.now(UTC) + timedelta(seconds=self._ahead)

    def set(self, moment: datetime) -> None:
        """Move it; from there it runs on."""
        self._ahead = round((moment - datetime.now(UTC)).total_seconds())
        unfinished = self.file.with_suffix(".new")
        unfinished.write_text(f"{self._ahead:+.0f}")
        unfinished.replace(self.file)
