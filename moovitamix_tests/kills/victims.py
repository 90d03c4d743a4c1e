"""Processes to be killed: each runs the real command line, forked from one that has imported it.

Imports take most of a small run's time; a fork has them at once. It is a process like any other
otherwise: its own connections, its own threads, nothing shared but the home.

    python -m moovitamix_tests.kills.victims    answers a JSON line for each JSON line it reads
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from moovitamix_tests.forked_command import import_what_runs_need, run_and_end
from moovitamix_tests.kills.points import Point, install

PATIENCE_SECONDS = 120.0
"""After which a command is taken to hang."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A command to run, and how it shall end.

    Attributes:
        arguments: Of `moovitamix`.
        environment: Variables to set.
        output: Where what it prints goes.
        point: Where the kill falls, or None.
        server_pids: What is killed there; nothing given, the command itself.
        delay_seconds: Kill the command so long after its start; 0 is never.
        trace: Where its operations are noted.
    """

    arguments: list[str]
    environment: dict[str, str]
    output: str
    point: Point | None = None
    server_pids: tuple[int, ...] = ()
    delay_seconds: float = 0.0
    trace: str | None = None


class Ended(msgspec.Struct, frozen=True):
    """How it ended: the exit code, or minus the signal; None when it hung and was removed."""

    code: int | None
    seconds: float


class Nursery:
    """Runs orders, one at a time, in forks of a process that has imported what a run needs.

    Args:
        environment: Of that process.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def run(self, order: Order) -> Ended:
        """Run a command to its end, whatever that is."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(order) + b"\n")
        self._process.stdin.flush()
        return msgspec.json.decode(self._process.stdout.readline(), type=Ended)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


def _serve() -> None:
    """Import what a run needs; then fork for each order."""
    import_what_runs_need()
    for line in sys.stdin.buffer:
        order = msgspec.json.decode(line, type=Order)
        began = time.monotonic()
        pid = os.fork()
        if pid == 0:
            _be_the_command(order)
        code = _end_of(pid, order.delay_seconds)
        ended = Ended(code, time.monotonic() - began)
        sys.stdout.buffer.write(msgspec.json.encode(ended) + b"\n")
        sys.stdout.buffer.flush()


def _end_of(pid: int, delay_seconds: float) -> int | None:
    watched = os.pidfd_open(pid)
    try:
        patience = delay_seconds or PATIENCE_SECONDS
        in_time = bool(select.select([watched], [], [], patience)[0])
    finally:
        os.close(watched)
    if not in_time:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) if in_time or delay_seconds else None


def _be_the_command(order: Order) -> None:
    os.setsid()
    with Path(order.output).open("ab") as output, Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    os.environ.update(order.environment)
    trace = Path(order.trace) if order.trace else None
    run_and_end(order.arguments, lambda: install(order.point, order.server_pids, trace))


def cold(arguments: Sequence[str], environment: Mapping[str, str], delay_seconds: float) -> Ended:
    """Run the command in a fresh interpreter, as a user does, and kill it after a while.

    Args:
        arguments: Of `moovitamix`.
        environment: All of it.
        delay_seconds: Until the kill; 0 is never.
    """
    began = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-m", "moovitamix", *arguments],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        code: int | None
        try:
            code = process.wait(delay_seconds or PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            killed = process.wait()
            code = killed if delay_seconds else None
    return Ended(code, time.monotonic() - began)


if __name__ == "__main__":
    _serve()
