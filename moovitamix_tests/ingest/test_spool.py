"""A spool gives back what was added, each key in one part, and holds little of it in memory."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from moovitamix.ingest import spool as spool_module
from moovitamix.ingest.spool import PART_ROWS, Spool, parts_for

SCHEMA = {"id": pl.Int64, "name": pl.String}


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spool:
    """Three hundred rows of a hundred keys, in five parts, spilled every forty rows."""
    monkeypatch.setattr(spool_module, "_SPILL_ROWS", 40)
    made = Spool.by_key(tmp_path / "spool", SCHEMA, ["id"], 5)
    for start in range(0, 300, 30):
        ids = [number % 100 for number in range(start, start + 30)]
        made.add(pl.DataFrame({"name": [f"{start}"] * 30, "id": ids, "more": ids}))
    return made


def test_everything_comes_back_with_each_key_in_one_part(spool: Spool) -> None:
    parts = [spool.part(number) for number in range(5)]
    assert all(part.schema == pl.Schema(SCHEMA) for part in parts)
    assert sorted(pl.concat(parts)["id"]) == sorted(number % 100 for number in range(300))
    assert spool.rows == 300
    keys = [set(part["id"]) for part in parts]
    assert sum(map(len, keys)) == len(set().union(*keys)) == 100
    assert all(keys), "the keys are spread"


def test_rows_of_a_part_stay_in_the_order_in_which_they_were_added(spool: Spool) -> None:
    for number in range(5):
        added = spool.part(number)["name"].cast(pl.Int64)
        assert added.is_sorted()


def test_two_spools_put_a_key_into_the_same_part(spool: Spool, tmp_path: Path) -> None:
    other = Spool.by_key(tmp_path / "other", {"id": pl.Int64}, ["id"], 5)
    other.add(pl.DataFrame({"id": range(100)}))
    for number in range(5):
        assert set(other.part(number)["id"]) == set(spool.part(number)["id"])


def test_a_replaced_part_counts_and_scans_as_what_it_is_now(spool: Spool) -> None:
    kept = spool.part(2).unique("id")
    gone = spool.part(2).height - kept.height
    assert gone > 0
    spool.replace(2, kept)
    assert spool.part(2).equals(kept)
    assert spool.rows == spool.scan().collect().height == 300 - gone
    assert spool.scan(2).collect().equals(kept)


def test_long_rows_do_not_wait_until_they_are_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "_SPILL_BYTES", 10_000)
    made = Spool.by_key(tmp_path / "spool", SCHEMA, ["id"], 1)
    for number in range(10):
        made.add(pl.DataFrame({"id": [number], "name": ["x" * 3_000]}))
    assert len(list((tmp_path / "spool").iterdir())) == 2, "four rows each, and two that wait"
    assert made.part(0)["id"].to_list() == list(range(10))


def test_an_empty_spool_has_its_columns_and_no_folder(tmp_path: Path) -> None:
    empty = Spool.by_key(tmp_path / "spool", SCHEMA, ["id"], 3)
    empty.add(pl.DataFrame(schema=SCHEMA))
    assert empty.part(1).schema == empty.scan().collect().schema == pl.Schema(SCHEMA)
    assert not (tmp_path / "spool").exists()


def test_what_waits_in_memory_is_less_than_a_spill(spool: Spool) -> None:
    assert spool._waiting_rows < 40


def test_there_are_as_many_parts_as_keep_each_small() -> None:
    assert [parts_for(rows) for rows in (0, 1, PART_ROWS, PART_ROWS + 1)] == [1, 1, 1, 2]
