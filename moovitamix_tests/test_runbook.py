"""The runbook names commands and files that exist, and has an entry for all it lists."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from moovitamix.cli import cli

ROOT = Path(__file__).parents[1]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
COMMANDS = sorted(set(re.findall(r"moovitamix ([a-z][-a-z0-9 ]*[a-z](?: --[a-z]+)*)", RUNBOOK)))


def anchors(text: str) -> set[str]:
    titles = re.findall(r"^## (.+)$", text, re.MULTILINE)
    return {title.lower().replace(" ", "-") for title in titles}


def test_the_runbook_is_full_of_commands() -> None:
    assert {"days accept", "quarantine retry", "source accept-reset --yes", "doctor"} & set(
        COMMANDS
    )
    assert len(COMMANDS) > 8


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_runbook_exists(line: str) -> None:
    command: click.Command = cli
    words = line.split()
    while words and isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known
    assert not isinstance(command, click.Group)


def test_every_entry_that_is_linked_to_is_there() -> None:
    linked = set(re.findall(r"\]\(#([a-z-]+)\)", RUNBOOK))
    assert linked == anchors(RUNBOOK)
    elsewhere = "".join(path.read_text() for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")])
    assert set(re.findall(r"runbook\.md#([a-z-]+)\)", elsewhere)) <= anchors(RUNBOOK)
    assert "](docs/runbook.md)" in elsewhere


def test_every_file_that_is_linked_to_is_there() -> None:
    for target in re.findall(r"\]\((\.\./[^)#]+)\)", RUNBOOK):
        assert (ROOT / "docs" / target).is_file()
