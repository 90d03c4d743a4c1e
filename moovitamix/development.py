"""The Dagster UI and daemon on the home's servers and history: the command `dev`."""

from __future__ import annotations

import signal
import subprocess
import sys

from rich.console import Console

from moovitamix.embedded import dagster_home, services


def serve_ui(console: Console, host: str, port: int) -> int:
    """Run `dagster dev` on our code location until it ends; its exit code.

    Ctrl-C reaches the child by itself, which then stops its own children: here it is waited for.
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
        *(
            "--workspace",
            str(dagster_home.workspace()),
            "--host",
            host,
            "--port",
            str(port),
            "--log-level",
            "warning",
        ),
    ]
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with subprocess.Popen(command, preexec_fn=_restore_interrupts) as child:  # noqa: PLW1509
            return child.wait()
    finally:
        signal.signal(signal.SIGINT, previous)


def _restore_interrupts() -> None:
    """A child inherits ignored signals; this one is to hear Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
