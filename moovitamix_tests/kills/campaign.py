"""A campaign: which command dies where, on one home whose source grows from day to day."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import date, datetime, time, timedelta
from pathlib import Path
from time import monotonic

from moovitamix.embedded.demo_source.app import create_app
from moovitamix.embedded.demo_source.world import DemoParameters, DemoWorld
from moovitamix.embedded.postgres import ensure_postgres
from moovitamix.embedded.valkey import ensure_valkey
from moovitamix.ingest.client import SourceClient
from moovitamix.ingest.lake import LakeStore
from moovitamix.ingest.pull import pull_source
from moovitamix.ingest.pulls import kept_pulls
from moovitamix_tests.kills import examination
from moovitamix_tests.kills.plan import Counts, Death, Plan, Tally, is_wanted, without
from moovitamix_tests.kills.points import OUTSIDE, Point
from moovitamix_tests.kills.victims import Ended, Nursery, Order, cold
from moovitamix_tests.reference_source import serve_app
from moovitamix_tests.warehouse.telling import tell_within

ROOT = Path(__file__).parents[2]
# Long ago: forks have the partitions of the process that they are made of, and these end where
# the system's clock stands.
FIRST_DAY = date(2025, 8, 1)
_WORLD = DemoParameters(first_day=FIRST_DAY, days=60, users=80, tracks=120, listens=3_000)
_START = datetime.combine(FIRST_DAY + timedelta(days=7), time(12))

# How often a day passes between two runs: else the next run has only the rest of the last to do.
_DAY_PASSES = 0.85
_TOLD_A_DAY = 12


class Campaign:
    """Runs the main job on a home of its own, and kills it.

    Args:
        folder: For homes and outputs.
        kills: How many.
        seed: Of what is left to chance.
        within_seconds: After which no more is killed, and all is looked at.
        tell: Told how it goes.
    """

    def __init__(
        self,
        folder: Path,
        *,
        kills: int,
        seed: int,
        within_seconds: float = float("inf"),
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._deadline = monotonic() + within_seconds
        self._folder = folder
        self._home = folder / "killed"
        self._reference = folder / "left_alone"
        self._kills = kills
        self._chance = random.Random(seed)
        self._tell = tell
        self._now = _START
        # User, moment, tracks, day: in this order, each once.
        self._told: dict[tuple[int, datetime, tuple[int, ...], date], None] = {}
        self.tally = Tally()
        self._plan = Plan(self._chance, self.tally)

    def run(self) -> Tally:
        """Kill, run once in peace, compare with a home where nothing was killed."""
        with self._running():
            first, daily = self._traced()
            self.tally.wanted = {point for point in first + daily if is_wanted(point)}
            self._tell(
                f"{len(first)} points of a first run, {len(daily)} of a daily one; transactions "
                f"and file moves of both: {len(self.tally.wanted)}"
            )
            self._kill_all(first, daily)
            self._examine()
        return self.tally

    def run_these(self, points: Sequence[Point]) -> Tally:
        """The same with kills at these points, in this order, a day apart."""
        with self._running():
            for number, point in enumerate(points):
                self._now += timedelta(days=min(number, 1))
                self._kill(Death(point), ["run"])
            self._examine()
        return self.tally

    @contextmanager
    def _running(self) -> Iterator[None]:
        with ExitStack() as stack:
            stack.callback(self._stop_servers)
            self._url = stack.enter_context(serve_app(create_app(_WORLD, lambda: self._now)))
            self._nursery = stack.enter_context(Nursery(self._environment(self._home)))
            yield

    def _traced(self) -> tuple[list[Point], list[Point]]:
        """The points of a run that trains, which no later run has; and those of a daily one."""
        home = self._folder / "traced"
        counts: list[Counts] = []
        for arguments in (["run"], ["run", f"--into-csv={home / 'csv'}"], ["run"]):
            trace = self._folder / f"trace-{len(counts)}"
            ended = self._command(home, arguments, trace=trace)
            if ended.code != 0:
                raise RuntimeError(f"A run in peace failed: see {self._output(home)}")
            words = (line.split() for line in trace.read_text().splitlines())
            counts.append(Counter((step, operation) for step, operation in words))
            if len(counts) == 1:
                self._now += timedelta(days=1)
        self._now = _START
        first, exporting, serving = counts
        serving = without({OUTSIDE}, serving)
        self._serving = {step for step, _ in serving}
        only_first = without({OUTSIDE, *self._serving} | {step for step, _ in exporting}, first)
        return self._plan.points(only_first), self._plan.points(exporting) + self._plan.points(
            serving
        )

    def _kill_all(self, first: list[Point], daily: list[Point]) -> None:
        training = self._plan.spread(first)[: max(2, self._kills // 5)]
        # Once a champion is promoted no run trains again: what comes after comes last.
        training.sort(key=lambda p: (p.step.startswith("champion_model"), p.moment == "after"))
        for point in training:
            missed = self.tally.missed
            if self.tally.killed < self._kills:
                self._kill(Death(point), ["run"])
            if self.tally.missed > missed:
                break
        for death in self._plan.deaths(daily):
            if self.tally.killed >= self._kills or monotonic() > self._deadline:
                return
            if self._chance.random() < _DAY_PASSES:
                self._now += timedelta(days=1)
                self.tally.days += 1
            into_csv = death.point is not None and death.point.step not in self._serving
            arguments = [f"--into-csv={self._home / 'csv'}"] if into_csv else []
            self._kill(death, ["run", *arguments])

    def _kill(self, death: Death, arguments: list[str]) -> None:
        self.tally.runs += 1
        self._let_the_app_tell()
        if death.cold_after:
            environment = self._environment(self._home)
            ended = cold(arguments, environment, death.cold_after)
            label = ("any", "a moment by chance")
        else:
            assert death.point is not None
            ended = self._command(self._home, arguments, death=death)
            label = (death.point.step, death.server or death.point.operation)
        if ended.code is None:
            self.tally.findings.append(f"The command hung: {death}")
        elif ended.code == -signal.SIGKILL or (death.server and ended.code != 0):
            self.tally.kills[label] += 1
            if death.point is not None and death.server is None:
                self.tally.at.add(death.point)
        elif ended.code == 0:
            self.tally.missed += 1  # also where a server was killed and nobody needed it any more
        else:
            self.tally.findings.append(
                f"The run after {self.tally.killed} kills ended with {ended.code}, nobody killed "
                f"it: {death}; see {self._output(self._home)}"
            )
        faults = examination.generation_faults(self._home)
        self.tally.findings += [f"After {death}: {fault}" for fault in faults]
        if self.tally.runs % 10 == 0:
            self._tell(
                f"{self.tally.killed} of {self._kills} killed, {self.tally.missed} missed, "
                f"{len(self.tally.findings)} findings; there it is {self._now:%Y-%m-%d}"
            )

    def _let_the_app_tell(self) -> None:
        """The app tells of what was heard today: of some of it alone, no pull will bring it."""
        world = DemoWorld(_WORLD)
        count = world.count_listens(self._now)
        heard = world.listens(max(0, count - _TOLD_A_DAY), count, self._now)
        with examination.warehouse_of(self._home).connect() as connection:
            for number, record in enumerate(heard):
                moment = datetime.fromisoformat(record.created_at)
                if number % 2:
                    moment += timedelta(microseconds=1)
                told = (record.user_id, moment, tuple(record.items), self._now.date())
                tell_within(connection, *told[:3], day=told[3])
                self._told[told] = None

    def _examine(self) -> None:
        """One run in peace; then everything is looked at."""
        home, reference, findings = self._home, self._reference, self.tally.findings
        ended = self._command(home, ["run"])
        if ended.code != 0:
            findings.append(f"The run in peace ended with {ended.code}")
        findings += examination.serving_faults(home)
        findings += examination.unfinished_runs(home)
        findings += examination.told_faults(home)
        self._leave_alone()
        findings += examination.differing_tables(home, reference)
        findings += examination.differing_lake(home, reference)

    def _leave_alone(self) -> None:
        """The same pulls at the same moments on another home, then one run over all days."""
        lake = LakeStore((self._reference / "lake").as_uri())
        last = self._now
        for pull in kept_pulls(LakeStore((self._home / "lake").as_uri())):
            self.tally.pulls += 1
            self._now = pull.began

            async def again() -> None:
                async with SourceClient(self._url) as client:
                    await pull_source(
                        lake,
                        client,
                        spool=self._reference / "spool",
                        clock=lambda: self._now,
                        first_day=FIRST_DAY,
                    )

            asyncio.run(again())
        self._now = last
        with examination.warehouse_of(self._reference).connect() as connection:
            for user, moment, tracks, day in self._told:
                tell_within(connection, user, moment, tracks, day=day)
        ended = self._command(self._reference, ["run", f"--into-csv={self._reference / 'csv'}"])
        if ended.code != 0:
            raise RuntimeError(f"A run in peace failed: see {self._output(self._reference)}")

    def _command(
        self,
        home: Path,
        arguments: list[str],
        *,
        death: Death | None = None,
        trace: Path | None = None,
    ) -> Ended:
        home.mkdir(parents=True, exist_ok=True)
        ours = {
            name: value
            for name, value in self._environment(home).items()
            if name.startswith("MOOVITAMIX_")
        }
        return self._nursery.run(
            Order(
                arguments=arguments,
                environment=ours,
                output=str(self._output(home)),
                point=death.point if death else None,
                server_pids=self._server_pids(death.server) if death and death.server else (),
                trace=str(trace) if trace else None,
            )
        )

    def _server_pids(self, server: str) -> tuple[int, ...]:
        """The processes of a server of the home; it is started when it does not run."""
        folder = self._home / server
        if server == "postgres":
            ensure_postgres(folder)
            return (int((folder / "postmaster.pid").read_text().split()[0]),)
        ensure_valkey(folder)
        state = json.loads((folder / "server.json").read_text())
        return (int(state["pid"]),)

    def _environment(self, home: Path) -> dict[str, str]:
        ours = ("MOOVITAMIX_", "DAGSTER_", "COLUMNS", "PYTHONPATH")
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(ours)},
            "PYTHONPATH": str(ROOT),
            "MOOVITAMIX_FIRST_DAY": FIRST_DAY.isoformat(),
            "MOOVITAMIX_HOME": str(home),
            "MOOVITAMIX_NOW": self._now.isoformat(),
            "MOOVITAMIX_SOURCE_URL": self._url,
        }

    def _output(self, home: Path) -> Path:
        return self._folder / f"{home.name}.log"

    def _stop_servers(self) -> None:
        for home in (self._home, self._reference, self._folder / "traced"):
            if home.exists():
                cold(["down"], self._environment(home), 0)
