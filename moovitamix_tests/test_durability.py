"""One kill of each server. `python -m moovitamix_tests.durability` posts a million listens."""

from __future__ import annotations

import tempfile
from pathlib import Path

from moovitamix_tests.durability.campaign import Campaign


def test_what_was_acknowledged_survives_a_kill_of_every_server() -> None:
    with tempfile.TemporaryDirectory(prefix="moovitamix-") as folder:
        Path(folder).chmod(0o755)  # whoever Postgres becomes may enter
        tally = Campaign(Path(folder), listens=6_000, every=0, seed=1).run(
            ("postgres", "api", "valkey")
        )
    assert not tally.findings
    assert tally.acknowledged == 6_000
    assert set(tally.kills) == {"postgres", "api", "valkey"}
