"""Has a process of its own fold in for all workers of a server, and another when it has ended.

What that process does is told in `fold_process.py`. Two on one host would do no harm, only the same
work twice. Without any, lists stay as they are; the next one finds whose are old.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from moovitamix.errors import MoovitaMixError
from moovitamix.resources import Cache, Warehouse
from moovitamix.serve.http.telling import open_pipe, pipe_in

log = logging.getLogger(__name__)

# Where the workers of a server find its folder; set for them, not by people.
FOLDER = "MOOVITAMIX_SERVER_FOLDER"

_PROCESS = "moovitamix.serve.http.fold_process"
# Seconds: until another is begun; doubled as long as they live shorter than the last.
_PAUSE, _LONGEST_PAUSE, _LIVES = 0.5, 30.0, 60.0
# Seconds until one that does not end by itself is killed.
_PATIENCE = 5.0


@contextmanager
def folding_beside(folder: Path) -> Iterator[None]:
    """A block in which a process folds in, and servers that are begun here tell it for whom.

    Args:
        folder: Of this server alone: for its pipe, and for figures.
    """
    pipe = pipe_in(folder)
    os.mkfifo(pipe, 0o600)
    kept = open_pipe(pipe)  # what is in it outlives who reads it
    os.environ[FOLDER] = str(folder)
    supervision = _Supervision(folder)
    thread = threading.Thread(target=supervision.run, name="fold-supervision", daemon=True)
    thread.start()
    try:
        yield
    finally:
        supervision.stop()
        thread.join(timeout=2 * _PATIENCE)
        del os.environ[FOLDER]
        os.close(kept)


class _Supervision:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stopping = threading.Event()
        self._changing = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        from prometheus_client.multiprocess import mark_process_dead

        environment: dict[str, str] | None = None
        ended: list[str] = []
        pause = _PAUSE
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                environment = environment or self._environment()
                process = self._begin(environment, ended)
            except (MoovitaMixError, OSError) as error:
                log.error("Nothing folds in: %s", error)  # noqa: TRY400 - it is told in a sentence
                process = None
            if process is not None:
                ended = [str(process.wait())]
                _let_go(process)
                # Its counts stay, and how many wait for it does not.
                mark_process_dead(process.pid, str(self._folder))  # type: ignore[no-untyped-call]  # theirs
            pause = _PAUSE if time.monotonic() - began > _LIVES else min(2 * pause, _LONGEST_PAUSE)
            self._stopping.wait(pause)

    def stop(self) -> None:
        self._stopping.set()
        with self._changing:
            process = self._process
        if process is None:
            return
        _let_go(process)
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()

    def _begin(
        self, environment: dict[str, str], ended: list[str]
    ) -> subprocess.Popen[bytes] | None:
        with self._changing:
            if self._stopping.is_set():
                return None
            self._process = subprocess.Popen(
                [sys.executable, "-m", _PROCESS, str(self._folder), *ended],
                stdin=subprocess.PIPE,
                env=environment,
            )
            return self._process

    def _environment(self) -> dict[str, str]:
        """Embedded stores are begun here and once: one that is stopped later stays so."""
        return {
            **os.environ,
            "MOOVITAMIX_DATABASE_URL": Warehouse().address(),
            "MOOVITAMIX_REDIS_URL": Cache().address(),
            "PROMETHEUS_MULTIPROC_DIR": str(self._folder),
        }


def _let_go(process: subprocess.Popen[bytes]) -> None:
    """End its standard input, and so the process."""
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()
