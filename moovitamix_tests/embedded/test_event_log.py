"""The batched event log answers as the stock one, whatever Dagster asks it."""

import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster import DagsterEventType
from dagster._core.events import AssetObservationData, DagsterEvent, StepMaterializationData
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log import SqliteEventLogStorage
from hypothesis import given, settings
from hypothesis import strategies as st

from moovitamix.embedded.event_log import BatchedSqliteEventLogStorage
from moovitamix.partitions import single_run

pytestmark = pytest.mark.filterwarnings("ignore:Use fetch_:UserWarning")

DAYS = dg.DailyPartitionsDefinition("2026-11-01", end_date="2026-11-09")
RANGE = {
    "dagster/asset_partition_range_start": "2026-11-02",
    "dagster/asset_partition_range_end": "2026-11-06",
}
IN_RANGE = {f"2026-11-0{day}" for day in range(2, 7)}
ASSETS = [dg.AssetKey(name) for name in ("raw", "listens", "charts")]
CHECK = dg.AssetCheckKey(dg.AssetKey("listens"), "has_rows")
PLANNED = DagsterEventType.ASSET_MATERIALIZATION_PLANNED


@dg.asset(partitions_def=DAYS, backfill_policy=single_run)
def raw(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
    context.log.info("one sentence")
    context.log_event(dg.AssetObservation("raw", metadata={"seen": 1}))
    return dg.MaterializeResult(metadata={"rows": 7}, tags={"pull": "p1", "kept": ""})


@dg.asset(partitions_def=DAYS, backfill_policy=single_run, deps=[raw])
def listens() -> Iterator[dg.MaterializeResult[Any]]:
    yield dg.MaterializeResult(metadata={"rows": 5, "of": dg.MetadataValue.md("**raw**")})


@dg.asset(deps=[listens])
def charts() -> dg.MaterializeResult[Any]:
    return dg.MaterializeResult(data_version=dg.DataVersion("3"))


@dg.asset_check(asset=listens)
def has_rows() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False, metadata={"rows": 0})


DEFINITIONS = dg.Definitions(
    assets=[raw, listens, charts],
    asset_checks=[has_rows],
    jobs=[
        dg.define_asset_job("days", [raw, listens]),
        dg.define_asset_job("charts_only", [charts]),
    ],
    executor=dg.in_process_executor,
)


def instance_with(storage: type[SqliteEventLogStorage], folder: Path) -> dg.DagsterInstance:
    class_data = {
        "module": storage.__module__,
        "class": storage.__name__,
        "config": {"base_dir": str(folder / "history" / "runs")},
    }
    return dg.DagsterInstance.local_temp(str(folder), overrides={"event_log_storage": class_data})


@pytest.fixture(scope="module")
def run_ids() -> list[str]:
    return [str(uuid.uuid4()) for _ in range(3)]


@pytest.fixture(scope="module")
def batches() -> list[list[DagsterEventType | None]]:
    """The types of the events of each batch that was stored at once."""
    return []


@pytest.fixture(scope="module")
def both(
    tmp_path_factory: pytest.TempPathFactory,
    run_ids: list[str],
    batches: list[list[DagsterEventType | None]],
) -> Iterator[tuple[dg.DagsterInstance, dg.DagsterInstance]]:
    """A stock instance and a batched one, on which the same runs have been made."""
    store = BatchedSqliteEventLogStorage.store_event_batch

    def noting(self: BatchedSqliteEventLogStorage, events: Sequence[EventLogEntry]) -> None:
        batches.append([event.dagster_event_type for event in events])
        store(self, events)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BatchedSqliteEventLogStorage, "store_event_batch", noting)
        instances = []
        for name, storage, size in (
            ("stock", SqliteEventLogStorage, "0"),
            ("batched", BatchedSqliteEventLogStorage, "1000"),
        ):
            patch.setenv("DAGSTER_EVENT_BATCH_SIZE", size)
            instance = instance_with(storage, tmp_path_factory.mktemp(name))
            days = DEFINITIONS.resolve_job_def("days")
            for run_id in run_ids[:2]:
                days.execute_in_process(instance=instance, run_id=run_id, tags=RANGE)
            DEFINITIONS.resolve_job_def("charts_only").execute_in_process(
                instance=instance, run_id=run_ids[2]
            )
            instances.append(instance)
        yield instances[0], instances[1]
        for instance in instances:
            instance.dispose()


