"""Kills the main job again and again, each time somewhere else, and looks what became of the data.

The real command line runs on one home with a real Postgres, a real Valkey and a source that grows
from day to day. It is killed (SIGKILL) inside transactions, before and after every commit, every
file that is moved into place and the switch of the cache, and at moments by chance; now and then
Postgres or Valkey is killed instead. At the end one run is left in peace, and the tables, the lake,
the cache and Dagster's history are compared with a home where nothing was killed.

A training is killed on a home of its own, a copy of one that had loaded its days and had no model
yet; there as well one run is left in peace after the kill, and the same is compared.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from pathlib import Path

from rich.console import Console
from rich.table import Table

from moovitamix_tests.kills.campaign import Campaign
from moovitamix_tests.kills.plan import Tally

console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)


def main() -> int:
    """Run a campaign, tell what it came to; 1 where something did not hold."""
    parser = ArgumentParser(
        prog="python -m moovitamix_tests.kills",
        description=__doc__,
        formatter_class=ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=200, help="how many")
    parser.add_argument("--seed", type=int, default=1, help="of the order of kills")
    parser.add_argument(
        "--within", type=float, default=3_600.0, metavar="SECONDS", help="then no more is killed"
    )
    parser.add_argument("--keep", type=Path, help="keep homes and outputs in this folder")
    asked = parser.parse_args()
    began = time.monotonic()
    # Told to end, leave no server behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))

    def tell(sentence: str) -> None:
        console.print(f"[dim]{time.monotonic() - began:6.0f} s[/]  {sentence}")

    with tempfile.TemporaryDirectory(prefix="moovitamix-kills-") as temporary:
        # Started by root, Postgres becomes another user, who must be able to enter the folder.
        Path(temporary).chmod(0o755)
        folder = asked.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        campaign = Campaign(
            folder, kills=asked.kills, seed=asked.seed, within_seconds=asked.within, tell=tell
        )
        tally = campaign.run()
    _show(tally, time.monotonic() - began)
    return 1 if tally.findings else 0


def _show(tally: Tally, seconds: float) -> None:
    operations = sorted({operation for _, operation in tally.kills})
    table = Table("step", *operations, "all", title="Kills")
    for step in sorted({step for step, _ in tally.kills}):
        counts = [tally.kills[step, operation] for operation in operations]
        table.add_row(step, *(str(n or "") for n in counts), str(sum(counts)))
    console.print(table)
    console.print(
        f"{tally.killed} kills in {tally.runs} runs over {tally.days} days, {tally.missed} runs "
        f"ended before the chosen point, {tally.pulls} pulls kept, {seconds:.0f} s"
    )
    left = tally.left
    console.print(
        f"{len(tally.wanted) - len(left)} of {len(tally.wanted)} transactions, file moves and "
        "switches were killed at, each"
        + (": not " + ", ".join(f"{p.step} {p.operation} {p.nth}" for p in left) if left else ".")
    )
    for finding in tally.findings:
        console.print(f"[red]✗[/] {finding}", markup=True)
    if not tally.findings:
        console.print("[green]✓[/] As if nothing had been killed.")


if __name__ == "__main__":
    sys.exit(main())
