"""What a step takes while it runs: seconds, processor time, memory.

Steps run one after the other in one process, so what the process takes meanwhile is the step's.
"""

from __future__ import annotations

import os
import re
import resource
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")

# Tells Linux to begin its high-water mark anew at what the process holds now; proc(5).
_BEGIN_PEAK_ANEW = "5"


@dataclass(frozen=True, slots=True)
class Cost:
    """What a step took.

    Attributes:
        ended_at: UTC.
        succeeded: Whether it did what it was to do.
        seconds: From its start to its end.
        cpu_seconds: Of all threads of the process, and of its children that have ended.
        peak_bytes: The most that the process held in memory; where the system cannot tell it for
            a stretch of time, since the process began.
    """

    ended_at: datetime
    succeeded: bool
    seconds: float
    cpu_seconds: float
    peak_bytes: int


class StepMeter:
    """Told of the starts and ends of steps; keeps the cost of each."""

    def __init__(self) -> None:
        self.costs: dict[str, Cost] = {}
        self._began: dict[str, tuple[float, float]] = {}

    def began(self, step: str) -> None:
        """A step begins now."""
        _begin_peak_anew()
        self._began[step] = (time.perf_counter(), _cpu_seconds())

    def ended(self, step: str, *, succeeded: bool) -> None:
        """A step has ended; one that was never begun, because it was skipped, costs nothing."""
        started = self._began.pop(step, None)
        if started is None:
            return
        seconds, cpu_seconds = started
        self.costs[step] = Cost(
            datetime.now(UTC),
            succeeded,
            time.perf_counter() - seconds,
            max(0.0, _cpu_seconds() - cpu_seconds),
            _peak_bytes(),
        )


def _cpu_seconds() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def _begin_peak_anew() -> None:
    with suppress(OSError):  # not Linux, or a kernel that does not let us
        _RESET.write_text(_BEGIN_PEAK_ANEW)


def _peak_bytes() -> int:
    with suppress(OSError):
        found = re.search(r"^VmHWM:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
        if found:
            return int(found.group(1)) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
