"""A folder of exports: what a reader finds when its writer is killed, and when two come at once."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from moovitamix.errors import NothingToDo, SettingsError, StoreUnavailable
from moovitamix.warehouse.export_folder import (
    ExportFolder,
    Manifest,
    opened,
    read_manifest,
    verify_export,
)

OLD = {"tracks.csv": "old", "users.csv": "old, too", "genres.csv": "jazz"}
NEW = {"tracks.csv": "new", "users.csv": "new, too", "tracks.parquet": "PAR1"}
FOREIGN = {"notes.txt": "mine", "users.parquet": "mine as well"}
ELSEWHERE = """\
{"kind": "moovitamix-export-1", "format": "csv", "snapshot": "2026-11-01T00:00:00Z",
"newest_day": null, "newest_pull": null, "files": [{"name": "../elsewhere", "table": "",
"format": "csv", "rows": 0, "bytes": 0, "sha256": "", "columns": {}}]}
"""


class Killed(BaseException):
    """The process is gone."""


def write(folder: ExportFolder, contents: dict[str, str]) -> None:
    """Write files as an export does, and make them the folder's."""
    files = []
    for name, content in contents.items():
        folder.unfinished(name).write_text(content)
        files.append(folder.finished(name, name.partition(".")[0], 1, {}))
    folder.replace(Manifest("csv", datetime(2026, 11, 1, tzinfo=UTC), None, None, files))


def export(path: Path, contents: dict[str, str]) -> None:
    with opened(path, make=True) as folder:
        write(folder, contents)


def found(path: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in path.iterdir() if file.name != "manifest.json"}


@contextmanager
def killed_at(step: int) -> Iterator[list[str]]:
    """Let the process die before its nth change of the disk, and do nothing from then on."""
    steps: list[str] = []
    with pytest.MonkeyPatch.context() as patch:

        def mortal(owner: Any, name: str) -> None:
            real = getattr(owner, name)

            def call(*arguments: Any, **named: Any) -> Any:
                steps.append(name)
                if len(steps) > step:
                    raise Killed
                return real(*arguments, **named)

            patch.setattr(owner, name, call)

        for name in ("replace", "unlink", "rmdir"):
            mortal(Path, name)
        mortal(os, "fsync")
        yield steps


def test_killed_between_any_two_steps_there_is_one_export_or_no_manifest(tmp_path: Path) -> None:
    with killed_at(1000) as steps:
        export(tmp_path / "unharmed", OLD)
        before = len(steps)
        export(tmp_path / "unharmed", NEW)
    count = len(steps) - before
    assert count > 20
    seen: set[tuple[str, ...]] = set()
    for step in range(count):
        path = tmp_path / str(step)
        export(path, OLD)
        for name, content in FOREIGN.items():
            (path / name).write_text(content)
        with killed_at(step), pytest.raises(Killed):
            export(path, NEW)
        manifest = read_manifest(path)
        seen.add(tuple(sorted(file.name for file in manifest.files)) if manifest else ())
        if manifest is not None:
            assert verify_export(path) == [], step
        else:
            assert len(verify_export(path)) == 1

        with opened(path):
            pass
        assert verify_export(path) == [], step
        assert found(path) in (OLD | FOREIGN, NEW | FOREIGN), step
        export(path, NEW)
        assert found(path) == NEW | FOREIGN, step
    assert seen == {tuple(sorted(OLD)), tuple(sorted(NEW)), ()}, "a kill hit each of the states"


def test_an_export_of_another_format_leaves_no_file_of_the_former_one(tmp_path: Path) -> None:
    export(tmp_path, OLD)
    export(tmp_path, {"users.parquet": "PAR1"})
    assert found(tmp_path) == {"users.parquet": "PAR1"}


def test_whatever_is_changed_in_an_export_is_told(tmp_path: Path) -> None:
    export(tmp_path, OLD)
    (tmp_path / "tracks.csv").write_text("new")
    (tmp_path / "users.csv").unlink()
    assert sorted(fault.partition(" ")[0] for fault in verify_export(tmp_path)) == [
        "tracks.csv",
        "users.csv",
    ]


@pytest.mark.parametrize(
    "content",
    [
        '{"name": "a web app"}',
        "[",
        ELSEWHERE,
    ],
)
def test_a_manifest_that_is_not_ours_keeps_its_folder_as_it_is(
    tmp_path: Path, content: str
) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(SettingsError, match="another folder"):
        export(tmp_path, NEW)
    assert (tmp_path / "manifest.json").read_text() == content
    assert found(tmp_path) == {}


def test_of_two_exports_at_once_the_second_waits_and_is_the_one_that_stays(
    tmp_path: Path,
) -> None:
    waiting = threading.Event()

    def second() -> None:
        with opened(tmp_path, on_wait=waiting.set) as folder:
            write(folder, NEW)

    with opened(tmp_path) as folder:
        folder.unfinished("tracks.csv").write_text("half of i")
        other = threading.Thread(target=second)
        other.start()
        assert waiting.wait(30)
        write(folder, OLD)
        assert verify_export(tmp_path) == []
    other.join(30)
    assert verify_export(tmp_path) == []
    assert found(tmp_path) == NEW


def test_removing_leaves_what_is_not_ours_and_no_empty_folder(tmp_path: Path) -> None:
    for name, foreign in (("with", FOREIGN), ("without", {})):
        export(tmp_path / name, NEW)
        for file, content in foreign.items():
            (tmp_path / name / file).write_text(content)
        with opened(tmp_path / name) as folder:
            folder.remove()
    assert found(tmp_path / "with") == FOREIGN
    assert not (tmp_path / "without").exists()
    with pytest.raises(NothingToDo), opened(tmp_path / "without"):
        pass


def test_a_folder_that_cannot_be_made_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable, match="choose another folder"):
        export(tmp_path / "file" / "folder", NEW)