def materializations(
    instance: dg.DagsterInstance, asset: dg.AssetKey
) -> list[tuple[str, dg.AssetMaterialization | None]]:
    """Newest first, without times and storage ids."""
    records = instance.fetch_materializations(asset, limit=100).records
    return [(record.run_id, record.asset_materialization) for record in records]


def test_events_were_stored_in_batches(
    both: tuple[dg.DagsterInstance, dg.DagsterInstance],
    batches: list[list[DagsterEventType | None]],
) -> None:
    assert both
    assert [DagsterEventType.ASSET_MATERIALIZATION] * 5 in batches
    assert [PLANNED] * 10 + [DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED] in batches


def test_the_same_partitions_are_materialized(
    both: tuple[dg.DagsterInstance, dg.DagsterInstance],
) -> None:
    for asset in ASSETS:
        stock, batched = (instance.get_materialized_partitions(asset) for instance in both)
        assert batched == stock
    assert both[1].get_materialized_partitions(dg.AssetKey("raw")) == IN_RANGE


def test_materializations_are_the_same_in_the_same_order(
    both: tuple[dg.DagsterInstance, dg.DagsterInstance], run_ids: list[str]
) -> None:
    for asset, count in zip(ASSETS, (10, 10, 1), strict=True):
        stock, batched = (materializations(instance, asset) for instance in both)
        assert len(batched) == count
        assert batched == stock
    assert [run for run, _ in materializations(both[1], ASSETS[0])][:5] == [run_ids[1]] * 5


def test_the_latest_materialization_is_the_same_with_its_metadata_and_tags(
    both: tuple[dg.DagsterInstance, dg.DagsterInstance],
) -> None:
    for asset in ASSETS:
        stock, batched = (instance.get_latest_materialization_event(asset) for instance in both)
        assert stock is not None
        assert batched is not None
        assert batched.asset_materialization == stock.asset_materialization
        assert batched.run_id == stock.run_id
    newest = both[1].get_latest_materialization_event(dg.AssetKey("raw"))
    assert newest is not None
    assert newest.asset_materialization is not None
    assert newest.asset_materialization.metadata["rows"].value == 7
    assert newest.asset_materialization.tags is not None
    assert newest.asset_materialization.tags["pull"] == "p1"


def test_materializations_are_found_by_partition(
    both: tuple[dg.DagsterInstance, dg.DagsterInstance], run_ids: list[str]
) -> None:
    wanted = dg.AssetRecordsFilter(dg.AssetKey("listens"), asset_partitions=["2026-11-04"])
    for instance in both:
        records = instance.fetch_materializations(wanted, limit=50).records
        assert [record.run_id for record in records] == [run_ids[1], run_ids[0]]
        assert {record.partition_key for record in records} == {"2026-11-04"}


def test_a_cursor_goes_through_all_materializations_once(
    both: tuple[dg.DagsterInstance, dg.DagsterInstance],
) -> None:
    for instance in both:
        seen: list[int] = []
        cursor, more = None, True
        while more:
            page = instance.fetch_materializations(
                dg.AssetKey("raw"), limit=3, cursor=cursor, ascending=True
            )
            seen += [record.storage_id for record in page.records]
            cursor, more = page.cursor, page.has_more
        assert len(seen) == 10
        assert seen == sorted(set(seen))


def test_tags_are_indexed_for_each_materialization(
    both: tuple[dg.DagsterInstance, dg.DagsterInstance],
) -> None:
    for wanted in ({"dagster/partition": "2026-11-03"}, None):
        stock, batched = (
            sorted(
                instance.event_log_storage.get_event_tags_for_asset(
                    dg.AssetKey("raw"), filter_tags=wanted
                ),
                key=repr,
            )
            for instance in both
        )
        assert batched == stock


