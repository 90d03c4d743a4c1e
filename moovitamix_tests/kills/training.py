"""Kills of a training: each on a home of its own, which had everything loaded and no model yet.

A killed training is resumed, or has promoted a champion: on one home, later runs would train no
more, and most points would lie on nobody's way.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from moovitamix_tests.kills import examination
from moovitamix_tests.kills.homes import START, Homes, Told
from moovitamix_tests.kills.killing import Killer
from moovitamix_tests.kills.plan import Death, Tally
from moovitamix_tests.kills.points import Point

_DAY = START + timedelta(days=1)


class Trainings:
    """Kills trainings.

    Args:
        homes: Where the homes are.
        killer: Who kills.
        tally: Of the campaign.
        begins_at: The first point of a training: killed there, a home is the others' template.
    """

    def __init__(self, homes: Homes, killer: Killer, tally: Tally, begins_at: Point) -> None:
        self._homes = homes
        self._killer = killer
        self._tally = tally
        self._begins_at = begins_at
        # One after the other at the same place: what is written in a home may name its path.
        self._home = homes.folder / "training"
        self._template = homes.folder / "training_template"
        self._reference = homes.folder / "training_left_alone"

    def kill(self, point: Point) -> None:
        """Kill a training there, let one run come to its end in peace, and look at the home.

        Raises:
            RuntimeError: When no template can be made.
        """
        with self._at(_DAY):
            if not self._template.exists():
                self._make_template()
            subprocess.run(["cp", "-a", self._template, self._home], check=True)  # with owners
            self._killer.kill(self._home, Death(point), ["run"])
            ended = self._homes.command(self._home, ["run"])
            if ended.code != 0:
                self._note(point, f"the run in peace ended with {ended.code}")
            for fault in self._faults():
                self._note(point, fault)
            self._homes.stop_servers(self._home)
            shutil.rmtree(self._home)

    def _note(self, point: Point, fault: str) -> None:
        self._tally.findings.append(f"A training killed at {point}: {fault}")

    def _faults(self) -> list[str]:
        return [
            *examination.serving_faults(self._home),
            *examination.unfinished_runs(self._home),
            *examination.told_faults(self._home),
            *examination.differing_tables(self._home, self._reference),
            *examination.differing_lake(self._home, self._reference),
        ]

    def _make_template(self) -> None:
        told: Told = {}
        with self._at(START):  # what is told is published when its day is over
            self._homes.let_the_app_tell(self._home, told)
        if not self._killer.kill(self._home, Death(self._begins_at), ["run"]):
            raise RuntimeError(
                f"No training began at {self._begins_at}: see {self._homes.output(self._home)}"
            )
        self._tally.pulls += self._homes.leave_alone(self._home, self._reference, told)
        self._homes.stop_servers(self._home)
        self._home.rename(self._template)

    @contextmanager
    def _at(self, moment: datetime) -> Iterator[None]:
        now, self._homes.now = self._homes.now, moment
        try:
            yield
        finally:
            self._homes.now = now
