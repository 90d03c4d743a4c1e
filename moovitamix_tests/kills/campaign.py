"""A campaign: which command dies where, on one home whose source grows from day to day."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from time import monotonic

from moovitamix_tests.kills import examination
from moovitamix_tests.kills.homes import START, Homes, Told
from moovitamix_tests.kills.killing import Killer
from moovitamix_tests.kills.plan import Death, Plan, Tally, is_wanted, without
from moovitamix_tests.kills.points import OUTSIDE, Point
from moovitamix_tests.kills.training import Trainings

# How often a day passes between two runs: else the next run has only the rest of the last to do.
_DAY_PASSES = 0.85
# Of all kills, those of trainings: more where more are wanted and there are enough for all.
_TRAINING_SHARE = 5


class Campaign:
    """Runs the main job on a home of its own, and kills it; trainings on copies of another.

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
        self._homes = Homes(folder)
        self._home = folder / "killed"
        self._reference = folder / "left_alone"
        self._kills = kills
        self._chance = random.Random(seed)
        self._tell = tell
        self._told: Told = {}
        self.tally = Tally()
        self._plan = Plan(self._chance, self.tally)
        self._killer = Killer(self._homes, self.tally, kills, tell)

    def run(self) -> Tally:
        """Kill, run once in peace, compare with a home where nothing was killed."""
        with self._homes.running():
            training, daily = self._traced()
            self.tally.wanted = {point for point in training + daily if is_wanted(point)}
            self._tell(
                f"{len(training)} points of a training, {len(daily)} of a daily run; transactions "
                f"and file moves of both: {len(self.tally.wanted)}"
            )
            self._kill_all(training, daily)
            self._examine()
        return self.tally

    def run_these(self, points: Sequence[Point]) -> Tally:
        """The same with kills at these points, in this order, a day apart."""
        with self._homes.running():
            for number, point in enumerate(points):
                self._homes.now += timedelta(days=min(number, 1))
                self._kill(Death(point), ["run"])
            self._examine()
        return self.tally

    def _traced(self) -> tuple[list[Point], list[Point]]:
        """The points of a training, which only a first run has; and those of a daily run."""
        home = self._homes.folder / "traced"
        traces: list[list[tuple[str, str]]] = []
        for arguments in (["run"], ["run", f"--into-csv={home / 'csv'}"], ["run"]):
            trace = self._homes.folder / f"trace-{len(traces)}"
            self._homes.in_peace(home, arguments, trace)
            words = (line.split() for line in trace.read_text().splitlines())
            traces.append([(step, operation) for step, operation in words])
            if len(traces) == 1:
                self._homes.now += timedelta(days=1)
        self._homes.now = START
        self._homes.stop_servers(home)
        first, exporting, serving = (Counter(trace) for trace in traces)
        serving = without({OUTSIDE}, serving)
        self._serving = {step for step, _ in serving}
        training = without({OUTSIDE, *self._serving} | {step for step, _ in exporting}, first)
        step, operation = next(what for what in traces[0] if what in training)
        begins_at = Point(step, operation, 1, "before")
        self._trainings = Trainings(self._homes, self._killer, self.tally, begins_at)
        daily = self._plan.points(exporting) + self._plan.points(serving)
        return self._plan.points(training), daily

    def _kill_all(self, training: list[Point], daily: list[Point]) -> None:
        """What is wanted, of trainings and then of daily runs; then the rest of both.

        The rest of the trainings comes last: each takes twice the time of another kill or more.
        """
        share = max(2, self._kills // _TRAINING_SHARE)
        if self._kills >= len(self.tally.wanted):
            share = max(share, sum(map(is_wanted, training)))
        chosen = self._plan.spread(training)[:share]
        self._kill_trainings([point for point in chosen if is_wanted(point)])
        others = [point for point in chosen if not is_wanted(point)]
        others = others[: max(0, self._kills - len(self.tally.wanted))]
        for death in self._plan.deaths(daily):
            if self._is_over(kept=len(others)):
                break
            # Where a point is wanted a day passes always: it may be of a load.
            wanted = death.point is not None and is_wanted(death.point)
            if wanted or self._chance.random() < _DAY_PASSES:
                self._homes.now += timedelta(days=1)
                self.tally.days += 1
            into_csv = death.point is not None and death.point.step not in self._serving
            arguments = [f"--into-csv={self._home / 'csv'}"] if into_csv else []
            self._kill(death, ["run", *arguments])
        self._kill_trainings(others)

    def _kill_trainings(self, points: Sequence[Point]) -> None:
        for point in points:
            if not self._is_over():
                self._trainings.kill(point)

    def _kill(self, death: Death, arguments: list[str]) -> None:
        self._homes.let_the_app_tell(self._home, self._told)
        self._killer.kill(self._home, death, arguments)

    def _is_over(self, *, kept: int = 0) -> bool:
        """Whether there is no kill left but those that are kept, or no time."""
        return self.tally.killed >= self._kills - kept or monotonic() > self._deadline

    def _examine(self) -> None:
        """One run in peace; then everything is looked at."""
        home, reference, findings = self._home, self._reference, self.tally.findings
        ended = self._homes.command(home, ["run"])
        if ended.code != 0:
            findings.append(f"The run in peace ended with {ended.code}")
        findings += examination.serving_faults(home)
        findings += examination.unfinished_runs(home)
        findings += examination.told_faults(home)
        self.tally.pulls += self._homes.leave_alone(home, reference, self._told)
        findings += examination.differing_tables(home, reference)
        findings += examination.differing_lake(home, reference)
