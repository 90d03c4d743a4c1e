"""The Dagster UI, its daemon and the HTTP API on the home's servers: the command `dev`."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from types import FrameType

from rich.console import Console

from moovitamix.embedded import dagster_home, services

_ENDING = (signal.SIGINT, signal.SIGTERM)


def serve_ui(console: Console, host: str, port: int, api_port: int) -> int:
    """Run `dagster dev` on our code location, and the API, until the first ends; its exit code.

    Each has a session of its own, and hears of an interrupt or termination once, from here: then
    it stops its own children in order. The API listens on loopback, whatever the host of the UI.
    """
    home = dagster_home.prepare()
    services.start_all()
    _close_killed_runs(console)
    console.print(
        f"The Dagster UI will listen on [bold]http://{host}:{port}[/]; its history is in {home}.\n"
        "Ctrl-C stops all."
    )
    ui = [
        # It recommends `dg dev`, which wants a project folder: an installed package has none.
        *(sys.executable, "-W", "ignore", "-m", "dagster", "dev"),
        *("--workspace", str(dagster_home.workspace()), "--host", host, "--port", str(port)),
        *("--log-level", "warning"),
    ]
    api = [sys.executable, "-m", "moovitamix", "serve", "--port", str(api_port), "--no-access-log"]
    children: list[subprocess.Popen[bytes]] = []

    def pass_on(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a handler's signature
        for child in children:
            child.send_signal(signal.SIGINT)

    # Before they are started: what a shell's `&` has set to be ignored they would ignore as well.
    previous = {number: signal.signal(number, pass_on) for number in _ENDING}
    try:
        for command in (ui, api):
            # Not a list made at once: a signal between the two has to reach the first.
            children.append(subprocess.Popen(command, start_new_session=True))  # noqa: PERF401 - see above
        return _first_to_end(children)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _close_killed_runs(console: Console) -> None:
    from dagster import DagsterInstance

    from moovitamix.killed_runs import close_killed_runs

    with DagsterInstance.get() as instance:
        closed = close_killed_runs(instance)
    if closed:
        console.print(f"Closed {len(closed)} runs that were killed: they count as unfinished else.")


def _first_to_end(children: list[subprocess.Popen[bytes]]) -> int:
    """Wait until one has ended, and end the others: half of it running would only confuse."""
    ended = threading.Event()

    def wait_for(child: subprocess.Popen[bytes]) -> None:
        child.wait()
        ended.set()

    threads = [threading.Thread(target=wait_for, args=(child,)) for child in children]
    for thread in threads:
        thread.start()
    while not ended.wait(0.5):  # a wait without an end would keep signals from being handled
        pass
    codes = [child.poll() for child in children]
    for child in children:
        if child.poll() is None:
            child.send_signal(signal.SIGINT)
    for thread in threads:
        thread.join()
    return next((code for code in codes if code), 0)
