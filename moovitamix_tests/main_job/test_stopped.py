"""Runs stopped on the way, and two at once."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from moovitamix.recommend import registry
from moovitamix_tests.main_job.command import (
    PATIENCE,
    Home,
    Outcome,
    Running,
    a_home,
    contents,
    expected_contents,
    last_midnight,
)
from moovitamix_tests.main_job.stem import Stem
from moovitamix_tests.reference_source import ReferenceSource


@pytest.fixture(scope="module")
def disturbed(
    tmp_path_factory: pytest.TempPathFactory,
    reference: ReferenceSource,
    stem: Stem,
    first_day: str,
) -> Iterator[Home]:
    """A home whose runs are not left alone."""
    folder = tmp_path_factory.mktemp("disturbed")
    with a_home(folder / "home", stem, source_url=reference.url, first_day=first_day) as home:
        yield home


@contextmanager
def held_at(source: ReferenceSource, endpoint: str) -> Iterator[tuple[threading.Event, Any]]:
    """The source stops at the first request to an endpoint, until told to go on."""
    reached, go_on = threading.Event(), threading.Event()

    def hold(asked: str, page: int) -> None:  # noqa: ARG001
        if asked == endpoint:
            reached.set()
            go_on.wait(PATIENCE)

    source.on_request = hold
    try:
        yield reached, go_on
    finally:
        go_on.set()
        source.on_request = None


def stopped_runs(home: Home, source: ReferenceSource) -> list[Outcome]:
    """Three runs on one home, each stopped later than the one before."""
    outcomes = []
    with held_at(source, "listen_history") as (reached, _), home.started("run") as running:
        assert reached.wait(PATIENCE)
        running.process.kill()
        outcomes.append(running.ended())
    for step, stop in (
        ("staged_users_checks ", lambda running: running.process.kill()),
        ("als_model ", Running.interrupt),
    ):
        with home.started("run") as running:
            running.until(f"✓ {step}")
            stop(running)
            outcomes.append(running.ended())
    return outcomes


def test_runs_stopped_anywhere_and_two_at_once_end_in_the_tables_of_one_that_was_left_alone(
    disturbed: Home, reference: ReferenceSource
) -> None:
    outcomes = stopped_runs(disturbed, reference)
    yesterday = str(last_midnight().date() - timedelta(days=1))
    with (
        held_at(reference, "listen_history") as (reached, go_on),
        disturbed.started("run", "--refresh", "--date", yesterday) as one,
    ):
        assert reached.wait(PATIENCE)
        with disturbed.started("run") as other:
            other.until("Another run is at work on this warehouse: waiting")
            go_on.set()
            done, waited = one.ended(), other.ended()

    assert [outcome.code for outcome in outcomes] == [-signal.SIGKILL, -signal.SIGKILL, 130]
    for outcome in outcomes:
        assert "Traceback" not in outcome.output
    assert "Run the command again to complete it." in outcomes[-1].said
    assert (done.code, waited.code) == (0, 0), done.output + waited.output
    assert "waiting until it is done" not in done.output
    assert "Everything is up to date" in waited.said
    with disturbed.warehouse().connect() as connection:
        assert contents(connection) == expected_contents(reference)
        assert registry.champion(connection) is not None
    with disturbed.dagster() as instance:
        statuses = Counter(run.status.value for run in instance.get_runs())
    assert set(statuses) <= {"SUCCESS", "CANCELED", "FAILURE"}, statuses
