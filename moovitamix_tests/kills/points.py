"""Where a process can be made to die: statements, commits, file moves, writes to the cache.

`install` wraps the clients of the stores, in the process that is to die, and nowhere else.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, main_thread
from typing import Any, Literal

Moment = Literal["before", "after"]
OUTSIDE = "command"
"""The step of what happens outside of Dagster's steps."""


@dataclass(frozen=True, order=True)
class Point:
    """A moment in the life of a command.

    Attributes:
        step: The Dagster step that it falls into, or `OUTSIDE`.
        operation: `statement`, `copy`, `commit`, `move`, `replace`, `write` or `switch`.
        nth: Which of these in this step, from 1.
        moment: Before or after it.
    """

    step: str
    operation: str
    nth: int
    moment: Moment


def install(target: Point | None, server_pids: tuple[int, ...], trace: Path | None) -> None:
    """Wrap the clients of the stores in this process.

    Args:
        target: Where something is killed; None only watches.
        server_pids: What is killed there; nothing given, this process.
        trace: Where every operation is noted, a line of step and operation each.
    """
    import psycopg
    import redis
    from fsspec.implementations.local import LocalFileSystem

    gate = _Gate(target, server_pids, trace)
    gate.wrap(psycopg.Cursor, "execute", "statement")
    gate.wrap(psycopg.Cursor, "executemany", "statement")
    gate.wrap(psycopg.Copy, "write", "copy")
    gate.wrap(psycopg.Connection, "commit", "commit")
    gate.wrap(LocalFileSystem, "mv", "move")
    gate.wrap(Path, "replace", "replace")
    gate.wrap(redis.client.Pipeline, "execute", "write")
    gate.wrap(
        redis.Redis, "set", "switch", when=lambda arguments: str(arguments[1]).endswith(":current")
    )


class _Gate:
    """Counts operations by step, and kills when the target comes by."""

    def __init__(self, target: Point | None, server_pids: tuple[int, ...], trace: Path | None):
        self._target = target
        self._server_pids = server_pids
        self._trace = trace
        self._counts: Counter[tuple[str, str]] = Counter()
        self._counting = Lock()

    def wrap(
        self,
        owner: type,
        name: str,
        operation: str,
        *,
        when: Callable[[tuple[Any, ...]], bool] = lambda _: True,
    ) -> None:
        original = getattr(owner, name)

        @functools.wraps(original)
        def wrapped(*arguments: Any, **named: Any) -> Any:
            if not when(arguments):
                return original(*arguments, **named)
            step = _current_step()
            with self._counting:
                self._counts[step, operation] += 1
                nth = self._counts[step, operation]
            self._pass(Point(step, operation, nth, "before"))
            result = original(*arguments, **named)
            self._pass(Point(step, operation, nth, "after"))
            return result

        setattr(owner, name, wrapped)

    def _pass(self, point: Point) -> None:
        if self._trace is not None and point.moment == "before":
            with self._trace.open("a") as trace:
                trace.write(f"{point.step} {point.operation}\n")
        if point != self._target:
            return
        for pid in self._server_pids or (os.getpid(),):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _current_step() -> str:
    """The Dagster step in whose code we are, found on the stack of the main thread.

    Steps are executed there; what they have threads do is theirs too.
    """
    frame = sys._current_frames().get(main_thread().ident or 0)
    while frame is not None:
        if frame.f_code.co_name == "core_dagster_event_sequence_for_step":
            return str(frame.f_locals["step_context"].step.key)
        if frame.f_back is None:
            break
        frame = frame.f_back
    return OUTSIDE
