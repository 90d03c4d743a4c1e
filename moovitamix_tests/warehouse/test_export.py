"""The six tables as files: what is in them, and what a reader sees while they are written."""

from __future__ import annotations

import csv
import json
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import polars as pl
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from sqlalchemy import Text

from moovitamix.resources import Warehouse
from moovitamix.warehouse import tables
from moovitamix.warehouse.export import export_tables
from moovitamix.warehouse.export_files import leave_out, write_csv, write_parquet
from moovitamix.warehouse.export_folder import Manifest, verify_export
from moovitamix.warehouse.tables import PUBLISHED

TYPES = {
    "bigint": pl.Int64,
    "integer": pl.Int32,
    "smallint": pl.Int16,
    "text": pl.String,
    "timestamp without time zone": pl.Datetime("us"),
}
SPELLED = 'Ōkami, the "Wolf"\nof the, north; é'
NOON = datetime(2026, 11, 2, 12, 0, 0, 7)  # noqa: DTZ001 - the source's moments have no zone


def fill(connection: psycopg.Connection) -> None:
    """Two tracks, two users, a genre each, and three listens."""
    for track_id, name in ((2**40, SPELLED), (7, "Plain")):
        connection.execute(
            "INSERT INTO tracks (id, name, artist, songwriters, duration, album, created_at, "
            "updated_at, pull) VALUES (%s, %s, '', 'N, N', %s, 'album', %s, %s, 'p1')",
            (track_id, name, timedelta(minutes=3, seconds=7), NOON, NOON),
        )
    for user_id in (3, 4):
        connection.execute(
            "INSERT INTO users (id, first_name, last_name, email, gender, created_at, updated_at, "
            "pull) VALUES (%s, 'Zoë', 'O''Neill', 'z@example.org', 'Agender', %s, %s, 'p1')",
            (user_id, NOON, NOON),
        )
    connection.execute("INSERT INTO genres (name) VALUES ('jazz')")
    connection.execute("INSERT INTO track_genres SELECT 7, id FROM genres")
    connection.execute("INSERT INTO user_favorite_genres SELECT 3, id FROM genres")
    for nth in (1, 2, 3):
        connection.execute(
            "INSERT INTO listen_history (user_id, track_id, listened_at, recorded_at, nth) "
            "VALUES (4, %s, %s, %s, %s)",
            (2**40, NOON, NOON, nth),
        )


def export(warehouse: Warehouse, folder: Path, *formats: str) -> Manifest:
    with warehouse.connect() as connection:
        connection.commit()
        return export_tables(connection, {folder: formats or ("csv",)})[folder]


def rows_of(folder: Path, table: str) -> list[dict[str, str]]:
    with (folder / f"{table}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def filled(warehouse: Warehouse) -> Warehouse:
    with warehouse.connect() as connection:
        fill(connection)
    return warehouse


def test_there_is_a_file_for_each_table_with_as_many_rows_as_told(
    filled: Warehouse, tmp_path: Path
) -> None:
    told = export(filled, tmp_path / "a" / "b").rows

    assert told == {
        "genres": 1,
        "tracks": 2,
        "users": 2,
        "track_genres": 1,
        "user_favorite_genres": 1,
        "listen_history": 3,
    }
    assert {name: len(rows_of(tmp_path / "a" / "b", name)) for name in told} == told


def test_text_is_read_back_as_it_was_whatever_signs_it_holds(
    filled: Warehouse, tmp_path: Path
) -> None:
    export(filled, tmp_path)

    track = next(row for row in rows_of(tmp_path, "tracks") if row["id"] == str(2**40))
    assert track["name"] == SPELLED
    assert track["artist"] == ""
    assert track["duration"] == "00:03:07"
    assert datetime.fromisoformat(track["created_at"]) == NOON
    assert {row["last_name"] for row in rows_of(tmp_path, "users")} == {"O'Neill"}


def test_columns_are_those_of_the_table_in_its_order_without_our_own_bookkeeping(
    filled: Warehouse, tmp_path: Path
) -> None:
    export(filled, tmp_path)

    for table in PUBLISHED:
        header = (tmp_path / f"{table.name}.csv").read_text().partition("\n")[0].split(",")
        ours = {"pull", "told"}
        assert header == [column.name for column in table.columns if column.name not in ours]


def test_rows_are_in_the_order_of_the_primary_key(filled: Warehouse, tmp_path: Path) -> None:
    export(filled, tmp_path)

    for table in ("tracks", "users", "listen_history"):
        ids = [int(row["id"]) for row in rows_of(tmp_path, table)]
        assert ids == sorted(ids)


def test_parquet_holds_the_same_rows_with_types_that_any_reader_knows(
    filled: Warehouse, tmp_path: Path
) -> None:
    with filled.connect() as connection:
        connection.execute("UPDATE tracks SET withdrawn_at = %s WHERE id = 7", (NOON,))
    manifest = export(filled, tmp_path, "csv", "parquet")

    for file in manifest.files:
        if file.format == "parquet":
            assert pl.scan_parquet(tmp_path / file.name).collect().height == file.rows
            found = pl.read_parquet_schema(tmp_path / file.name)
            assert found == {name: TYPES[kind] for name, kind in file.columns.items()}
    first, second = pl.read_parquet(tmp_path / "tracks.parquet").to_dicts()
    assert (first["id"], first["withdrawn_at"]) == (7, NOON)
    assert (second["id"], second["withdrawn_at"], second["name"]) == (2**40, None, SPELLED)
    assert (second["artist"], second["duration_seconds"], second["created_at"]) == ("", 187, NOON)
    listens = pl.read_csv(tmp_path / "listen_history.csv", try_parse_dates=True)
    assert_frame_equal(
        pl.read_parquet(tmp_path / "listen_history.parquet"), listens, check_dtypes=False
    )


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), max_size=20))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_comes_through_and_stays_when_others_are_left_out(
    warehouse: Warehouse, tmp_path: Path, texts: list[str]
) -> None:
    with warehouse.connect() as connection:
        for number, text in enumerate(texts):
            connection.execute(
                "INSERT INTO users VALUES (%s, %s, %s, '', '\"', %s, %s, 'p1')",
                (number, text, text, NOON, NOON),
            )
        write_csv(connection, tables.users, tmp_path / "users.csv")
        write_parquet(connection, tables.users, tmp_path / "users.parquet", tmp_path / "spool")
        connection.rollback()
    left = [(number, text) for number, text in enumerate(texts) if number % 3]
    for form in ("csv", "parquet"):
        file, into = tmp_path / f"users.{form}", tmp_path / f"left.{form}"
        assert leave_out(file, "id", range(0, len(texts), 3), into) == len(texts) - len(left)
    found = pl.read_parquet(tmp_path / "users.parquet").select("id", "last_name").rows()
    assert found == list(enumerate(texts))
    assert pl.read_parquet(tmp_path / "left.parquet").select("id", "last_name").rows() == left
    with (tmp_path / "left.csv").open(newline="", encoding="utf-8") as rows:
        assert [(int(row["id"]), row["last_name"]) for row in csv.DictReader(rows)] == left


