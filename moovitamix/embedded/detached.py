"""A server of ours that outlives the command which started it: one per folder, found by all.

What the server is, and how one talks to it, is the business of the modules that use this.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from moovitamix.errors import StoreUnavailable

_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class DetachedServer:
    """A process that is started once per folder and found again by its state file.

    Args:
        name: What people call it, for messages.
        folder: Where its state, log and data live.
    """

    name: str
    folder: Path

    @property
    def log_file(self) -> Path:
        """Where the server's output goes."""
        return self.folder / "server.log"

    @property
    def _state_file(self) -> Path:
        return self.folder / "server.json"

    @property
    def _lock_file(self) -> Path:
        return self.folder / ".lock"

    def running(self) -> dict[str, Any] | None:
        """What was noted of the running server, or None when it does not run."""
        try:
            state = json.loads(self._state_file.read_text())
            process = psutil.Process(state["pid"])
            # A process id is reused after a while: only the start time tells whether it is ours.
            same = abs(process.create_time() - state["created"]) < 1
            alive = process.status() != psutil.STATUS_ZOMBIE
        except (OSError, ValueError, KeyError, TypeError, psutil.NoSuchProcess):
            return None
        return dict(state["notes"]) if same and alive else None

    def ensure(
        self,
        command: Callable[[], Sequence[str]],
        ready: Callable[[], Mapping[str, Any] | None],
        *,
        timeout_seconds: float = 20,
    ) -> dict[str, Any]:
        """The notes of the running server; starts it when it does not run.

        Args:
            command: Gives the command line, called only when the server must be started.
            ready: Called again and again after the start; what it returns, once it returns
                something, is noted for everybody who asks later.
            timeout_seconds: How long `ready` may take.

        Raises:
            StoreUnavailable: When the server ends or is not ready in time, or its folder cannot
                be used.
        """
        notes = self.running()
        if notes is not None:
            return notes
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with locked(self._lock_file):
                notes = self.running()
                if notes is None:
                    notes = self._start(command(), ready, timeout_seconds)
                return notes
        except OSError as error:
            raise StoreUnavailable(
                f"{self.name} cannot be started in {self.folder}: {error}. Mend the cause, or set "
                "MOOVITAMIX_HOME to a folder that can be written."
            ) from error

    def stop(self, *, timeout_seconds: float = 20) -> bool:
        """Stop the server, gently first. Whether there was one to stop."""
        if self.running() is None:
            return False
        with locked(self._lock_file):
            if self.running() is None:
                return False
            with suppress(psutil.NoSuchProcess):  # it may end by itself just now
                process = psutil.Process(json.loads(self._state_file.read_text())["pid"])
                process.terminate()
                if not ends_within(timeout_seconds, process):
                    process.kill()
                    ends_within(timeout_seconds, process)
            self._state_file.unlink(missing_ok=True)
            return True

    def _start(
        self,
        command: Sequence[str],
        ready: Callable[[], Mapping[str, Any] | None],
        timeout_seconds: float,
    ) -> dict[str, Any]:
        with self.log_file.open("ab") as log:
            # A session of its own: Ctrl-C in the terminal must not reach it.
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            notes = self._wait_for(process, ready, timeout_seconds)
            created = psutil.Process(process.pid).create_time()
            state = {"pid": process.pid, "created": created, "notes": notes}
            unfinished = self._state_file.with_suffix(".tmp")
            unfinished.write_text(json.dumps(state))
            unfinished.replace(self._state_file)
        except BaseException:  # Ctrl-C too: a server that is noted nowhere could not be stopped
            process.kill()
            process.wait()
            raise
        process.returncode = 0  # not ours to wait for: it outlives us
        return notes

    def _wait_for(
        self,
        process: subprocess.Popen[bytes],
        ready: Callable[[], Mapping[str, Any] | None],
        timeout_seconds: float,
    ) -> dict[str, Any]:
        deadline = time.monotonic() + timeout_seconds
        while (notes := ready()) is None:
            if process.poll() is not None or time.monotonic() > deadline:
                raise StoreUnavailable(
                    f"{self.name} did not start; the end of {self.log_file}: {self._log_end()} "
                    "Mend the cause and run the command again."
                )
            time.sleep(_POLL_SECONDS)
        return dict(notes)

    def _log_end(self) -> str:
        return self.log_file.read_text(errors="replace")[-500:].strip()


@contextmanager
def locked(lock_file: Path) -> Iterator[None]:
    """Hold a lock that one thread of one process has at a time; the file is left behind."""
    with lock_file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def ends_within(seconds: float, process: psutil.Process) -> bool:
    """Whether a process ends in time. One that nobody has collected yet (a zombie) has ended."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                with suppress(psutil.TimeoutExpired):
                    process.wait(0)  # collects it where it is our child
                return True
        except psutil.NoSuchProcess:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)


def short_socket_folder(folder: Path, name: str) -> Path:
    """A folder in which a Unix socket of this name can be bound: the path may take 107 bytes.

    The folder itself where it is short enough and plain (no space or sign that a shell or a URL
    would read), else one under the system's temporary folder that belongs to this folder and user
    alone.

    Raises:
        StoreUnavailable: When that folder belongs to somebody else.
    """
    if len(os.fsencode(folder / name)) <= 100 and re.fullmatch(r"[\w./-]+", str(folder)):
        return folder
    key = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    short = Path(tempfile.gettempdir()) / f"moovitamix-{os.getuid()}-{key}"
    short.mkdir(mode=0o700, exist_ok=True)
    if short.stat().st_uid != os.getuid():
        raise StoreUnavailable(f"{short} belongs to somebody else: remove it or set TMPDIR.")
    return short
