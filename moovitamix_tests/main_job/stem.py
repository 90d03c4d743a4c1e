"""The command line forked from a process that has imported what it needs: a stem of commands.

Imports are two thirds of what a small run computes, and the tests start it by the dozen. A fork is
a process like any other otherwise: its environment, folder, session and output are its own. What a
fresh interpreter does is tried where a stem is not used.

    python -m moovitamix_tests.main_job.stem 3    takes orders from the socket of that number
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

import msgspec

from moovitamix_tests.forked_command import import_what_runs_need, run_and_end

_LONGEST_ORDER = 1 << 17


class Order(msgspec.Struct, frozen=True):
    """A command to run.

    Attributes:
        arguments: Of `moovitamix`.
        environment: All of it.
        folder: Where it runs.
    """

    arguments: Sequence[str]
    environment: Mapping[str, str]
    folder: str


class Forked:
    """A command that runs: as much of `subprocess.Popen` as its tests need.

    Args:
        output: Read by them.
        told: Where its number comes from, and how it ended.
    """

    def __init__(self, output: int, told: int) -> None:
        self.stdout = os.fdopen(output)
        self._told = os.fdopen(told)
        self._code: int | None = None
        self.pid = int(self._told.readline())

    def poll(self) -> int | None:
        """The exit code, minus the signal where one ended it, or None: it runs."""
        if self._code is None and select.select([self._told], [], [], 0)[0]:
            self._code = int(self._told.readline())
        return self._code

    def wait(self, timeout: float) -> int:
        """The exit code, when it has ended.

        Raises:
            subprocess.TimeoutExpired: When it does not in so many seconds.
        """
        if self._code is None and not select.select([self._told], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired("moovitamix", timeout)
        code = self.poll()
        assert code is not None
        return code

    def kill(self) -> None:
        """End it, where it runs."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Let go of its output."""
        self.stdout.close()
        self._told.close()


class Stem:
    """Starts commands.

    Args:
        orders: Where the process takes them from.
    """

    def __init__(self, orders: socket.socket) -> None:
        self._orders = orders

    @contextmanager
    def started(self, order: Order) -> Iterator[Forked]:
        """A command in a session of its own, killed at the end of the block."""
        output, its_output = os.pipe()
        told, its_told = os.pipe()
        socket.send_fds(self._orders, [msgspec.json.encode(order)], [its_output, its_told])
        os.close(its_output)
        os.close(its_told)
        command = Forked(output, told)
        try:
            yield command
        finally:
            command.kill()
            command.wait(60)
            command.close()


@contextmanager
def a_stem(first_day: str) -> Iterator[Stem]:
    """A stem for as long as the block runs.

    Args:
        first_day: Read at import, so that each of its commands has it.
    """
    settings = ("MOOVITAMIX_", "DAGSTER_", "COLUMNS")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(settings)},
        "MOOVITAMIX_FIRST_DAY": first_day,
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with (
        ours,
        subprocess.Popen(
            [sys.executable, "-m", __name__, str(its.fileno())],
            env=environment,
            pass_fds=[its.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        ) as process,
    ):
        its.close()
        yield Stem(ours)
        ours.close()
        process.wait(60)


def _serve(orders: socket.socket) -> None:
    """Import what a run needs; then fork for each order."""
    import_what_runs_need()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how a keeper ended
    while True:
        message, descriptors, *_ = socket.recv_fds(orders, _LONGEST_ORDER, 2)
        if not message:
            return
        output, told = descriptors
        if os.fork() == 0:
            orders.close()
            _keep(msgspec.json.decode(message, type=Order), output, told)
        os.close(output)
        os.close(told)


def _keep(order: Order, output: int, told: int) -> NoReturn:
    """Be the parent of a command, and tell how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        os.close(told)
        _be_the_command(order, output)
    os.close(output)
    os.write(told, b"%d\n" % pid)
    _, status = os.waitpid(pid, 0)
    os.write(told, b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def _be_the_command(order: Order, output: int) -> NoReturn:
    os.setsid()
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.chdir(order.folder)
    first_day = os.environ["MOOVITAMIX_FIRST_DAY"]
    os.environ.clear()
    os.environ.update(order.environment)

    def refuse_another_day() -> None:
        # The partitions were built when they were imported.
        assert order.environment["MOOVITAMIX_FIRST_DAY"] == first_day, "take another stem"

    run_and_end(order.arguments, refuse_another_day)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as taken:
        _serve(taken)
