"""The demonstration source as a server of its own.

What it answers is `app`'s job.
"""

import socket
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

import uvicorn

from moovitamix.embedded.demo_source.app import create_app
from moovitamix.embedded.demo_source.world import DemoParameters
from moovitamix.errors import SettingsError


class _AnnouncingServer(uvicorn.Server):
    """A server that tells when it accepts connections."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            self._announce()


def serve(
    parameters: DemoParameters,
    *,
    host: str = "127.0.0.1",
    port: int = 8700,
    clock: Callable[[], datetime],
    on_ready: Callable[[int], None] | None = None,
) -> None:
    """Serve the demonstration source until the process is told to stop (SIGINT or SIGTERM).

    Args:
        parameters: What the world is made from.
        host: The address to listen on.
        port: The port to listen on; 0 picks a free one.
        clock: Tells the moment the world is shown at, naive UTC.
        on_ready: Called once with the port, as soon as connections are accepted.

    Raises:
        SettingsError: The address cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
        except OSError as error:
            raise SettingsError(
                f"The demonstration source cannot listen on {host}:{port} ({error.strerror}): "
                "choose another port, or 0 for a free one."
            ) from error
        bound: int = listening.getsockname()[1]
        config = uvicorn.Config(
            create_app(parameters, clock),
            log_level="warning",
            access_log=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=2,
        )
        server = _AnnouncingServer(config, lambda: on_ready(bound) if on_ready else None)
        with suppress(KeyboardInterrupt):  # uvicorn raises it again after its orderly end
            server.run(sockets=[listening])
