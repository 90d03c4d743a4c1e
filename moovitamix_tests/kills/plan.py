"""What is killed where, and in which order: the plan of a campaign, and what came of it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from moovitamix_tests.kills.points import Point

# Of all kills, the share at a random moment of a command started as users do, and of servers.
_COLD_SHARE, _SERVERS_SHARE = 0.08, 0.08
_STATEMENTS_A_TRANSACTION = 2
_EACH = frozenset({"commit", "move", "replace", "switch"})

Counts = Counter[tuple[str, str]]
"""How often a step did an operation."""


@dataclass
class Tally:
    """What a campaign came to.

    Attributes:
        kills: By step and operation.
        at: The points of these kills, but for those by chance and of servers.
        wanted: Of the points that were found, those of which each has to be met: before each
            commit, so that every transaction has died, and beside each file that is moved.
        missed: Runs that came to their end because the chosen point lay not on their way.
        findings: What did not hold, in words.
    """

    kills: Counter[tuple[str, str]] = field(default_factory=Counter)
    at: set[Point] = field(default_factory=set)
    wanted: set[Point] = field(default_factory=set)
    missed: int = 0
    runs: int = 0
    days: int = 0
    pulls: int = 0
    findings: list[str] = field(default_factory=list)

    @property
    def killed(self) -> int:
        """All kills."""
        return sum(self.kills.values())

    @property
    def left(self) -> list[Point]:
        """What was wanted and not met."""
        either = {(point.step, point.operation, point.nth) for point in self.at - self.wanted}
        return sorted(
            point
            for point in self.wanted - self.at
            if point.operation == "commit" or (point.step, point.operation, point.nth) not in either
        )


@dataclass(frozen=True)
class Death:
    """How the next command dies: at a point or after a while; or which server dies at the point."""

    point: Point | None
    server: str | None = None
    cold_after: float = 0.0


class Plan:
    """Chooses deaths.

    Args:
        chance: Decides what is left to it.
        tally: Of the campaign: what was met already is not wanted any more.
    """

    def __init__(self, chance: random.Random, tally: Tally) -> None:
        self._chance = chance
        self._tally = tally

    def points(self, counts: Counts) -> list[Point]:
        """Before and after each operation; of statements and writes, some."""
        chosen: list[Point] = []
        for (step, operation), count in sorted(counts.items()):
            numbers = list(range(1, count + 1))
            if operation in {"statement", "write", "copy"}:
                commits = max(1, counts[step, "commit"])
                wanted = min(count, _STATEMENTS_A_TRANSACTION * commits)
                numbers = sorted(self._chance.sample(numbers, wanted))
                chosen += [Point(step, operation, nth, "after") for nth in numbers]
                continue
            for nth in numbers:
                chosen += [
                    Point(step, operation, nth, "before"),
                    Point(step, operation, nth, "after"),
                ]
        return chosen

    def deaths(self, points: list[Point]) -> Iterator[Death]:
        """As many deaths as asked for: every point once before any comes again."""
        while True:
            for point in self.spread(points):
                drawn = self._chance.random()
                if self._is_left(point) or drawn > _COLD_SHARE + _SERVERS_SHARE:
                    yield Death(point)
                elif drawn < _COLD_SHARE:
                    yield Death(None, cold_after=self._chance.uniform(0.3, 7.0))
                else:
                    yield Death(point, server=self._chance.choice(["postgres", "valkey"]))

    def spread(self, points: list[Point]) -> list[Point]:
        """All points in an order in which the steps take turns; what is wanted comes first."""
        left = [point for point in points if self._is_left(point)]
        others = [point for point in points if not self._is_left(point)]
        return self._in_turns(left) + self._in_turns(others)

    def _is_left(self, point: Point) -> bool:
        return is_wanted(point) and point not in self._tally.at

    def _in_turns(self, points: list[Point]) -> list[Point]:
        by_step: dict[str, list[Point]] = {}
        for point in self._chance.sample(points, len(points)):
            by_step.setdefault(point.step, []).append(point)
        turns = [
            (place / len(found), self._chance.random(), point)
            for found in by_step.values()
            for place, point in enumerate(found)
        ]
        return [point for *_, point in sorted(turns)]


def without(steps: set[str], counts: Counts) -> Counts:
    """The counts of all other steps."""
    return Counter({what: n for what, n in counts.items() if what[0] not in steps})


def is_wanted(point: Point) -> bool:
    """Whether each such point has to be met, see `Tally.wanted`."""
    return point.operation in _EACH and point.moment == "before"
