"""Tables as files, and a command that leaves nothing running."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl
import psutil
import pytest

from moovitamix.warehouse.export_folder import read_manifest, verify_export
from moovitamix_tests.main_job.command import (
    TABLES,
    Home,
    Outcome,
    a_home,
    last_midnight,
    rows_told,
)
from moovitamix_tests.reference_source import ReferenceSource

RANGE = (last_midnight().date() - timedelta(days=12), last_midnight().date() - timedelta(days=3))


@dataclass(frozen=True)
class Exported:
    """A run that ended with files."""

    home: Home
    outcome: Outcome
    left: list[psutil.Process]
    tables: dict[str, pl.DataFrame]


@pytest.fixture(scope="module")
def exported(
    tmp_path_factory: pytest.TempPathFactory, reference: ReferenceSource
) -> Iterator[Exported]:
    """A few days, loaded and exported, with the servers stopped at the end."""
    folder = tmp_path_factory.mktemp("exported")
    with a_home(folder / "home", source_url=reference.url) as home:
        first, last = map(str, RANGE)
        outcome = home.command(
            *("run", "--into-csv=out/tables", "--into-parquet=out/columns", "--ephemeral"),
            *("--from", first, "--to", last),
            keep_exports_days="1",
        )
        assert outcome.code == 0, outcome.output
        tables = {
            file.stem: pl.read_csv(file, infer_schema_length=None)
            for file in (folder / "out" / "tables").glob("*.csv")
        }
        yield Exported(home, outcome, home.processes(), tables)


def test_the_six_tables_are_written_and_read_back_with_the_counts_told(exported: Exported) -> None:
    told = rows_told(exported.outcome)
    told.pop("quarantine")

    assert {name: table.height for name, table in exported.tables.items()} == told
    assert set(told) == set(TABLES)
    total = re.search(r"Exported ([\d,]+) rows into out/tables/", exported.outcome.said)
    assert total is not None
    assert int(total[1].replace(",", "")) == sum(told.values())


def test_both_exports_are_whole_and_of_one_moment(exported: Exported) -> None:
    out = exported.home.path.parent / "out"
    manifests = [read_manifest(out / name) for name in ("tables", "columns")]

    assert all(manifests)
    assert len({manifest.snapshot for manifest in manifests if manifest}) == 1
    assert [manifest.newest_day for manifest in manifests if manifest] == [RANGE[1]] * 2
    assert verify_export(out / "tables") == verify_export(out / "columns") == []
    for name, table in exported.tables.items():
        assert pl.read_parquet(out / "columns" / f"{name}.parquet").height == table.height


def test_of_a_range_of_days_exactly_the_listens_dealt_to_them_are_exported(
    exported: Exported, reference: ReferenceSource
) -> None:
    expected = Counter(
        (record["user_id"], record["created_at"].replace("T", " "), track)
        for record in reference.listens
        if record["user_id"] is not None
        and RANGE[0]
        <= datetime.fromisoformat(max(record["created_at"], record["updated_at"])).date()
        <= RANGE[1]
        for track in record["items"] or []
    )
    found = exported.tables["listen_history"]

    assert expected
    rows = found.select(
        "user_id",
        pl.col("recorded_at").str.to_datetime().dt.to_string("%Y-%m-%d %H:%M:%S%.6f"),
        "track_id",
    )
    assert Counter(rows.iter_rows()) == expected


def test_every_reference_among_the_files_can_be_followed(exported: Exported) -> None:
    tables = exported.tables
    references = [
        ("track_genres", "track_id", "tracks"),
        ("track_genres", "genre_id", "genres"),
        ("user_favorite_genres", "user_id", "users"),
        ("user_favorite_genres", "genre_id", "genres"),
        ("listen_history", "user_id", "users"),
        ("listen_history", "track_id", "tracks"),
    ]
    for table, column, target in references:
        lost = tables[table].filter(~pl.col(column).is_in(tables[target]["id"].implode()))
        assert lost.is_empty(), f"{table}.{column}"


def test_an_export_trains_nothing_and_needs_no_cache(exported: Exported) -> None:
    assert not (exported.home.path / "valkey").exists()
    assert not (exported.home.path / "lake" / "recommend").exists()
    assert "Model version" not in exported.outcome.output
    assert "Serve" not in exported.outcome.output


def test_ephemeral_leaves_no_process_of_the_home(exported: Exported) -> None:
    assert (exported.home.path / "postgres" / "PG_VERSION").exists()
    assert exported.left == []
