"""Five kills where it hurts most. `python -m moovitamix_tests.kills` makes hundreds."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from moovitamix_tests.kills.campaign import Campaign
from moovitamix_tests.kills.points import Point

POINTS = [
    # The first pull: between two raw files, and with all of them there but the manifest.
    Point("pull", "move", 2, "after"),
    Point("staged_listens", "commit", 1, "before"),
    # The one transaction of six tables, at its end.
    Point("publication", "commit", 1, "before"),
    Point("publication", "commit", 1, "after"),
    # Last, so that the run in peace finds no day missing, and has to see that the lists are old.
    Point("generation", "switch", 1, "before"),
]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that whoever Postgres becomes may enter."""
    with tempfile.TemporaryDirectory(prefix="moovitamix-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_a_job_killed_five_times_ends_as_if_nothing_had_been_killed(folder: Path) -> None:
    tally = Campaign(folder, kills=len(POINTS), seed=1).run_these(POINTS)
    assert not tally.findings
    assert tally.killed == len(POINTS), f"points that are not there: {tally.missed}"
