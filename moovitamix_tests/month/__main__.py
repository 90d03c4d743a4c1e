"""Lets a month pass: the real schedules and sensors are evaluated, and what they ask for is run.

The source grows from day to day. Within the month a pull is torn by a restart, a training is killed
while it promotes, a day brings nonsense, the machine is off for a week, tastes shift to one genre,
Redis is flushed, the source is down, and starts anew with other people. What ran, what was served
and what people were told is looked at every day.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from moovitamix_tests.month.source import FIRST_DAY

console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)


def main() -> int:
    """Let it pass, tell what came of it; 1 where something did not hold."""
    parser = ArgumentParser(
        prog="python -m moovitamix_tests.month",
        description=__doc__,
        formatter_class=ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--users", type=int, default=400, help="of the source")
    parser.add_argument("--past", type=int, default=30, help="days heard before the first")
    asked = parser.parse_args()
    # The partitions are built when the package is imported.
    os.environ["MOOVITAMIX_FIRST_DAY"] = FIRST_DAY.isoformat()
    os.environ["MOOVITAMIX_TUNE"] = "0"
    began = time.monotonic()

    def tell(sentence: str) -> None:
        console.print(f"[dim]{time.monotonic() - began:6.0f} s[/]  {sentence}")

    with tempfile.TemporaryDirectory(prefix="moovitamix-month-") as folder:
        # Started by root, Postgres becomes another user, who must be able to enter the folder.
        Path(folder).chmod(0o755)
        os.environ["MOOVITAMIX_HOME"] = str(Path(folder) / "home")
        from moovitamix_tests.month.story import MONTH, Story, trainings

        story = Story(
            Path(folder),
            days=asked.days,
            events=MONTH,
            users=asked.users,
            past=asked.past,
            tell=tell,
        )
        findings = story.run()
        trained = ", ".join(map(str, trainings(story)))
    console.print(f"Trained on {trained or 'no day'}; {time.monotonic() - began:.0f} s")
    for finding in findings:
        console.print("[red]✗[/]", escape(finding))
    if not findings:
        console.print("[green]✓[/] Nobody had to touch it.")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