def test_no_text_of_the_tables_may_be_null_for_parquet_takes_it_to_be_empty() -> None:
    texts = [c for table in PUBLISHED for c in table.columns if isinstance(c.type, Text)]
    assert texts
    assert not any(column.nullable for column in texts)


def test_the_manifest_tells_what_is_in_the_files_and_of_when(
    filled: Warehouse, tmp_path: Path
) -> None:
    with filled.connect() as connection:
        for day, pull in ((date(2026, 11, 2), "p2"), (date(2026, 11, 3), "p1")):
            connection.execute(
                "INSERT INTO published_days (day, pull, run_id) VALUES (%s, %s, '')", (day, pull)
            )
    before = datetime.now(UTC)
    export(filled, tmp_path, "csv", "parquet")

    told = json.loads((tmp_path / "manifest.json").read_text())
    assert told["format"] == "csv+parquet"
    assert before <= datetime.fromisoformat(told["snapshot"]) <= datetime.now(UTC)
    assert (told["newest_day"], told["newest_pull"]) == ("2026-11-03", "p2")
    assert len(told["files"]) == 2 * len(PUBLISHED)
    for file in told["files"]:
        content = (tmp_path / file["name"]).read_bytes()
        assert (file["bytes"], file["sha256"]) == (len(content), sha256(content).hexdigest())
    assert verify_export(tmp_path) == []


def test_two_folders_show_the_same_moment(filled: Warehouse, tmp_path: Path) -> None:
    with filled.connect() as connection:
        connection.commit()
        told = export_tables(connection, {tmp_path / "b": ["parquet"], tmp_path / "a": ["csv"]})

    assert {manifest.snapshot for manifest in told.values()} == {told[tmp_path / "a"].snapshot}
    assert sorted(file.name for file in (tmp_path / "b").glob("*.parquet")) == sorted(
        f"{table.name}.parquet" for table in PUBLISHED
    )


def test_empty_tables_are_files_with_a_header_alone(warehouse: Warehouse, tmp_path: Path) -> None:
    told = export(warehouse, tmp_path, "csv", "parquet").rows

    assert Counter(told.values()) == Counter({0: 6})
    for table in told:
        assert (tmp_path / f"{table}.csv").read_text().count("\n") == 1
        assert pl.read_parquet(tmp_path / f"{table}.parquet").is_empty()


def test_a_second_export_replaces_the_first_and_leaves_nothing_unfinished(
    filled: Warehouse, tmp_path: Path
) -> None:
    export(filled, tmp_path)
    with filled.connect() as connection:
        connection.execute("DELETE FROM listen_history WHERE nth = 3")

    export(filled, tmp_path)

    assert {row["nth"] for row in rows_of(tmp_path, "listen_history")} == {"1", "2"}
    assert sorted(file.name for file in tmp_path.glob("*.csv*")) == sorted(
        f"{table.name}.csv" for table in PUBLISHED
    )
    assert list(tmp_path.glob(".*")) == []


def test_what_is_committed_meanwhile_is_in_none_of_the_files(
    filled: Warehouse, tmp_path: Path
) -> None:
    with filled.connect() as reading, filled.connect() as writing:
        reading.commit()
        reading.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        reading.execute("SELECT count(*) FROM genres")  # from here on the snapshot stands
        writing.execute("DELETE FROM listen_history")
        writing.execute("DELETE FROM track_genres")
        writing.commit()

        told = export_tables(reading, {tmp_path: ["csv"]})[tmp_path].rows

    assert (told["listen_history"], told["track_genres"]) == (3, 1)


def test_an_export_that_fails_leaves_the_files_of_the_one_before(
    filled: Warehouse, tmp_path: Path
) -> None:
    export(filled, tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with filled.connect() as connection:
        connection.execute("DELETE FROM track_genres")
        connection.execute("ALTER TABLE listen_history RENAME TO elsewhere")

    with pytest.raises(psycopg.errors.UndefinedTable):
        export(filled, tmp_path)

    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