@pytest.mark.parametrize(
    "event_type",
    [PLANNED, DagsterEventType.ASSET_MATERIALIZATION, DagsterEventType.ASSET_OBSERVATION],
)
@pytest.mark.parametrize("asset", ASSETS, ids=lambda key: key.path[-1])
def test_event_records_of_an_asset_are_the_same(
    asset: dg.AssetKey,
    event_type: DagsterEventType,
    both: tuple[dg.DagsterInstance, dg.DagsterInstance],
) -> None:
    wanted = dg.EventRecordsFilter(event_type, asset_key=asset)
    stock, batched = (
        [
            (record.run_id, record.partition_key, record.event_log_entry.step_key)
            for record in instance.get_event_records(wanted)
        ]
        for instance in both
    )
    assert batched == stock


def test_the_log_of_a_run_has_the_same_events_in_the_same_order(
    both: tuple[dg.DagsterInstance, dg.DagsterInstance], run_ids: list[str]
) -> None:
    def told(entry: EventLogEntry) -> tuple[object, ...]:
        event = entry.dagster_event
        return (
            entry.dagster_event_type,
            entry.step_key,
            event.asset_key if event else entry.user_message,
            event.partition if event else None,
        )

    for run_id in run_ids:
        stock, batched = ([told(e) for e in instance.all_logs(run_id)] for instance in both)
        assert len(batched) > 10
        assert batched == stock


def test_the_statistics_of_a_run_and_its_steps_are_the_same(
    both: tuple[dg.DagsterInstance, dg.DagsterInstance], run_ids: list[str]
) -> None:
    for run_id in run_ids:
        stock, batched = (instance.get_run_stats(run_id) for instance in both)
        assert batched.materializations == stock.materializations > 0
        assert batched.steps_succeeded == stock.steps_succeeded > 0
        stock_steps, batched_steps = (
            {step.step_key: step.status for step in instance.get_run_step_stats(run_id)}
            for instance in both
        )
        assert batched_steps == stock_steps


def test_check_executions_are_the_same(
    both: tuple[dg.DagsterInstance, dg.DagsterInstance],
) -> None:
    def told(instance: dg.DagsterInstance) -> list[tuple[object, ...]]:
        history = instance.event_log_storage.get_asset_check_execution_history(CHECK, limit=50)
        return [
            (
                record.run_id,
                record.status,
                record.partition,
                record.event and record.event.dagster_event_type,
                record.event and record.event.get_dagster_event().asset_key,
            )
            for record in history
        ]

    stock, batched = (told(instance) for instance in both)
    failed = AssetCheckExecutionRecordStatus.FAILED
    assert [status for _, status, *_ in batched].count(failed) == 2
    assert batched == stock


def test_assets_are_listed_with_the_same_last_run(
    both: tuple[dg.DagsterInstance, dg.DagsterInstance],
) -> None:
    stock, batched = (
        {
            record.asset_entry.asset_key: (
                record.asset_entry.last_run_id,
                last.run_id,
                last.asset_materialization,
            )
            for record in instance.get_asset_records()
            if (last := record.asset_entry.last_materialization) is not None
        }
        for instance in both
    )
    assert set(batched) == set(ASSETS)
    assert batched == stock


def test_the_files_have_the_same_tables_at_the_same_revision(
    both: tuple[dg.DagsterInstance, dg.DagsterInstance], run_ids: list[str]
) -> None:
    for file in ("index", *run_ids):
        stock, batched = (described(instance, file) for instance in both)
        assert batched == stock


def described(instance: dg.DagsterInstance, file: str) -> tuple[object, ...]:
    """All tables and indexes, the revision, and how the journal is kept."""
    storage = instance.event_log_storage
    assert isinstance(storage, SqliteEventLogStorage)
    with closing(sqlite3.connect(storage.path_for_shard(file))) as connection:
        return (
            connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY 2").fetchall(),
            connection.execute("SELECT version_num FROM alembic_version").fetchall(),
            connection.execute("PRAGMA journal_mode").fetchone(),
        )


