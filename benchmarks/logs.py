"""What it costs to log a sentence: shipped, shipped to nobody, as a line of JSON, or not at all.

    python benchmarks/logs.py --messages 20000

A server on loopback takes what is sent, in a process of its own. Figures are for the thread that
logs; processor time is the whole process', with the thread that sends.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import socket
import subprocess
import sys
import time

from moovitamix.observe.logs import process
from moovitamix.observe.logs.lines import JsonLines
from moovitamix.settings import get_settings

_SERVER = """
import socket
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    connection, _ = listener.accept()
    while connection.recv(1 << 16):
        pass
"""


def measure(handler: logging.Handler, messages: int) -> tuple[float, float]:
    """Microseconds a message: waited for, and of the processor."""
    log = logging.Logger("moovitamix.benchmark", logging.INFO)  # noqa: LOG001 - not to be kept
    log.addHandler(handler)
    cpu, clock = time.process_time(), time.perf_counter()
    for number in range(messages):
        log.info("The lists of %d users were brought up to date.", number, extra={"user": "5f0c"})
    waited = time.perf_counter() - clock
    process.close(30)
    return 1e6 * waited / messages, 1e6 * (time.process_time() - cpu) / messages


def shipped(port: int, messages: int) -> tuple[float, float]:
    """The same by way of a server's port, whoever listens there."""
    os.environ["MOOVITAMIX_GELF_URL"] = f"gelf+tcp://127.0.0.1:{port}"
    get_settings.cache_clear()
    return measure(process.GelfHandler(), messages)


def main() -> None:
    """Print a table, with ratios to a line of JSON into memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=20_000)
    messages = parser.parse_args().messages
    logging.getLogger("graylog").disabled = True
    writing = logging.StreamHandler(io.StringIO())
    writing.setFormatter(JsonLines())
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # nobody listens, and nobody else will
        with subprocess.Popen([sys.executable, "-c", _SERVER], stdout=subprocess.PIPE) as server:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            found = {
                "nowhere": measure(logging.NullHandler(), messages),
                "a line of JSON": measure(writing, messages),
                "shipped": shipped(port, messages),
                "shipped, the server is down": shipped(closed.getsockname()[1], messages),
            }
            server.kill()
    base = found["a line of JSON"]
    print(f"{'':<28} {'waited µs':>10} {'ratio':>6} {'processor µs':>13} {'ratio':>6}")
    for name, (waited, cpu) in found.items():
        ratios = waited / base[0], cpu / base[1]
        print(f"{name:<28} {waited:>10.1f} {ratios[0]:>6.2f} {cpu:>13.1f} {ratios[1]:>6.2f}")


if __name__ == "__main__":
    main()
