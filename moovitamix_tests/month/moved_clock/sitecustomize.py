"""Lets every Python process that finds this folder on its path live by a clock moved from outside.

Python imports `sitecustomize` at its start. The file that `MOVED_CLOCK` names holds by how many
seconds the clock differs from the machine's; it is read again several times a second.
"""

import os
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import grpc._channel
import grpc._cython.cygrpc
import grpc._server
import time_machine

_real_time = time_machine.escape_hatch.time.time
_EVERY_SECONDS = 0.2


def _spare_grpc() -> None:
    """Its deadlines are moments by the machine's clock, made in Python."""
    unmoved = SimpleNamespace(**{**vars(time), "time": _real_time})
    for module in (grpc._channel, grpc._cython.cygrpc, grpc._server):
        module.time = unmoved


def _live_by(file: Path) -> None:
    ahead = float(file.read_text())
    traveller = time_machine.travel(time.time() + ahead, tick=True).start()

    def follow() -> None:
        nonlocal ahead
        pause = threading.Event()
        while not pause.wait(_EVERY_SECONDS):
            if (told := float(file.read_text())) != ahead:
                ahead = told
                traveller.move_to(_real_time() + ahead)

    threading.Thread(target=follow, daemon=True, name="moved clock").start()


if "MOVED_CLOCK" in os.environ:
    _live_by(Path(os.environ["MOVED_CLOCK"]))
    _spare_grpc()
