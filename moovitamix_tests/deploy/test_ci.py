"""Continuous integration: .ci/run, the pre-commit hooks and the workflow that calls it."""

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from moovitamix_tests.observe.metrics.scraping import PACKAGES

README = """# A project

<!-- command: tests -->

```bash
{command}
```
"""
COMMAND = 'echo "-m venv .venv, .[test], -m pytest" > ran-in-the-copy && exit 7'
"""Says what .ci/run insists on, and fails at once, so that nothing is installed."""


@pytest.fixture
def project(tmp_path: Path, root: Path) -> Path:
    """A small git checkout with the project's own .ci/run; nothing is committed."""
    checkout = tmp_path / "checkout"
    (checkout / ".ci").mkdir(parents=True)
    shutil.copy(root / ".ci" / "run", checkout / ".ci" / "run")
    (checkout / "README.md").write_text(README.format(command=COMMAND))
    (checkout / "constraints.txt").write_text("# made by pip freeze\nattrs==26.1.0\n")
    subprocess.run(["git", "init", "--quiet"], cwd=checkout, check=True)
    return checkout


def ci(checkout: Path, temporary: Path) -> subprocess.CompletedProcess[str]:
    """Adds every file to git's index and runs .ci/run with `temporary` as its scratch space."""
    temporary.mkdir(exist_ok=True)
    subprocess.run(["git", "add", "--all"], cwd=checkout, check=True)
    return subprocess.run(
        ["env", f"TMPDIR={temporary}", "bash", ".ci/run"],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_readmes_test_command_runs_as_written_and_leaves_nothing_behind(
    project: Path, tmp_path: Path
) -> None:
    before = {path for path in project.rglob("*") if ".git" not in path.parts}

    outcome = ci(project, tmp_path / "scratch")

    assert outcome.returncode == 7, outcome.stderr
    assert COMMAND in outcome.stdout
    assert 'FAILED in "tests, as the README says"' in outcome.stderr
    assert {path for path in project.rglob("*") if ".git" not in path.parts} == before
    assert not list((tmp_path / "scratch").iterdir())


COMPILES = """
import sys

from pip._internal.commands import create_command

install = create_command("install").parse_args(["something"])[0]
print(f"keeps: {not sys.dont_write_bytecode}, installs: {bool(install.compile)}")
"""
"""Tells whether Python keeps what it compiles, and whether pip compiles what it installs."""


def test_modules_are_compiled_once_when_imported_and_not_when_installed(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    (project / "compiles.py").write_text(COMPILES)
    asks = f"{sys.executable} {project / 'compiles.py'}"
    (project / "README.md").write_text(
        README.format(command=COMMAND.replace("exit 7", f"{asks} && exit 7"))
    )

    assert "keeps: True, installs: False" in ci(project, tmp_path / "scratch").stdout


def test_a_test_command_that_ends_well_without_pytest_fails(project: Path, tmp_path: Path) -> None:
    (project / "README.md").write_text(README.format(command=COMMAND.replace("exit 7", "true")))

    outcome = ci(project, tmp_path / "scratch")

    assert outcome.returncode == 1
    assert "without pytest's closing line" in outcome.stderr


@pytest.mark.parametrize(
    "readme",
    [
        "# A project without commands\n",
        README.format(command=COMMAND).replace("<!-- command: tests -->", "<!-- tests -->"),
        README.format(command=COMMAND).replace("```bash\n", "Run it:\n\n```bash\n"),
        README.format(command=COMMAND) * 2,
        README.format(command="pytest"),
        README.format(command=""),
    ],
    ids=["no command", "other marker", "text between", "two commands", "changed", "empty"],
)
def test_a_readme_whose_test_command_is_missing_or_changed_fails_before_anything_runs(
    project: Path, tmp_path: Path, readme: str
) -> None:
    (project / "README.md").write_text(readme)

    outcome = ci(project, tmp_path / "scratch")

    assert outcome.returncode == 1
    assert 'FAILED in "the README\'s test command"' in outcome.stderr


@pytest.mark.parametrize(
    "line",
    [
        "--{0}-url https://user:hidden@packages.example/{2}",
        "PIP_EXTRA_{1}_URL=https://user:hidden@packages.example/pypi",
        "{0}-url = https://user:hidden@packages.example/",
        "https://user:hidden@packages.example/{2}/",
        "--{3}-links /srv/wheels",
    ],
)
def test_a_package_index_in_a_tracked_file_fails_and_is_not_printed(
    project: Path, tmp_path: Path, line: str
) -> None:
    # Put together here, so that this file passes the check itself.
    address = line.format("index", "INDEX", "simple", "find")
    (project / "setup.txt").write_text(f"first\n{address}\n")

    outcome = ci(project, tmp_path / "scratch")

    assert outcome.returncode == 1
    assert "setup.txt:2" in outcome.stderr
    assert "hidden" not in outcome.stdout + outcome.stderr


@pytest.mark.parametrize(
    "line", ["-e .", "moovitamix @ file:///src", "attrs>=26", "--pre", "attrs"]
)
def test_constraints_that_are_not_versions_fail(project: Path, tmp_path: Path, line: str) -> None:
    (project / "constraints.txt").write_text(f"attrs==26.1.0\n{line}\n")

    outcome = ci(project, tmp_path / "scratch")

    assert outcome.returncode == 1
    assert "in line 2" in outcome.stderr


def test_missing_constraints_fail(project: Path, tmp_path: Path) -> None:
    (project / "constraints.txt").unlink()

    outcome = ci(project, tmp_path / "scratch")

    assert outcome.returncode == 1
    assert "constraints.txt is missing" in outcome.stderr


def _hooks(root: Path) -> list[dict[str, object]]:
    config = msgspec.yaml.decode((root / ".pre-commit-config.yaml").read_bytes())
    assert {repository["repo"] for repository in config["repos"]} == {"local"}
    return [hook for repository in config["repos"] for hook in repository["hooks"]]


def _command(entry: str) -> str:
    """The tool and its subcommand, without options."""
    return " ".join(word for word in entry.split() if not word.startswith("-"))


def test_pre_commit_and_ci_run_the_same_tools(root: Path) -> None:
    steps = re.findall(r"\.venv/bin/((?!python)[^)\n]+)", (root / ".ci" / "run").read_text())
    hooks = [str(hook["entry"]) for hook in _hooks(root)]

    assert len(hooks) == len(set(hooks)) > 0
    assert sorted(map(_command, hooks)) == sorted(map(_command, steps))


def test_the_tools_have_one_version_set_in_one_place(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    exact = {
        requirement.partition("==")[0]
        for requirement in project["optional-dependencies"]["dev"]
        if "==" in requirement
    }

    for hook in _hooks(root):
        assert hook["language"] == "system", hook
        assert "additional_dependencies" not in hook, hook
        assert str(hook["entry"]).split()[0] in exact, hook


def test_the_workflow_calls_ci_run_with_the_least_rights_and_a_time_limit(root: Path) -> None:
    workflow = msgspec.yaml.decode((root / ".github" / "workflows" / "ci.yml").read_bytes())
    (job,) = workflow["jobs"].values()

    assert workflow["permissions"] == {"contents": "read"}
    assert "permissions" not in job
    assert workflow["concurrency"]["group"]
    assert job["timeout-minutes"] == 20
    install, run = [step["run"] for step in job["steps"] if "run" in step]
    assert run == "bash .ci/run"
    assert set(PACKAGES.values()) <= set(install.split()), "what is skipped without them is checked"


def test_shell_scripts_are_clean(root: Path, linter: Callable[[str], str]) -> None:
    outcome = subprocess.run(
        [linter("shellcheck"), str(root / ".ci" / "run")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert outcome.returncode == 0, outcome.stdout
