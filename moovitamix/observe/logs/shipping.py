"""Sends messages to a server from a thread of its own; whoever logs never waits for it.

What is to be sent waits in a queue of bounded length. While the server is down, or too slow, the
oldest give way; how many is told to the server when it is back, and on standard error at the end.
A message is sent again when the connection broke under it, so that it may arrive twice.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing.util
import os
import random
import socket
import ssl
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable

# Not ours by name: Dagster captures what ours say into the run that is under way.
log = logging.getLogger("graylog")

WAITING = 10_000
"""Messages that wait at most."""
WAITING_BYTES = 32 << 20
"""Their bytes, at most: traces are long."""
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_CONNECT_SECONDS = 5.0
_SEND_SECONDS = 10.0
_BATCH_BYTES = 64 << 10
CLOSING_SECONDS = 2.0

Connect = Callable[[float], socket.socket]


class Shipper:
    """A queue, and the thread that empties it.

    Args:
        connect: Makes a connection within so many seconds.
        name: Of the server, for people.
        waiting: How many messages may wait.
        waiting_bytes: How long they may be together.
        told: From a number of messages that gave way to one that tells of it.
        first_pause: Seconds before the second attempt to connect; doubled up to half a minute.
    """

    def __init__(
        self,
        connect: Connect,
        name: str,
        told: Callable[[int], bytes],
        *,
        waiting: int = WAITING,
        waiting_bytes: int = WAITING_BYTES,
        first_pause: float = _FIRST_PAUSE,
    ) -> None:
        self._connect = connect
        self._name = name
        self._told = told
        self._most = waiting
        self._most_bytes = waiting_bytes
        self._first_pause = first_pause
        self._begin_anew()
        _shippers.add(self)

    def _begin_anew(self) -> None:
        """Nothing waits and nothing runs: at first, and in a process that was forked."""
        self._changed = threading.Condition(threading.Lock())
        self._queue: deque[bytes] = deque()
        self._sending: list[bytes] = []
        self._bytes = 0  # of the queue
        self._lost = 0
        self._lost_in_all = 0
        self._closing_at: float | None = None
        self._thread: threading.Thread | None = None
        self._connection: socket.socket | None = None
        self._is_down = False
        self._finalizer: multiprocessing.util.Finalize | None = None

    def after_fork(self) -> None:
        """In a child: what waited is its parent's to send, and so is the connection."""
        inherited = self._connection
        self._begin_anew()
        if inherited is not None:
            with contextlib.suppress(OSError):
                os.close(inherited.detach())  # without a word to the server

    @property
    def lost(self) -> int:
        """How many messages gave way to newer ones, or were left at the end."""
        return self._lost_in_all

    def put(self, message: bytes) -> None:
        """Send a message, some time; returns at once."""
        with self._changed:
            if self._closing_at is not None and self._thread is None:
                self._lost_in_all += 1  # closed
                return
            while self._queue and self._is_full(message):
                self._bytes -= len(self._queue.popleft())
                self._lost += 1
                self._lost_in_all += 1
            self._queue.append(message)
            self._bytes += len(message)
            if self._thread is None:
                self._start()
            if len(self._queue) == 1:  # else the thread is at work, or pauses
                self._changed.notify_all()

    def _is_full(self, message: bytes) -> bool:
        too_many = len(self._queue) + len(self._sending) >= self._most
        return too_many or self._bytes + len(message) > self._most_bytes

    def _start(self) -> None:
        thread = threading.Thread(target=self._work, name="gelf", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return  # the interpreter ends, or has no thread to give: the next message tries again
        self._thread = thread
        # Also run where a process of `multiprocessing` ends, where `atexit` is not.
        self._finalizer = multiprocessing.util.Finalize(None, self.close, exitpriority=10)

    def flush(self, seconds: float) -> bool:
        """Wait until all is sent, but no longer than so many seconds; whether it is."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not self._queue and not self._sending, timeout=seconds
            )

    def close(self, seconds: float = CLOSING_SECONDS) -> None:
        """Send what waits, in at most so many seconds, and end; once is enough.

        A server that does not answer is tried once more, and then given up.
        """
        with self._changed:
            thread = self._thread
            if self._closing_at is not None:
                return
            self._closing_at = time.monotonic() + seconds
            self._changed.notify_all()
        if thread is not None:
            thread.join(seconds + 0.1)
        with self._changed:
            left = len(self._queue) + len(self._sending)
            self._queue.clear()
            self._bytes = 0
            self._lost_in_all += left
            self._thread = None
        if self._finalizer is not None:
            self._finalizer.cancel()
        if self._lost_in_all:
            log.warning("%d log messages did not reach %s.", self._lost_in_all, self._name)

    # --- the thread --------------------------------------------------------------------------

    def _work(self) -> None:
        pause = self._first_pause
        while self._next_batch():
            if self._deliver():
                pause = self._first_pause
                continue
            with self._changed:
                if self._closing_at is None:
                    # Not all processes at once when the server is back.
                    jitter = random.uniform(0.5, 1.0)  # noqa: S311 - no secret
                    self._changed.wait_for(lambda: self._closing_at is not None, pause * jitter)
                else:
                    break
            pause = min(2 * pause, _LONGEST_PAUSE)
        self._disconnect()

    def _next_batch(self) -> bool:
        """Take what is to be sent next; False when all is done and the end has come."""
        with self._changed:
            self._changed.wait_for(self._has_work)
            if self._lost and not self._is_down:
                self._sending.append(self._told(self._lost))
                self._lost = 0
            size = sum(map(len, self._sending))
            while self._queue and size < _BATCH_BYTES:
                self._sending.append(self._queue.popleft())
                size += len(self._sending[-1])
                self._bytes -= len(self._sending[-1])
            return bool(self._sending)

    def _has_work(self) -> bool:
        to_tell = self._lost and not self._is_down
        return bool(self._queue or self._sending or to_tell or self._closing_at is not None)

    def _deliver(self) -> bool:
        """Send the batch; False when the server does not take it, and it is to be tried again."""
        try:
            connection = self._connected()
            connection.settimeout(min(_SEND_SECONDS, self._seconds_left()))
            connection.sendall(b"".join(self._sending))
        except (OSError, ValueError) as error:  # ValueError: of a name that no host can have
            self._disconnect()
            if not self._is_down:
                self._is_down = True
                log.warning("%s takes no log messages: %s.", self._name, type(error).__name__)
            return False
        with self._changed:
            self._sending.clear()
            self._changed.notify_all()
        if self._is_down:
            self._is_down = False
            log.warning("%s takes log messages again.", self._name)
        return True

    def _connected(self) -> socket.socket:
        if self._connection is not None and _is_gone(self._connection):
            self._disconnect()
        if self._connection is None:
            self._connection = self._connect(min(_CONNECT_SECONDS, self._seconds_left()))
        return self._connection

    def _seconds_left(self) -> float:
        closing = self._closing_at
        return _SEND_SECONDS if closing is None else max(closing - time.monotonic(), 0.01)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.close()


def _is_gone(connection: socket.socket) -> bool:
    """Whether the other side has hung up: the first write after that would succeed, and be lost."""
    try:
        connection.settimeout(0)
        return connection.recv(4_096) == b""
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return False
    except OSError:
        return True


_shippers: weakref.WeakSet[Shipper] = weakref.WeakSet()


def _after_fork() -> None:
    for shipper in list(_shippers):
        shipper.after_fork()


os.register_at_fork(after_in_child=_after_fork)
