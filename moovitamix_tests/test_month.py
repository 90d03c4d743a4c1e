"""A week that passes by itself. `python -m moovitamix_tests.month` lets thirty days pass."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from moovitamix_tests.conftest import FIRST_DAY
from moovitamix_tests.month import source
from moovitamix_tests.month.story import SHORT, Story, trainings


def test_a_week_with_a_bad_day_an_outage_and_a_flush_needs_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert source.FIRST_DAY == FIRST_DAY
    monkeypatch.setenv("MOOVITAMIX_TUNE", "0")
    with tempfile.TemporaryDirectory(prefix="moovitamix-") as folder:
        Path(folder).chmod(0o755)  # whoever Postgres becomes may enter
        monkeypatch.setenv("MOOVITAMIX_NOW", "")  # set by the story, and to be put back
        story = Story(Path(folder), days=7, events=SHORT, users=60)
        assert story.run() == []
    assert trainings(story) == [FIRST_DAY]
