"""The world's clock: the system's, or one of its own that may run faster.

What happens at a time is `world`'s job.
"""

from datetime import UTC, datetime, timedelta
from time import monotonic

from moovitamix.errors import SettingsError


class SimulatedClock:
    """A clock that tells naive UTC times when called.

    Args:
        start: The time it shows now; aware times are converted to UTC. None is the system's time.
        speed: Seconds that pass on it in a real second, at least 0. At speed 1 and without a
            start it follows the system's clock, also when that is set.

    Raises:
        SettingsError: The speed is negative.
    """

    def __init__(self, start: datetime | None = None, speed: float = 1.0) -> None:
        if not speed >= 0:
            raise SettingsError(f"The clock's speed is {speed}: give 0 or a number above.")
        if start is not None and start.tzinfo is not None:
            start = start.astimezone(UTC).replace(tzinfo=None)
        self._follows_system = start is None and speed == 1.0
        self._start = start or self._system_time()
        self._speed = speed
        self._began = monotonic()

    def __call__(self) -> datetime:
        """Return the time, naive, UTC."""
        if self._follows_system:
            return self._system_time()
        return self._start + timedelta(seconds=(monotonic() - self._began) * self._speed)

    @staticmethod
    def _system_time() -> datetime:
        return datetime.now(UTC).replace(tzinfo=None)
