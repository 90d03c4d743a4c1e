"""What the console costs: a page by itself, and the hot path while somebody looks.

Against a running `moovitamix serve --no-access-log` that holds a platform, without keys and with
MOOVITAMIX_RATE_LIMIT=0. In turns: lists alone, lists while the console is opened once a second, and
while two browsers open page after page without a pause. Ratios hold better than figures. Needs
`wrk`; nothing else should run meanwhile.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import threading
import time
import urllib.request
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager

ALONE, SOMEBODY, TWO = "nobody looks", "once a second", "two without a pause"
VARIANTS: dict[str, tuple[int, float]] = {ALONE: (0, 0.0), SOMEBODY: (1, 1.0), TWO: (2, 0.0)}
CONNECTIONS = 32


def main() -> None:
    """Measure and print."""
    parser = ArgumentParser(description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--seconds", type=int, default=4, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="turns; the median is shown")
    asked = parser.parse_args()
    users = re.findall(r"users\?id=(\d+)", _open(f"{asked.url}/console/users"))
    assert users, "Nobody has heard anything there: run `moovitamix run` first."
    pages = ["/", f"/console/users?id={users[0]}", "/console/tracks", "/console/tracks?q=the"]
    for page in pages:
        print(f"{page:<28}{_milliseconds(asked.url + page):>8.1f} ms")
    hot = f"{asked.url}/users/{users[0]}/recommendations?limit=20"
    rates: dict[str, list[float]] = {name: [] for name in VARIANTS}
    tails: dict[str, list[float]] = {name: [] for name in VARIANTS}
    order = list(VARIANTS)
    for _ in range(asked.rounds):
        order.append(order.pop(0))  # none is always the first
        for name in order:
            browsers, pause = VARIANTS[name]
            with _looking([asked.url + page for page in pages], browsers, pause):
                rate, tail = _wrk(hot, asked.seconds)
            rates[name].append(rate)
            tails[name].append(tail)
    alone = statistics.median(rates[ALONE])
    for name in VARIANTS:
        rate, tail = statistics.median(rates[name]), statistics.median(tails[name])
        print(f"{name:<28}{rate:>8,.0f} req/s{rate / alone:>8.2f}{tail:>10.1f} ms at p99")


def _open(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - as was asked for
        return bytes(answer.read()).decode()


def _milliseconds(url: str) -> float:
    _open(url)
    spent = []
    for _ in range(20):
        began = time.perf_counter()
        _open(url)
        spent.append(1e3 * (time.perf_counter() - began))
    return statistics.median(spent)


@contextmanager
def _looking(urls: list[str], browsers: int, pause: float) -> Iterator[None]:
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            for url in urls:
                _open(url)
                if ended.wait(pause):
                    return

    threads = [threading.Thread(target=look) for _ in range(browsers)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def _wrk(url: str, seconds: int) -> tuple[float, float]:
    """Requests a second, and milliseconds at p99."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", "--latency"]
    subprocess.run([*command, "-d1s", url], check=True, capture_output=True)  # warms up
    told = subprocess.run(
        [*command, f"-d{seconds}s", url], check=True, capture_output=True, text=True
    ).stdout
    assert "Non-2xx" not in told, told
    rate, tail = (
        re.search(r"Requests/sec:\s+([\d.]+)", told),
        re.search(r"99%\s+(\S+?)(m?s)\n", told),
    )
    assert rate, told
    assert tail, told
    return float(rate[1]), float(tail[1]) * (1 if tail[2] == "ms" else 1e3)


if __name__ == "__main__":
    main()
