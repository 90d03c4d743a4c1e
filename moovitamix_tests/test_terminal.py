"""What a run looks like: the same scripted run, at each level of detail."""

from __future__ import annotations

import io
import logging

import pytest
from rich.console import Console

from moovitamix.terminal import Terminal


def scripted(level: int) -> tuple[str, Terminal]:
    """A run with one good and one failing step, told to a console of 100 columns."""
    told = io.StringIO()
    terminal = Terminal(Console(file=told, width=100), level)
    with terminal.part("Ingest", "2026-11-01 to [2026]-11-02"):
        terminal.step_started("pull")
        terminal.said("pull", logging.INFO, "Pages read: tracks 1/2")
        terminal.said("pull", logging.INFO, "Read 40 tracks [all]")
        terminal.step_ended("pull", succeeded=True, milliseconds=1234)
        terminal.step_started("staged_tracks")
        terminal.said("staged_tracks", logging.WARNING, "3 rows look odd")
        terminal.said("staged_tracks", logging.ERROR, "the disk is full")
        terminal.step_ended("staged_tracks", succeeded=False, milliseconds=0)
        terminal.said(None, logging.ERROR, "Dependencies for step publication failed")
        terminal.said(None, logging.DEBUG, "the run has ended")
    return told.getvalue(), terminal


def test_at_info_each_step_is_a_line_with_its_time_and_its_last_sentence() -> None:
    told, _ = scripted(logging.INFO)
    lines = told.splitlines()

    assert lines[0] == "Ingest  2026-11-01 to [2026]-11-02"
    (pull,) = [line for line in lines if "✓ pull" in line]
    assert pull.split(maxsplit=2)[2].startswith("1.2 s  Read 40 tracks [all]")
    (staged,) = [line for line in lines if "✗ staged_tracks" in line]
    assert "failed" in staged
    assert staged.endswith("the disk is full")
    assert "Pages read" not in told
    assert "the run has ended" not in told


def test_at_debug_every_sentence_stays_in_its_order() -> None:
    told, _ = scripted(logging.DEBUG)
    sentences = ["Pages read", "Read 40 tracks [all]", "✓ pull", "3 rows", "✗ staged", "has ended"]

    places = [told.index(sentence) for sentence in sentences]

    assert places == sorted(places)


def test_from_warning_on_only_what_is_wrong_is_told() -> None:
    told, _ = scripted(logging.WARNING)

    assert [line.split()[0] for line in told.splitlines()] == ["3", "the", "✗"]


def test_at_error_warnings_are_left_out() -> None:
    told, _ = scripted(logging.ERROR)

    assert "3 rows look odd" not in told
    assert "the disk is full" in told


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO, logging.WARNING])
def test_steps_that_are_skipped_behind_a_failed_one_are_not_told(level: int) -> None:
    told, _ = scripted(level)

    assert "Dependencies for step" not in told


def test_a_step_that_starts_again_does_not_end_with_what_it_said_the_first_time() -> None:
    told = io.StringIO()
    terminal = Terminal(Console(file=told, width=100), logging.INFO)
    for sentence in ("all is new", None):
        terminal.step_started("pull")
        if sentence:
            terminal.said("pull", logging.INFO, sentence)
        terminal.step_ended("pull", succeeded=True, milliseconds=1)

    assert told.getvalue().count("all is new") == 1


def test_the_table_of_phases_is_sorted_by_time_and_adds_up() -> None:
    _, terminal = scripted(logging.INFO)
    with terminal.phase("samples"):
        pass
    told = io.StringIO()
    terminal.console = Console(file=told, width=100)

    terminal.print_phases()

    rows = [line.split() for line in told.getvalue().splitlines()]
    names = [row[1] for row in rows if len(row) > 2 and row[0] == "│"]
    assert names[0] == "pull"
    assert names[-1] == "all"
    assert set(names) == {"pull", "staged_tracks", "samples", "all"}
    (pull,) = [row for row in rows if "pull" in row]
    (total,) = [row for row in rows if "all" in row]
    assert "Ingest" in pull
    assert "1.23" in pull
    assert total[-2] == f"{sum(phase.seconds for phase in terminal.phases):.2f}"


def test_where_output_is_no_terminal_nothing_moves() -> None:
    told, _ = scripted(logging.INFO)

    assert "\x1b" not in told
    assert "\r" not in told
