"""Serves the application on a port: the command `serve`.

What it answers is told in `app.py`.
"""

from __future__ import annotations

import ipaddress
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from rich.console import Console

from moovitamix.errors import SettingsError
from moovitamix.serve.http.fold_supervision import folding_beside
from moovitamix.serve.http.keys import KeyStore
from moovitamix.serve.http.protocol import WholeAnswers
from moovitamix.settings import get_settings

APPLICATION = "moovitamix.serve.http.app:from_settings"

# How uvicorn speaks HTTP here; what stands between it and the application would be asked for the
# shorter ways of `protocol.py` in vain.
UVICORN: dict[str, Any] = {
    "http": WholeAnswers,
    "ws": "none",
    "access_log": False,
    "server_header": False,
    "proxy_headers": False,  # nothing here asks who the client is
    "log_level": "warning",
    "timeout_keep_alive": 75,
    "timeout_graceful_shutdown": 10,
    "backlog": 4_096,
}


def serve(
    console: Console, host: str, port: int, workers: int, *, locked: bool, access_log: bool
) -> None:
    """Serve until interrupted or terminated.

    Args:
        console: Where it is told.
        host: Where to listen.
        port: Where to listen.
        workers: Processes.
        locked: Let nobody in until there is a key, where it would else be open, or be refused.
        access_log: Whether requests are logged.

    Raises:
        SettingsError: When it would be open to others than this machine, or keys cannot be read.
    """
    settings = get_settings()
    configured = settings.api_keys.get_secret_value() if settings.api_keys else None
    store = KeyStore(configured, settings.home_path)
    if locked:
        store.lock()
    keys = store.keys
    if keys is None and not is_loopback(host):
        raise SettingsError(
            f"Without keys, anybody who reaches {host} could ask for anything: refused. Make one "
            "with `moovitamix keys create NAME`, or listen on 127.0.0.1; with --locked it waits "
            "for the first."
        )
    if keys is None:
        lock = "is open, on loopback only"
    elif keys:
        lock = f"asks for one of {len(keys)} keys"
    else:
        lock = "lets nobody in until `moovitamix keys create NAME` has made a key"
    console.print(
        f"The API listens on [bold]http://{host}:{port}[/] (for people at /, docs at /docs); it "
        f"{lock}.\n"
        "Ctrl-C stops it."
    )
    application = APPLICATION if access_log else f"{APPLICATION}_quiet"
    with _folder(workers) as folder, folding_beside(folder):
        uvicorn.run(
            application,
            factory=True,
            host=host,
            port=port,
            workers=workers if workers > 1 else None,
            loop="uvloop",
            log_config=None,  # as everything that the process logs: see `app.from_settings`
            **UVICORN,
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextmanager
def _folder(workers: int) -> Iterator[Path]:
    """A folder in which the processes of this server meet; several workers add up figures there."""
    with tempfile.TemporaryDirectory(
        prefix="moovitamix-serve-", ignore_cleanup_errors=True
    ) as name:
        if workers > 1:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = name
        yield Path(name)
