"""How fast and in how much memory the demonstration source is pulled, against reading it bare.

For each size of the world a source is started, and read in turn by two processes of their own with
the same number of requests under way: one that reads the bodies of all pages and throws them
away, and a whole pull into an empty lake, from the first request to the manifest. The share that
the pull reaches of the bare pages a second holds better than either figure: take the median of
several rounds, for source and reader share the machine. The bare reader is aiohttp's; where `wrk`
is installed it reads the same pages too, as a load generator that takes next to nothing for
itself. Peak memory is what the kernel says of the pull's process.
"""

from __future__ import annotations

import asyncio
import json
import resource
import shutil
import subprocess
import sys
import tempfile
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from statistics import median
from time import perf_counter, process_time, sleep
from typing import Any

FIRST_DAY = date(2026, 9, 1)
NOW = datetime(2026, 10, 31, 12)  # noqa: DTZ001 - naive UTC, like all times of the source
CONCURRENT_REQUESTS = 16
WRK_SECONDS = 10

# One request a page, each page in turn, as a pull asks for them; then from the beginning.
WRK_SCRIPT = """
local endpoints = {%s}
local at, page = 1, 0
request = function()
  page = page + 1
  if page > endpoints[at][2] then at, page = at %% #endpoints + 1, 1 end
  return wrk.format("GET", "/" .. endpoints[at][1] .. "?size=100&page=" .. page)
end
"""


def main() -> None:
    """Measure and print; with `--as`, be one of the measured processes."""
    parser = ArgumentParser(description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter)
    parser.add_argument(
        "--listens", type=int, nargs="+", default=[100_000, 1_000_000, 5_000_000], help="of a world"
    )
    parser.add_argument("--rounds", type=int, default=3, help="readings by each, in turn")
    parser.add_argument("--again", action="store_true", help="measure a second pull as well")
    parser.add_argument("--as", dest="role", choices=list(ROLES), help="used by itself")
    parser.add_argument("--url", help="used by itself")
    parser.add_argument("--folder", type=Path, help="used by itself")
    asked = parser.parse_args()
    if asked.role:
        print(json.dumps(ROLES[asked.role](asked.url, asked.folder)))
        return
    columns = ("bare/s", "pull/s", "share", "bare ms", "pull ms", "start MB", "peak MB", "  wrk/s")
    print("  listens   pages ", "  ".join(columns), " of wrk")
    for listens in asked.listens:
        with _source(listens) as url:
            _measure("bare", url)  # the source makes its days when they are first asked for
            bare = [(_measure("bare", url), _measure("pull", url)) for _ in range(asked.rounds)]
            _print_row(f"{listens:>9,}", bare, _wrk(url, bare[0][0]["by_endpoint"]))
            if asked.again:
                again = [(_measure("bare", url), _measure("again", url))]
                _print_row("    again", again, None)


def _print_row(
    title: str, rounds: list[tuple[dict[str, Any], dict[str, Any]]], wrk: float | None
) -> None:
    pages = rounds[0][0]["pages"]
    bare = median(pages / one["seconds"] for one, _ in rounds)
    pull = median(pages / one["seconds"] for _, one in rounds)
    share = median(one["seconds"] / other["seconds"] for one, other in rounds)
    start, peak = (max(other[name] for _, other in rounds) for name in ("start_mb", "peak_mb"))
    # Of processor time, a page: it does not depend on who else is at work.
    bare_ms, pull_ms = (
        1_000 * median(one["processor"] for one in those) / pages
        for those in zip(*rounds, strict=True)
    )
    told = f"{wrk:>8,.0f}  {pull / wrk:>6.2f}" if wrk else "       -       -"
    print(
        f"{title}  {pages:>6,}  {bare:>6,.0f}  {pull:>6,.0f}  {share:>5.2f}  {bare_ms:>7.2f}  "
        f"{pull_ms:>7.2f}  {start:>8,.0f}  {peak:>7,.0f}{told}",
        flush=True,
    )