def test_two_that_make_the_tables_of_a_file_at_once_both_come_to_use_it(tmp_path: Path) -> None:
    storages = [BatchedSqliteEventLogStorage(str(tmp_path)) for _ in range(2)]
    runs = [str(uuid.uuid4()) for _ in range(10)]

    def count(storage: BatchedSqliteEventLogStorage) -> list[int]:
        return [len(storage.get_logs_for_run(run)) for run in runs]

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(count, storages)) == [[0] * 10] * 2


def test_a_wiped_asset_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "1000")
    with instance_with(BatchedSqliteEventLogStorage, tmp_path) as instance:
        DEFINITIONS.resolve_job_def("days").execute_in_process(instance=instance, tags=RANGE)
        instance.wipe_assets([dg.AssetKey("raw")])
        assert instance.get_materialized_partitions(dg.AssetKey("raw")) == set()
        assert instance.get_materialized_partitions(dg.AssetKey("listens")) == IN_RANGE


def event(run_id: str, second: int, kind: str, asset: str, partition: str | None) -> EventLogEntry:
    """A materialization, an observation or a plain sentence of a run."""
    described: dict[str, Any] = {"asset_key": asset, "partition": partition, "tags": {"k": kind}}
    told: DagsterEvent | None = None
    if kind == "materialization":
        told = DagsterEvent(
            event_type_value="ASSET_MATERIALIZATION",
            job_name="days",
            event_specific_data=StepMaterializationData(dg.AssetMaterialization(**described)),
        )
    elif kind == "observation":
        told = DagsterEvent(
            event_type_value="ASSET_OBSERVATION",
            job_name="days",
            event_specific_data=AssetObservationData(dg.AssetObservation(**described)),
        )
    return EventLogEntry(  # type: ignore[no-untyped-call]
        error_info=None,
        level="debug",
        user_message=f"{kind} {second}",
        run_id=run_id,
        timestamp=1_795_000_000.0 + second,
        step_key=None,
        job_name="days",
        dagster_event=told,
    )


@pytest.fixture(scope="module")
def storages(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[SqliteEventLogStorage, SqliteEventLogStorage]]:
    with (
        instance_with(SqliteEventLogStorage, tmp_path_factory.mktemp("stock")) as stock,
        instance_with(BatchedSqliteEventLogStorage, tmp_path_factory.mktemp("batched")) as batched,
    ):
        assert isinstance(stock.event_log_storage, SqliteEventLogStorage)
        assert isinstance(batched.event_log_storage, SqliteEventLogStorage)
        yield stock.event_log_storage, batched.event_log_storage


@given(
    described=st.lists(
        st.tuples(
            st.sampled_from(["materialization", "observation", "sentence"]),
            st.sampled_from(["a", "b"]),
            st.sampled_from([None, "2026-11-01", "2026-11-02"]),
        ),
        max_size=8,
    )
)
@settings(max_examples=10)
def test_a_batch_of_any_events_is_stored_as_one_by_one(
    described: list[tuple[str, str, str | None]],
    storages: tuple[SqliteEventLogStorage, SqliteEventLogStorage],
) -> None:
    run_id = str(uuid.uuid4())
    # Names of its own for each example: the storages are shared.
    events = [
        event(run_id, second, kind, f"{asset}_{run_id[:8]}", partition)
        for second, (kind, asset, partition) in enumerate(described)
    ]
    for storage in storages:
        storage.store_event_batch(events)
    stock, batched = (list(storage.get_logs_for_run(run_id)) for storage in storages)
    assert batched == stock == events
    for asset in {e.dagster_event.asset_key for e in events if e.dagster_event}:
        assert asset is not None
        stock_asset, batched_asset = (
            [
                (r.asset_entry.last_run_id, last and last.event_log_entry)
                for r in storage.get_asset_records([asset])
                for last in [r.asset_entry.last_materialization_record]
            ]
            for storage in storages
        )
        assert batched_asset == stock_asset
        stock_tags, batched_tags = (storage.get_event_tags_for_asset(asset) for storage in storages)
        assert batched_tags == stock_tags
