"""The command line as such: help, options, how errors look and what code they end with.

What `run`, `recommend` and `down` do on real servers is tested in `main_job/`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from moovitamix import __version__
from moovitamix.cli import cli

ROOT = Path(__file__).parents[1]


def commands(group: click.Group, *before: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *before, name)
        else:
            yield (*before, name), command


COMMANDS = dict(commands(cli))


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def whole_command(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """A command as a shell runs it, with its exit code and what it says on either stream."""
    more = {f"MOOVITAMIX_{name.upper()}": value for name, value in settings.items()}
    return subprocess.run(
        [sys.executable, "-m", "moovitamix", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **more},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_commands_of_the_design_that_exist_are_all_here() -> None:
    assert {" ".join(name) for name in COMMANDS} >= {
        *(
            "run",
            "train",
            "recommend",
            "similar",
            "dev",
            "source serve",
            "up",
            "down",
            "config",
            "doctor",
        ),
    }


@pytest.mark.parametrize("name", COMMANDS, ids=" ".join)
def test_the_help_of_a_command_says_what_it_does_and_names_every_option(
    name: tuple[str, ...],
) -> None:
    shown = invoke(*name, "--help")

    assert shown.exit_code == 0
    assert len((COMMANDS[name].help or "").strip()) > 40
    for option in COMMANDS[name].params:
        said = (
            option.opts[0]
            if isinstance(option, click.Option)
            else option.make_metavar(click.Context(COMMANDS[name]))
        )
        assert said in shown.output
    examples = shown.output.partition("Examples:\n")[2].partition("\n\n")[0]
    assert all("moovitamix " in line for line in examples.splitlines()), "a line each"
    assert "\\b" not in shown.output


def test_the_help_of_the_whole_lists_every_command_with_a_sentence() -> None:
    shown = invoke("-h")

    assert shown.exit_code == 0
    for name in cli.commands:
        assert re.search(rf"^  {name} +\w.{{20,}}", shown.output, re.MULTILINE), name


def test_the_version_is_that_of_the_package() -> None:
    assert __version__ in invoke("--version").output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "--date", "2026-11-01", "--from", "2026-11-02"), "Give either --date or --from"),
        (("run", "--date", "2026-11-01", "--to", "2026-11-02"), "Give either --date or --from"),
        (("run", "--from", "2026-11-03", "--to", "2026-11-02"), "There is no day from 2026-11-03"),
        (("run", "--date", "yesterday"), "'yesterday' is no day: write it as 2026-11-22."),
        (("run", "--log-level", "loud"), "'loud' is not one of"),
        (("recommend",), "Missing argument 'USER'"),
        (("recommend", "Anna"), "'Anna' is not a valid integer"),
        *(
            ((*before, "9223372036854775808"), "9223372036854775808 is not in the range")
            for before in (
                ("recommend",),
                ("similar",),
                ("users", "erase", "--yes", "7"),
                ("users", "log-name"),
                ("block", "track"),
                ("block", "remove", "track"),
            )
        ),
        (("recommend", "7", "--limit", "0"), "0 is not in the range 1<=x<=100"),
        (("similar", "7", "--limit", "101"), "101 is not in the range 1<=x<=100"),
        (("source", "serve", "--now", "noon"), "'noon' is no moment: write it as"),
        (("unheard-of",), "No such command 'unheard-of'"),
    ],
)
def test_a_wrong_call_is_told_as_such_before_anything_starts(
    arguments: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    result = invoke(*arguments)

    assert result.exit_code == 2
    assert said in " ".join(result.output.split())
    assert "Usage:" in result.output
    assert not (tmp_path / "home").exists()


def test_a_wrong_setting_is_one_line_that_names_the_variable(tmp_path: Path) -> None:
    ended = whole_command("config", source_url="ftp://example.com", home=str(tmp_path / "home"))

    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith("Settings: MOOVITAMIX_SOURCE_URL: ")
    assert ended.stderr.endswith("`moovitamix config` lists all of them.\n")
    assert ended.stderr.count("\n") == 1


def test_an_error_of_ours_is_one_line_without_a_trace(tmp_path: Path) -> None:
    ended = whole_command(
        *("run", "--log-level", "error"),
        database_url="postgresql://127.0.0.1:1/music",
        home=str(tmp_path / "home"),
    )

    assert ended.returncode == 1
    assert ended.stderr.startswith("Error: Postgres does not answer: ")
    assert ended.stderr.endswith("`moovitamix doctor` tests it.\n")
    assert ended.stderr.count("\n") == 1
    assert "Traceback" not in ended.stdout


def test_an_error_is_printed_as_it_is_also_where_it_looks_like_markup(tmp_path: Path) -> None:
    ended = whole_command("config", namespace="Big Letters", home=str(tmp_path / "home"))

    assert ended.returncode == 2
    assert "'^[a-z][a-z0-9_]{0,29}$'" in ended.stderr


def test_down_says_when_there_was_nothing_to_stop(tmp_path: Path) -> None:
    result = invoke("down")

    assert result.exit_code == 0
    assert result.output == "Nothing was running.\n"
    assert not (tmp_path / "home").exists()


def test_config_lists_every_setting_with_its_value_and_its_origin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MOOVITAMIX_NAMESPACE", "staging")

    shown = invoke("config")

    assert shown.exit_code == 0
    assert re.search(r"MOOVITAMIX_NAMESPACE +staging ", shown.output)
    assert re.search(r"MOOVITAMIX_LAKE_URL +- \(default\)", shown.output)
    for name in ("HOME", "SOURCE_URL", "SOURCE_TOKEN", "DATABASE_URL", "REDIS_URL", "FIRST_DAY"):
        assert f"MOOVITAMIX_{name} " in shown.output


@pytest.mark.parametrize(
    ("variable", "value", "kept"),
    [
        ("DATABASE_URL", "postgresql://mix:sesame@db.example/mix", "postgresql://mix:••••@db."),
        ("DATABASE_URL", "postgresql://mix@db.example/mix?password=sesame", "postgresql://mix@db."),
        ("DATABASE_URL", "host=db.example password=sesame", "••••"),
        ("REDIS_URL", "redis://:sesame@cache.example:6379/0", "redis://:••••@cache."),
        ("SOURCE_TOKEN", "sesame", "••••"),
    ],
)
def test_config_shows_no_secret(
    variable: str, value: str, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"MOOVITAMIX_{variable}", value)

    shown = invoke("config")

    assert shown.exit_code == 0
    assert "sesame" not in shown.output
    assert kept in shown.output