@contextmanager
def _source(listens: int) -> Iterator[str]:
    """A demonstration source whose clock stands still, as a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        port_file = Path(folder) / "port"
        options = {
            "--port": 0,
            "--port-file": port_file,
            "--now": NOW.isoformat(),
            "--speed": 0,
            "--first-day": FIRST_DAY,
            "--listens": listens,
            "--users": max(3_000, listens // 50),
            "--tracks": max(4_000, listens // 100),
        }
        told = [str(part) for option in options.items() for part in option]
        command = [sys.executable, "-m", "moovitamix", "source", "serve", *told]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            while not port_file.exists():
                if process.poll() is not None:
                    raise SystemExit("The demonstration source did not start.")
                sleep(0.05)
            yield f"http://127.0.0.1:{port_file.read_text()}"
        finally:
            process.terminate()
            process.wait()


def _measure(role: str, url: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--as", role, "--url", url, "--folder", folder]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def _wrk(url: str, pages: dict[str, int]) -> float | None:
    """Pages a second by wrk, or None where it is not installed."""
    if not shutil.which("wrk"):
        return None
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(
            WRK_SCRIPT % ", ".join(f'{{"{name}", {last}}}' for name, last in pages.items())
        )
        script.flush()
        command = ["wrk", "-t1", f"-c{CONCURRENT_REQUESTS}", f"-d{WRK_SECONDS}s"]
        done = subprocess.run(
            [*command, "-s", script.name, url], check=True, capture_output=True, text=True
        )
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("Requests/sec:")]
    return float(line.split()[1])


def _bare(url: str, _folder: Path) -> dict[str, Any]:
    """Read all pages with as many requests under way as a pull has, and throw them away."""
    import aiohttp

    async def read() -> dict[str, Any]:
        connector = aiohttp.TCPConnector(limit=CONCURRENT_REQUESTS)
        async with aiohttp.ClientSession(connector=connector) as session:
            wanted: list[str] = []
            pages: dict[str, int] = {}
            began, busy = perf_counter(), process_time()
            for endpoint in ("tracks", "users", "listen_history"):
                async with session.get(f"{url}/{endpoint}?page=1&size=100") as answer:
                    pages[endpoint] = (await answer.json())["pages"]
                wanted += [
                    f"{url}/{endpoint}?page={number}&size=100"
                    for number in range(2, pages[endpoint] + 1)
                ]
            left = iter(wanted)

            async def work() -> None:
                for address in left:
                    async with session.get(address) as answer:
                        await answer.read()

            await asyncio.gather(*(work() for _ in range(CONCURRENT_REQUESTS)))
            seconds = perf_counter() - began
        return {
            "pages": sum(pages.values()),
            "by_endpoint": pages,
            "seconds": seconds,
            "processor": process_time() - busy,
        }

    return asyncio.run(read())


def _pull(url: str, folder: Path) -> dict[str, Any]:
    """A whole pull into an empty lake."""
    return _pulls(url, folder, 1)


def _again(url: str, folder: Path) -> dict[str, Any]:
    """A pull that finds everything known: the second of two, the peak of both."""
    return _pulls(url, folder, 2)


def _pulls(url: str, folder: Path, times: int) -> dict[str, Any]:
    import uvloop

    from moovitamix.ingest.client import CONCURRENT_REQUESTS as UNDER_WAY
    from moovitamix.ingest.client import SourceClient
    from moovitamix.ingest.lake import LakeStore
    from moovitamix.ingest.pull import pull_source

    assert UNDER_WAY == CONCURRENT_REQUESTS, "both readers are to ask alike"
    lake = LakeStore((folder / "lake").as_uri())
    start = _peak_mb()

    async def pull() -> tuple[float, float]:
        async with SourceClient(url) as client:
            began, busy = perf_counter(), process_time()
            await pull_source(
                lake, client, spool=folder / "spool", clock=lambda: NOW, first_day=FIRST_DAY
            )
            return perf_counter() - began, process_time() - busy

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        seconds, processor = [runner.run(pull()) for _ in range(times)][-1]
    return {"seconds": seconds, "processor": processor, "start_mb": start, "peak_mb": _peak_mb()}


def _peak_mb() -> float:
    """The peak of this process's resident memory until now."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1024


ROLES = {"bare": _bare, "pull": _pull, "again": _again}

if __name__ == "__main__":
    main()
