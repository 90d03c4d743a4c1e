"""Homes that commands run on, and the source that all pull from: it grows with the clock."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import date, datetime, time, timedelta
from pathlib import Path

from moovitamix.embedded.demo_source.app import create_app
from moovitamix.embedded.demo_source.world import DemoParameters, DemoWorld
from moovitamix.embedded.postgres import ensure_postgres
from moovitamix.embedded.valkey import ensure_valkey
from moovitamix.ingest.client import SourceClient
from moovitamix.ingest.lake import LakeStore
from moovitamix.ingest.pull import pull_source
from moovitamix.ingest.pulls import kept_pulls
from moovitamix_tests.kills import examination
from moovitamix_tests.kills.points import Point
from moovitamix_tests.kills.victims import Ended, Nursery, Order, cold
from moovitamix_tests.reference_source import serve_app
from moovitamix_tests.warehouse.telling import tell_within

ROOT = Path(__file__).parents[2]
# Long ago: forks have the partitions of the process that they are made of, and these end where
# the system's clock stands.
FIRST_DAY = date(2025, 8, 1)
_WORLD = DemoParameters(first_day=FIRST_DAY, days=60, users=80, tracks=120, listens=3_000)
START = datetime.combine(FIRST_DAY + timedelta(days=7), time(12))

_TOLD_A_DAY = 12

Told = dict[tuple[int, datetime, tuple[int, ...], date], None]
"""User, moment, tracks, day: what the app told a home, in this order, each once."""


class Homes:
    """Commands on homes in one folder.

    Args:
        folder: For homes and outputs.

    Attributes:
        now: The moment that commands and the source take for the present.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = START
        self._used: set[Path] = set()

    @contextmanager
    def running(self) -> Iterator[None]:
        """With the source, and what commands are forked from; all servers are stopped after it."""
        with ExitStack() as stack:
            stack.callback(self._stop_all)
            self._url = stack.enter_context(serve_app(create_app(_WORLD, lambda: self.now)))
            environment = self._environment(self.folder / "killed")
            self._nursery = stack.enter_context(Nursery(environment))
            yield

    def command(
        self,
        home: Path,
        arguments: Sequence[str],
        *,
        point: Point | None = None,
        server: str | None = None,
        trace: Path | None = None,
    ) -> Ended:
        """Run a command to its end.

        Args:
            home: Where.
            arguments: Of `moovitamix`.
            point: Where it is killed.
            server: Which server of the home is killed there in its place.
            trace: Where its operations are noted.
        """
        self._used.add(home)
        home.mkdir(parents=True, exist_ok=True)
        ours = {
            name: value
            for name, value in self._environment(home).items()
            if name.startswith("MOOVITAMIX_")
        }
        return self._nursery.run(
            Order(
                arguments=list(arguments),
                environment=ours,
                output=str(self.output(home)),
                point=point,
                server_pids=_server_pids(home, server) if server else (),
                trace=str(trace) if trace else None,
            )
        )

    def cold_command(self, home: Path, arguments: Sequence[str], delay_seconds: float) -> Ended:
        """Run a command as a user does, and kill it after a while; 0 is never."""
        self._used.add(home)
        return cold(arguments, self._environment(home), delay_seconds)

    def in_peace(self, home: Path, arguments: Sequence[str], trace: Path | None = None) -> None:
        """Run a command that nobody kills.

        Raises:
            RuntimeError: When it fails.
        """
        if self.command(home, arguments, trace=trace).code != 0:
            raise RuntimeError(f"A run in peace failed: see {self.output(home)}")

    def output(self, home: Path) -> Path:
        """Where commands on a home print to."""
        return self.folder / f"{home.name}.log"

    def stop_servers(self, home: Path) -> None:
        """Stop the servers of a home, as a user does."""
        if home.exists():
            cold(["down"], self._environment(home), 0)

    def let_the_app_tell(self, home: Path, told: Told) -> None:
        """The app tells of what was heard today: of some of it alone, no pull will bring it."""
        self._used.add(home)
        world = DemoWorld(_WORLD)
        count = world.count_listens(self.now)
        heard = world.listens(max(0, count - _TOLD_A_DAY), count, self.now)
        with examination.warehouse_of(home).connect() as connection:
            for number, record in enumerate(heard):
                moment = datetime.fromisoformat(record.created_at)
                if number % 2:
                    moment += timedelta(microseconds=1)
                play = (record.user_id, moment, tuple(record.items), self.now.date())
                tell_within(connection, *play[:3], day=play[3])
                told[play] = None

    def leave_alone(self, home: Path, reference: Path, told: Told) -> int:
        """The same pulls at the same moments on another home, then one run over all days.

        Returns:
            How many pulls.

        Raises:
            RuntimeError: When that run fails.
        """
        lake = LakeStore((reference / "lake").as_uri())
        last = self.now
        pulls = kept_pulls(LakeStore((home / "lake").as_uri()))
        for pull in pulls:
            self.now = pull.began

            async def again() -> None:
                async with SourceClient(self._url) as client:
                    await pull_source(
                        lake,
                        client,
                        spool=reference / "spool",
                        clock=lambda: self.now,
                        first_day=FIRST_DAY,
                    )

            asyncio.run(again())
        self.now = last
        self._used.add(reference)
        with examination.warehouse_of(reference).connect() as connection:
            for user, moment, tracks, day in told:
                tell_within(connection, user, moment, tracks, day=day)
        self.in_peace(reference, ["run", f"--into-csv={reference / 'csv'}"])
        return len(pulls)

    def _environment(self, home: Path) -> dict[str, str]:
        ours = ("MOOVITAMIX_", "DAGSTER_", "COLUMNS", "PYTHONPATH")
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(ours)},
            "PYTHONPATH": str(ROOT),
            "MOOVITAMIX_FIRST_DAY": FIRST_DAY.isoformat(),
            "MOOVITAMIX_HOME": str(home),
            "MOOVITAMIX_NOW": self.now.isoformat(),
            "MOOVITAMIX_SOURCE_URL": self._url,
        }

    def _stop_all(self) -> None:
        for home in sorted(self._used):
            self.stop_servers(home)


def _server_pids(home: Path, server: str) -> tuple[int, ...]:
    """The processes of a server of the home; it is started when it does not run."""
    folder = home / server
    if server == "postgres":
        ensure_postgres(folder)
        return (int((folder / "postmaster.pid").read_text().split()[0]),)
    ensure_valkey(folder)
    state = json.loads((folder / "server.json").read_text())
    return (int(state["pid"]),)
