"""The register of exports: nothing is exported unseen, people are forgotten, old ones go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from moovitamix.commands.exports import exports as commands
from moovitamix.errors import NothingToDo, StoreUnavailable
from moovitamix.resources import Warehouse
from moovitamix.settings import get_settings
from moovitamix.warehouse import export_files
from moovitamix.warehouse.export_folder import read_manifest, verify_export
from moovitamix.warehouse.exports import (
    export,
    forget_everywhere,
    forget_users,
    registered,
    remove_expired,
    remove_export,
)
from moovitamix_tests.warehouse.test_export import fill, rows_of
from moovitamix_tests.warehouse.test_export_folder import Killed, killed_at

USER_OF = {"users": "id", "user_favorite_genres": "user_id", "listen_history": "user_id"}


@pytest.fixture
def filled(warehouse: Warehouse) -> Warehouse:
    """Users 3 and 4, who has a name over two lines, and 33, who is like 3 but for the id."""
    with warehouse.connect() as connection:
        fill(connection)
        connection.execute("UPDATE users SET last_name = E'O,\"\n3,Neill' WHERE id = 4")
        connection.execute(
            "INSERT INTO users SELECT 33, first_name, '', email, gender, created_at, updated_at, "
            "pull FROM users WHERE id = 3"
        )
    return warehouse


def users_in(folder: Path, table: str) -> tuple[set[int], set[int]]:
    """Whose rows are in the CSV and in the Parquet file of a table."""
    column = USER_OF[table]
    return (
        {int(row[column]) for row in rows_of(folder, table)},
        set(pl.read_parquet(folder / f"{table}.parquet")[column].to_list()),
    )


def test_forgotten_users_are_in_no_file_and_all_else_is_as_it_was(
    filled: Warehouse, tmp_path: Path
) -> None:
    export(filled, {"csv": tmp_path, "parquet": tmp_path})
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    kept = [line for line in before["users.csv"].splitlines(True) if not line.startswith(b"3,")]

    assert forget_users(tmp_path, [3, 99]) == 2 * 2, "an account and a genre, in two formats"
    assert users_in(tmp_path, "users") == ({4, 33}, {4, 33})
    assert users_in(tmp_path, "user_favorite_genres") == (set(), set())
    assert users_in(tmp_path, "listen_history") == ({4}, {4})
    # The second line of user 4's name begins like the row of user 3.
    assert (tmp_path / "users.csv").read_bytes() == b"".join(kept[:1]) + before["users.csv"][
        before["users.csv"].index(b"\n4,") + 1 :
    ]
    after = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    changed = {name for name in before if after[name] != before[name]}
    assert {name.partition(".")[0] for name in changed} == {
        *("users", "user_favorite_genres", "manifest"),
    }
    assert verify_export(tmp_path) == []
    manifest = read_manifest(tmp_path)
    assert manifest is not None
    assert (manifest.rows["users"], manifest.rows["listen_history"]) == (2, 3)

    assert forget_users(tmp_path, [3, 99]) == 0
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == after


def test_forgetting_that_was_killed_anywhere_is_completed_by_the_next(
    filled: Warehouse, tmp_path: Path
) -> None:
    step, ended = 0, False
    export(filled, {"csv": tmp_path / "first"})
    first = {file.name: file.read_bytes() for file in (tmp_path / "first").iterdir()}
    while not ended:
        folder = tmp_path / str(step)
        folder.mkdir()
        for name, content in first.items():
            (folder / name).write_bytes(content)
        try:
            with killed_at(step):
                forget_users(folder, [4])
                ended = True
        except Killed:
            assert read_manifest(folder) is None or verify_export(folder) == []
        forget_users(folder, [4])
        assert verify_export(folder) == []
        assert rows_of(folder, "listen_history") == []
        assert [row["id"] for row in rows_of(folder, "users")] == ["3", "33"]
        step += 1
    assert step > 15


def test_an_export_is_registered_before_it_is_written_and_dated_when_it_is_there(
    filled: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> int:
        raise Killed

    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable):
        export(filled, {"csv": tmp_path / "file" / "folder"})
    with monkeypatch.context() as patch:
        patch.setattr(export_files, "write_csv", die)
        with pytest.raises(Killed):
            export(filled, {"csv": tmp_path / "a", "parquet": tmp_path / "b"})
    with filled.connect() as connection:
        promised = registered(connection)
    assert [(one.folder.name, one.format) for one in promised] == [("a", "csv"), ("b", "parquet")]

    manifests = export(filled, {"csv": tmp_path / "a", "parquet": tmp_path / "a"})
    with filled.connect() as connection:
        b, a = registered(connection)
        passed = forget_everywhere(connection, [4])
    assert (a.folder, a.format, a.made_at) == (
        tmp_path / "a",
        "csv+parquet",
        manifests[tmp_path / "a"].snapshot,
    )
    assert (b.folder.name, b.made_at) == ("b", promised[1].made_at)
    assert passed.rows == 2 * 4


def test_exports_past_their_time_are_removed_and_those_elsewhere_told(
    filled: Warehouse, tmp_path: Path
) -> None:
    for name in ("old", "new"):
        export(filled, {"csv": tmp_path / name})
    (tmp_path / "old" / "notes.txt").write_text("mine")
    month_ago = datetime.now(UTC) - timedelta(days=30)
    with filled.connect() as connection:
        connection.execute(
            "UPDATE exports SET made_at = %s WHERE folder LIKE '%%old'", (month_ago,)
        )
        connection.execute("INSERT INTO exports VALUES ('/nowhere/else', 'csv', %s)", (month_ago,))

        assert remove_expired(connection, timedelta(days=31)).folders == []
        passed = remove_expired(connection, timedelta(days=29))
        assert passed.folders == [tmp_path / "old"]
        assert passed.not_here == [Path("/nowhere/else")]
        assert [file.name for file in (tmp_path / "old").iterdir()] == ["notes.txt"]
        assert verify_export(tmp_path / "new") == []

        remove_export(connection, Path("/nowhere/else"))
        assert [one.folder.name for one in registered(connection)] == ["new"]
        with pytest.raises(NothingToDo):
            remove_export(connection, tmp_path / "old")


def test_the_commands_list_verify_and_remove(
    filled: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOOVITAMIX_DATABASE_URL", filled.address())
    monkeypatch.setenv("MOOVITAMIX_NAMESPACE", filled.schema_name)
    monkeypatch.setenv("COLUMNS", "300")
    get_settings.cache_clear()
    folder = tmp_path / "tables"
    asked = CliRunner().invoke
    assert "There is no export" in asked(commands, ["list"]).output
    export(filled, {"csv": folder})

    assert asked(commands, ["verify", str(folder)]).exit_code == 0
    (folder / "users.csv").write_text("")
    verified = asked(commands, ["verify", str(folder)])
    assert (verified.exit_code, "users.csv" in verified.output) == (1, True)
    # A long path is folded, never cut.
    assert str(folder) in "".join(asked(commands, ["list"]).output.split())
    assert asked(commands, ["remove", str(folder)]).exit_code == 0
    assert not folder.exists()
