"""What deploy/Dockerfile promises, as far as it can be told without building it."""

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def instructions(root: Path) -> list[tuple[str, str]]:
    """The Dockerfile as (instruction, arguments), continuation lines joined, comments left out."""
    text = (root / "deploy" / "Dockerfile").read_text()
    lines = re.sub(r"(?m)^\s*#.*\n", "", text).replace("\\\n", " ").splitlines()
    words = [line.split(maxsplit=1) for line in lines if line.strip()]
    return [(name, arguments) for name, arguments in words]


def _arguments(instructions: list[tuple[str, str]], name: str) -> list[str]:
    return [arguments for instruction, arguments in instructions if instruction == name]


def test_what_builds_is_not_what_runs(instructions: list[tuple[str, str]]) -> None:
    bases = _arguments(instructions, "FROM")

    assert len(bases) >= 2
    assert " AS " not in bases[-1]
    assert any(copy.startswith("--from=build ") for copy in _arguments(instructions, "COPY"))


def test_every_base_is_one_exact_release_of_python_3_11(
    instructions: list[tuple[str, str]],
) -> None:
    bases = {base.split()[0] for base in _arguments(instructions, "FROM")}

    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", bases.pop())


def test_the_container_does_not_run_as_root(instructions: list[tuple[str, str]]) -> None:
    last_stage = instructions[
        max(i for i, (name, _) in enumerate(instructions) if name == "FROM") :
    ]
    (user,) = _arguments(last_stage, "USER")

    uid, _, gid = user.partition(":")
    assert int(uid) > 0
    assert int(gid) > 0
    after = [name for name, _ in last_stage[last_stage.index(("USER", user)) :]]
    assert {"RUN", "COPY"}.isdisjoint(after)


def test_dependencies_are_the_ones_that_were_tested(instructions: list[tuple[str, str]]) -> None:
    installs = [run for run in _arguments(instructions, "RUN") if "pip install" in run]

    assert installs
    for install in installs:
        assert "--constraint constraints.txt" in install or "--no-deps" in install


def test_what_is_installed_is_what_the_project_needs_and_the_extras_that_are_named(
    instructions: list[tuple[str, str]], root: Path
) -> None:
    (listing,) = [run for run in _arguments(instructions, "RUN") if "tomllib" in run]
    (extras,) = [arg for arg in _arguments(instructions, "ARG") if arg.startswith("EXTRAS=")]
    command, _, target = listing.rpartition(" > ")
    listed = subprocess.run(
        shlex.split(command.replace("python", sys.executable, 1)),
        cwd=root,
        env={"EXTRAS": shlex.split(extras)[0].removeprefix("EXTRAS=")},
        capture_output=True,
        text=True,
        check=True,
    )
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]

    assert target == "requirements.txt"
    assert listed.stdout.splitlines() == [
        *project["dependencies"],
        *optional["mlflow"],
        *optional["kubernetes"],
    ]


def test_everything_that_is_copied_is_let_through_and_nothing_else(
    instructions: list[tuple[str, str]], root: Path
) -> None:
    copied = {
        source
        for copy in _arguments(instructions, "COPY")
        if not copy.startswith("--from")
        for source in shlex.split(copy)[:-1]
    }
    rules = [
        line
        for line in (root / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]

    assert rules[0] == "*"
    assert {rule[1:].rstrip("/") for rule in rules if rule.startswith("!")} == copied


def test_hadolint_has_nothing_to_say(root: Path, linter: Callable[[str], str]) -> None:
    outcome = subprocess.run(
        [linter("hadolint"), str(root / "deploy" / "Dockerfile")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert outcome.returncode == 0, outcome.stdout
