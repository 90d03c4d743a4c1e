"""The six tables as files: what is in them, and what a reader sees while they are written."""

from __future__ import annotations

import csv
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from moovitamix.resources import Warehouse
from moovitamix.warehouse.export import export_csv
from moovitamix.warehouse.tables import PUBLISHED

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


def export(warehouse: Warehouse, folder: Path) -> dict[str, int]:
    with warehouse.connect() as connection:
        connection.commit()
        return export_csv(connection, folder)


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
    told = export(filled, tmp_path / "a" / "b")

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
        assert header == [column.name for column in table.columns if column.name != "pull"]


def test_rows_are_in_the_order_of_the_primary_key(filled: Warehouse, tmp_path: Path) -> None:
    export(filled, tmp_path)

    for table in ("tracks", "users", "listen_history"):
        ids = [int(row["id"]) for row in rows_of(tmp_path, table)]
        assert ids == sorted(ids)


def test_empty_tables_are_files_with_a_header_alone(warehouse: Warehouse, tmp_path: Path) -> None:
    told = export(warehouse, tmp_path)

    assert Counter(told.values()) == Counter({0: 6})
    for table in told:
        assert (tmp_path / f"{table}.csv").read_text().count("\n") == 1


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

        told = export_csv(reading, tmp_path)

    assert (told["listen_history"], told["track_genres"]) == (3, 1)


def test_an_export_that_fails_leaves_the_files_of_the_one_before(
    filled: Warehouse, tmp_path: Path
) -> None:
    export(filled, tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.glob("*.csv")}
    with filled.connect() as connection:
        connection.execute("DELETE FROM track_genres")
        connection.execute("ALTER TABLE listen_history RENAME TO elsewhere")

    with pytest.raises(psycopg.errors.UndefinedTable):
        export(filled, tmp_path)

    assert {file.name: file.read_bytes() for file in tmp_path.glob("*.csv")} == before
