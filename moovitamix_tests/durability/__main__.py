"""Posts listens while the API, Valkey and Postgres are killed and started again, and counts them.

Real servers: one worker of the API, the embedded Postgres and the embedded Valkey. Each is killed
(SIGKILL) at moments by chance. What is not acknowledged is sent again, as an app would. At the end
every acknowledged play has to be in `activity` once and nothing else, and the lists that are
served have to know what was heard.
"""

from __future__ import annotations

import sys
import tempfile
import time
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from pathlib import Path

from rich.console import Console

from moovitamix_tests.durability.campaign import Campaign

console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)


def main() -> int:
    """Run a campaign, tell what it came to; 1 where something did not hold."""
    parser = ArgumentParser(
        prog="python -m moovitamix_tests.durability",
        description=__doc__,
        formatter_class=ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--listens", type=int, default=1_000_000, help="plays to post")
    parser.add_argument("--every", type=float, default=8.0, help="seconds between two kills")
    parser.add_argument("--seed", type=int, default=1, help="of who is killed, and when")
    asked = parser.parse_args()
    began = time.monotonic()

    def tell(sentence: str) -> None:
        console.print(f"[dim]{time.monotonic() - began:6.0f} s[/]  {sentence}")

    with tempfile.TemporaryDirectory(prefix="moovitamix-durability-") as folder:
        # Started by root, Postgres becomes another user, who must be able to enter the folder.
        Path(folder).chmod(0o755)
        tally = Campaign(
            Path(folder), listens=asked.listens, every=asked.every, seed=asked.seed, tell=tell
        ).run()
    kills = ", ".join(f"{name} {count}" for name, count in sorted(tally.kills.items()))
    console.print(
        f"{tally.acknowledged:,} plays acknowledged in {tally.requests:,} requests, "
        f"{tally.again:,} sent again; kills: {kills or 'none'}; {tally.users} lists looked at; "
        f"{time.monotonic() - began:.0f} s"
    )
    for finding in tally.findings:
        console.print(f"[red]✗[/] {finding}")
    if not tally.findings:
        console.print("[green]✓[/] Every acknowledged play is there once, and every list knows.")
    return 1 if tally.findings else 0


if __name__ == "__main__":
    sys.exit(main())
