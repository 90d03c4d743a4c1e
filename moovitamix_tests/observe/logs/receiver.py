"""A GELF TCP input on loopback: takes what is sent, and checks each message against GELF 1.1."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

PATIENCE = 20.0
"""Seconds after which what has not come is called lost."""

_REQUIRED: dict[str, type | tuple[type, ...]] = {"version": str, "host": str, "short_message": str}
_OPTIONAL: dict[str, type | tuple[type, ...]] = {
    "full_message": str,
    "timestamp": (int, float),
    "level": int,
}
_ADDITIONAL = re.compile(r"_[\w.\-]+", re.ASCII)


def faults_of(message: dict[str, Any]) -> list[str]:
    """What is wrong with a message by "GELF Payload Specification, version 1.1"."""
    faults = [f"{name} is missing" for name in _REQUIRED if name not in message]
    if message.get("version") != "1.1":
        faults.append("version is not 1.1")
    faults += [f"{name} is empty" for name in ("host", "short_message") if not message.get(name)]
    if message.get("level", 1) not in range(8):
        faults.append("level is none of syslog's")
    for name, value in message.items():
        allowed = _REQUIRED.get(name) or _OPTIONAL.get(name)
        if allowed is None:
            if not _ADDITIONAL.fullmatch(name):
                faults.append(f"{name!r} is no name of an additional field")
            if name == "_id":
                faults.append("_id is forbidden")
            allowed = (str, int, float)
        if not isinstance(value, allowed) or isinstance(value, bool):
            faults.append(f"{name} is a {type(value).__name__}")
    return faults


class Receiver:
    """Listens until it is left; what came is in `messages`, in its order.

    Args:
        port: To listen on; 0: a free one.
        tls: To speak TLS with; None: plain.
    """

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self._asked = port
        self._tls = tls
        self.messages: list[dict[str, Any]] = []
        self.connections = 0
        self.port = 0
        self._came = threading.Condition()
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    @property
    def url(self) -> str:
        """As `MOOVITAMIX_GELF_URL` wants it."""
        return f"gelf+{'tls' if self._tls else 'tcp'}://localhost:{self.port}"

    def __enter__(self) -> Receiver:
        self._listener = socket.create_server(("127.0.0.1", self._asked))
        self.port = self._listener.getsockname()[1]
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()
        for thread in self._threads:
            thread.join(PATIENCE)

    def hang_up(self) -> None:
        """End all connections, and listen on."""
        while self._open:
            connection = self._open.pop()
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def wait_for(self, count: int, of: Callable[[dict[str, Any]], bool] = bool) -> None:
        """Wait until so many messages of a kind have come."""
        with self._came:
            came = self._came.wait_for(lambda: sum(map(of, self.messages)) >= count, PATIENCE)
        assert came, f"{len(self.messages)} came: {self.messages[-3:]}"

    def said(self) -> list[str]:
        """The short messages."""
        return [message["short_message"] for message in self.messages]

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        try:
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
        except OSError:
            connection.close()
            return
        self._open.append(connection)
        self.connections += 1
        for message in _frames(connection):
            with self._came:
                self.messages.append(json.loads(message))
                self._came.notify_all()


def _frames(connection: socket.socket) -> Iterator[bytes]:
    """What null bytes end; what is cut off by the connection's end is no message."""
    waiting = b""
    with connection:
        while True:
            try:
                came = connection.recv(65_536)
            except OSError:
                return
            if not came:
                return
            *whole, waiting = (waiting + came).split(b"\0")
            yield from whole
