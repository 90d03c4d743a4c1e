"""A process that renews, publishes or switches in children, killed before their n-th round trip.

It has one thread, for a forked test process, in which other threads hold locks, may hang. Reads a
number a line, and answers `killed` or `done`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import redis

from moovitamix.serve.life import living, renew, switch_to
from moovitamix_tests.serve.test_generations import PREFIX, USERS, begin, lists_of


class Deadly(redis.Redis):
    """A client whose process is killed before its n-th round trip."""

    left: int

    def execute_command(self, *args: Any, **options: Any) -> Any:
        self.count()
        return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]  # redis's

    def pipeline(self, *args: Any, **options: Any) -> Any:
        self.count()
        return super().pipeline(*args, **options)

    def count(self) -> None:
        self.left -= 1
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)


def publish(client: redis.Redis) -> None:
    """A whole publication of version 2."""
    with begin(client, 2) as writer:
        writer.write("u", USERS, lists_of(2))
        writer.make_current()


WORK: dict[str, Callable[[redis.Redis], object]] = {
    "publish": publish,
    "renew": lambda client: renew(client, PREFIX),
    "switch": lambda client: switch_to(client, PREFIX, living(client, PREFIX)[-1]),
}


@contextmanager
def killed_after(url: str, work: str) -> Iterator[Callable[[int], bool]]:
    """Ask whether some work was killed before its n-th round trip, or came to its end first."""
    command = [sys.executable, "-m", __name__, url, work]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        asked, answers = process.stdin, process.stdout

        def killed(trips: int) -> bool:
            asked.write(f"{trips}\n")
            asked.flush()
            answer = answers.readline().strip()
            assert answer in {"killed", "done"}
            return answer == "killed"

        yield killed
        asked.close()


def main(url: str, work: str) -> None:
    """Fork for each number, and tell what became of the child."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            client = cast("Deadly", Deadly.from_url(url))
            client.left = int(line)
            WORK[work](client)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print({0: "done", signal.SIGKILL: "killed"}.get(status, "failed"), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
