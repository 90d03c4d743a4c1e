"""A server of ours that outlives the command which started it: one per folder, found by all.

What the server is, and how one talks to it, is the business of the modules that use this.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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

    def running(self) -> dict[str, Any] | None:
        """What was noted of the running server, or None when it does not run."""
        try:
            state = json.loads(self._state_file.read_text())
            process = psutil.Process(state["pid"])
        except (FileNotFoundError, ValueError, KeyError, psutil.NoSuchProcess):
            return None
        # A process id is reused after a while: only the start time tells whether it is ours.
        same = abs(process.create_time() - state["created"]) < 1
        alive = process.status() != psutil.STATUS_ZOMBIE
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
            StoreUnavailable: When the server ends or is not ready in time.
        """
        notes = self.running()
        if notes is not None:
            return notes
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._alone():
            notes = self.running()
            return notes if notes is not None else self._start(command(), ready, timeout_seconds)

    def stop(self, *, timeout_seconds: float = 20) -> bool:
        """Stop the server, gently first. Whether there was one to stop."""
        if self.running() is None:
            return False
        with self._alone():
            if self.running() is None:
                return False
            process = psutil.Process(json.loads(self._state_file.read_text())["pid"])
            process.terminate()
            try:
                process.wait(timeout_seconds)
            except psutil.TimeoutExpired:
                process.kill()
                process.wait(timeout_seconds)
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
        deadline = time.monotonic() + timeout_seconds
        while (notes := ready()) is None:
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                process.wait()
                raise StoreUnavailable(
                    f"{self.name} did not start; the end of {self.log_file}: {self._log_end()} "
                    "Mend the cause and run the command again."
                )
            time.sleep(_POLL_SECONDS)
        state = {
            "pid": process.pid,
            "created": psutil.Process(process.pid).create_time(),
            "notes": dict(notes),
        }
        unfinished = self._state_file.with_suffix(".tmp")
        unfinished.write_text(json.dumps(state))
        unfinished.replace(self._state_file)
        process.returncode = 0  # not ours to wait for: it outlives us
        return dict(notes)

    def _log_end(self) -> str:
        return self.log_file.read_text(errors="replace")[-500:].strip()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with (self.folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def short_socket_folder(folder: Path, name: str) -> Path:
    """A folder in which a Unix socket of this name can be bound: the path may take 107 bytes.

    The folder itself where it is short enough, else one under the system's temporary folder that
    belongs to this folder and user alone.
    """
    import hashlib
    import tempfile

    if len(os.fsencode(folder / name)) <= 100:
        return folder
    key = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    short = Path(tempfile.gettempdir()) / f"moovitamix-{os.getuid()}-{key}"
    short.mkdir(mode=0o700, exist_ok=True)
    if short.stat().st_uid != os.getuid():
        raise StoreUnavailable(f"{short} belongs to somebody else: remove it or set TMPDIR.")
    return short
