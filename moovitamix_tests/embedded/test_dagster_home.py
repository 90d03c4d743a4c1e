"""Dagster's home is written once, and what people made their own is left alone."""

import os
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from moovitamix.embedded import dagster_home
from moovitamix.embedded.event_log import BatchedSqliteEventLogStorage
from moovitamix.settings import get_settings


@pytest.fixture(autouse=True)
def _no_home_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DAGSTER_HOME", "DAGSTER_EVENT_BATCH_SIZE"):
        monkeypatch.setenv(name, "")  # first set, so that what the code sets is undone
        monkeypatch.delenv(name)


def prepare_in(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As a new command in this home would."""
    monkeypatch.setenv("MOOVITAMIX_HOME", str(home))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    get_settings.cache_clear()
    return dagster_home.prepare()


@dg.asset
def tracks() -> dg.MaterializeResult[Any]:
    return dg.MaterializeResult(metadata={"rows": 3})


@pytest.mark.parametrize("name", ["home", "a home, 'with' \"signs\" \\ 100% {1}: #é"])
def test_dagster_finds_its_history_in_our_storage(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = prepare_in(tmp_path / name, monkeypatch)
    assert home == tmp_path / name / "dagster"
    assert os.environ["DAGSTER_HOME"] == str(home)
    for _ in range(2):  # the second one reads what the first has written
        with dg.DagsterInstance.get() as instance:
            assert type(instance.event_log_storage) is BatchedSqliteEventLogStorage
            assert not instance.telemetry_enabled
            assert instance.run_retries_enabled
            assert dg.materialize([tracks], instance=instance).success
    with dg.DagsterInstance.get() as instance:
        found = instance.fetch_materializations(dg.AssetKey("tracks"), limit=10)
        assert [record.asset_materialization is not None for record in found.records] == [True] * 2
        assert len(instance.get_run_ids()) == 2


def test_events_are_kept_where_dagster_would_keep_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside `runs.db` the storage would take that for the events of a run called `runs`."""
    home = prepare_in(tmp_path, monkeypatch)
    with dg.DagsterInstance.get() as instance:
        result = dg.materialize([tracks], instance=instance)
        storage = instance.event_log_storage
        assert isinstance(storage, BatchedSqliteEventLogStorage)
        assert storage.get_all_run_ids() == [result.run_id]
    assert (home / "history" / "runs.db").is_file()
    assert (home / "history" / "runs" / "index.db").is_file()


def test_events_are_stored_in_batches_unless_said_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_in(tmp_path, monkeypatch)
    assert int(os.environ["DAGSTER_EVENT_BATCH_SIZE"]) > 1
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "0")
    prepare_in(tmp_path, monkeypatch)
    assert os.environ["DAGSTER_EVENT_BATCH_SIZE"] == "0"


def test_a_home_that_is_set_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(own))
    assert dagster_home.prepare() == own
    assert list(own.iterdir()) == []
    assert os.environ["DAGSTER_HOME"] == str(own)
    assert not get_settings().home_path.exists()


def test_a_file_whose_first_line_was_removed_is_somebodys_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = prepare_in(tmp_path, monkeypatch) / "dagster.yaml"
    own = "".join(written.read_text().splitlines(keepends=True)[1:]) + "# mine\n"
    written.write_text(own)
    prepare_in(tmp_path, monkeypatch)
    assert written.read_text() == own


def test_our_own_file_is_brought_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = prepare_in(tmp_path, monkeypatch) / "dagster.yaml"
    current = written.read_text()
    written.write_text(current.splitlines(keepends=True)[0] + "telemetry: {enabled: true}\n")
    prepare_in(tmp_path, monkeypatch)
    assert written.read_text() == current


def test_a_file_that_is_up_to_date_is_not_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = prepare_in(tmp_path, monkeypatch) / "dagster.yaml"
    before = written.stat()
    prepare_in(tmp_path, monkeypatch)
    assert (written.stat().st_ino, written.stat().st_mtime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
    )
    assert sorted(path.name for path in written.parent.iterdir()) == ["dagster.yaml"]


def test_a_home_that_was_moved_keeps_its_history_at_the_new_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_in(tmp_path / "before", monkeypatch)
    with dg.DagsterInstance.get() as instance:
        assert dg.materialize([tracks], instance=instance).success
    (tmp_path / "before").rename(tmp_path / "after")

    prepare_in(tmp_path / "after", monkeypatch)
    with dg.DagsterInstance.get() as instance:
        assert instance.get_latest_materialization_event(dg.AssetKey("tracks")) is not None
        assert dg.materialize([tracks], instance=instance).success
    assert not (tmp_path / "before").exists()
