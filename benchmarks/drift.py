"""How often drift is read where there is none, and how surely where there is: fresh worlds.

Each world is a demonstration world of another seed, listened to for some weeks; a champion is
fitted to it, and days after that are read as they are and with shifts of several sizes put into
all days since. A row a shift, size and age: the share of worlds in which a warning, an alarm was
read, and by which features.

    python benchmarks/drift.py --worlds 40
"""

from __future__ import annotations

import sys
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from time import process_time

import numpy as np

from moovitamix.observe.drift import Reading
from moovitamix.observe.drift_plan import DriftRules
from moovitamix_tests.observe.reader import Reader, fitted
from moovitamix_tests.observe.shifts import FIRST_DAY, SHIFTS, world

SIZES = {
    "genre swap": (0.03, 0.05, 0.1),
    "activity": (1.1, 1.2, 1.5, 3.0),
    "new catalogue": (0.03, 0.05, 0.1),
    "popularity flip": (0.1, 0.15, 0.2, 0.3),
    "stale model": (0.2, 0.3, 0.4, 0.6, 1.0),
}


@dataclass
class Tally:
    """What was read of one shift, size and age, over the worlds."""

    read: int = 0
    warned: int = 0
    alarmed: int = 0
    by_feature: Counter[str] = field(default_factory=Counter)

    def add(self, readings: Sequence[Reading]) -> None:
        """Count one reading of all features."""
        self.read += 1
        told = {one.verdict for one in readings}
        self.alarmed += "drifted" in told
        self.warned += bool(told & {"drifted", "warning"})
        self.by_feature.update(one.feature for one in readings if one.verdict == "drifted")

    def __str__(self) -> str:
        named = ", ".join(f"{name} {count}" for name, count in self.by_feature.most_common())
        return f"{self.read:5} {self.warned:7} {self.alarmed:6}   {named}"


def main() -> None:
    """Read all worlds and print."""
    parser = ArgumentParser(description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter)
    parser.add_argument("--worlds", type=int, default=40)
    parser.add_argument("--first-seed", type=int, default=1_000)
    parser.add_argument("--days", type=int, default=60, help="of the champion's data")
    parser.add_argument("--listens", type=int, default=1_650, help="a day")
    parser.add_argument("--ages", type=int, nargs="+", default=[1, 4, 7, 11, 14, 21, 28])
    parser.add_argument("--no-shifts", action="store_true", help="only how often nothing is read")
    asked = parser.parse_args()
    rules = DriftRules()
    as_of = FIRST_DAY + timedelta(days=asked.days - 1)
    tallies: dict[tuple[str, float, int], Tally] = defaultdict(Tally)
    began = process_time()
    for seed in range(asked.first_seed, asked.first_seed + asked.worlds):
        listened = world(seed, days=asked.days + max(asked.ages), listens_a_day=asked.listens)
        reader = Reader(listened, fitted(listened.plays, as_of), rules)
        for age in asked.ages:
            readings = reader.read(listened.plays, as_of + timedelta(days=age))
            tallies["nothing", 0.0, age].add(readings)
        print(f"world {seed}", file=sys.stderr, flush=True)
        if asked.no_shifts:
            continue
        for name, shift in SHIFTS.items():
            for size in SIZES[name]:
                chance = np.random.default_rng(seed)
                plays = shift(listened, as_of + timedelta(days=1), size, chance)
                readings = reader.read(plays, as_of + timedelta(days=7))
                tallies[name, size, 7].add(readings)
    print(f"{asked.worlds} worlds from seed {asked.first_seed}, {process_time() - began:.0f} s")
    print(
        f"{'shift':16} {'size':>5} {'age':>4} {'read':>5} {'warning':>7} {'alarm':>6}   alarms by"
    )
    for (name, size, age), tally in tallies.items():
        print(f"{name:16} {size:5.2f} {age:4} {tally}")


if __name__ == "__main__":
    main()
