"""The Dagster UI and daemon on the home's servers and history: the command `dev`."""

from __future__ import annotations

import signal
import subprocess
import sys
from types import FrameType

from rich.console import Console

from moovitamix.embedded import dagster_home, services

_ENDING = (signal.SIGINT, signal.SIGTERM)


def serve_ui(console: Console, host: str, port: int) -> int:
    """Run `dagster dev` on our code location until it ends; its exit code.

    It has a session of its own, and hears of an interrupt or termination once, from here: then
    it stops its own children in order.
    """
    home = dagster_home.prepare()
    services.start_all()
    console.print(
        f"The Dagster UI will listen on [bold]http://{host}:{port}[/]; its history is in {home}.\n"
        "Ctrl-C stops it."
    )
    command = [
        # It recommends `dg dev`, which wants a project folder: an installed package has none.
        *(sys.executable, "-W", "ignore", "-m", "dagster", "dev"),
        *("--workspace", str(dagster_home.workspace()), "--host", host, "--port", str(port)),
        *("--log-level", "warning"),
    ]
    child = subprocess.Popen(command, start_new_session=True)

    def pass_on(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature
        child.send_signal(signal.SIGINT)

    previous = {number: signal.signal(number, pass_on) for number in _ENDING}
    try:
        return child.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
