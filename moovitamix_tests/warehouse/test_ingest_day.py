"""The job `ingest_day` as Dagster runs it: from the source to the six tables, on real stores."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

import moovitamix.ingest.assets
import moovitamix.ingest.checks
import moovitamix.warehouse.assets
import moovitamix.warehouse.checks
from moovitamix.ingest.lake import LakeStore
from moovitamix.ingest.pulls import kept_pulls
from moovitamix.resources import Lake, Source, Warehouse
from moovitamix.settings import get_settings
from moovitamix.tabular import LINEAGE, ROWS_OF_DAY
from moovitamix.warehouse.acceptance import accept
from moovitamix.warehouse.days import blocked_days, published_days
from moovitamix.warehouse.expectations import STAGED_EXPECTATIONS
from moovitamix.warehouse.table_rules import TABLE_RULES
from moovitamix.warehouse.tables import PUBLISHED
from moovitamix_tests.conftest import FIRST_DAY
from moovitamix_tests.ingest.pulling import a_listen, a_track, a_user, empty
from moovitamix_tests.reference_source import ReferenceSource

TABLES = [table.name for table in PUBLISHED]
RAW = ["raw_tracks", "raw_users", "raw_listen_history"]
STAGED = ["staged_tracks", "staged_users", "staged_listens"]

# Days well in the past of the run, so that midnight may come while it is under way.
DAYS = [FIRST_DAY + timedelta(days=number) for number in range(20, 24)]
USERS_A_DAY = 12

# For the newest listen is as old as that.
STALE = {("raw_listen_history", "fresh")}


class Platform:
    """The job on a source, a lake and a warehouse, with the history of its runs."""

    def __init__(
        self,
        source: ReferenceSource,
        lake: LakeStore,
        warehouse: Warehouse,
        instance: dg.DagsterInstance,
    ) -> None:
        self.source, self.lake, self.warehouse = source, lake, warehouse
        self.instance = instance
        self._job = dg.Definitions(
            assets=dg.load_assets_from_modules(
                [moovitamix.ingest.assets, moovitamix.warehouse.assets]
            ),
            asset_checks=dg.load_asset_checks_from_modules(
                [moovitamix.ingest.checks, moovitamix.warehouse.checks]
            ),
            resources={
                "source": Source(url=source.url),
                "lake": Lake(url=lake.url),
                "warehouse": warehouse,
            },
            jobs=[dg.define_asset_job("ingest_day", selection=dg.AssetSelection.all())],
        ).resolve_job_def("ingest_day")

    def run(self, first: date, last: date) -> dg.ExecuteInProcessResult:
        """Run the job for a range of days; a single day as a schedule does."""
        if first == last:
            return self._job.execute_in_process(
                partition_key=str(first), instance=self.instance, raise_on_error=False
            )
        tags = {
            "dagster/asset_partition_range_start": str(first),
            "dagster/asset_partition_range_end": str(last),
        }
        return self._job.execute_in_process(tags=tags, instance=self.instance, raise_on_error=False)

    def materialized(self, asset: str) -> set[date]:
        """The days that Dagster has recorded for an asset."""
        keys = self.instance.get_materialized_partitions(dg.AssetKey(asset))
        return {date.fromisoformat(key) for key in keys}

    def count(self, table: str) -> int:
        with self.warehouse.connect() as connection:
            row = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()  # noqa: S608
        return int(row[0]) if row else 0

    def blocked(self) -> dict[date, list[str]]:
        with self.warehouse.connect() as connection:
            return blocked_days(connection)

    def published(self) -> set[date]:
        with self.warehouse.connect() as connection:
            return published_days(connection)


@pytest.fixture
def platform(source: ReferenceSource, lake: LakeStore, warehouse: Warehouse) -> Iterator[Platform]:
    """A source in which twelve users sign up a day, and each hears the day's track."""
    empty(source)
    for number, day in enumerate(DAYS):
        morning = datetime(day.year, day.month, day.day, 6)  # noqa: DTZ001
        source.tracks.append(a_track(number, morning))
        for user in range(number * 100, number * 100 + USERS_A_DAY):
            source.users.append(a_user(user, morning))
            source.listens.append(a_listen(user, [number, number], morning + timedelta(hours=1)))
    with dg.DagsterInstance.ephemeral() as instance:
        yield Platform(source, lake, warehouse, instance)


def checks_of(result: dg.ExecuteInProcessResult) -> dict[tuple[str, str], bool]:
    return {
        (evaluation.asset_key.to_user_string(), evaluation.check_name): evaluation.passed
        for evaluation in result.get_asset_check_evaluations()
    }


def failed_checks(result: dg.ExecuteInProcessResult) -> set[tuple[str, str]]:
    return {check for check, passed in checks_of(result).items() if not passed}


def metadata_of(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    events = result.asset_materializations_for_node(
        "publication" if asset in TABLES else "pull" if asset in RAW else asset
    )
    found = next(e for e in events if e.asset_key == dg.AssetKey(asset))
    return {name: value.value for name, value in found.metadata.items()}


def by_day(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, dict[str, Any]]:
    return {
        str(event.partition): {
            name: value.value for name, value in event.materialization.metadata.items()
        }
        for event in result.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey(asset)
    }


def rows_by_day(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, int]:
    return {day: told[ROWS_OF_DAY] for day, told in by_day(result, asset).items()}


def days_with_lineage(result: dg.ExecuteInProcessResult, asset: str) -> list[str]:
    return [day for day, told in by_day(result, asset).items() if LINEAGE in told]


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    (key,) = result.get_failed_step_keys()
    error = result.failure_data_for_node(key)
    assert error is not None
    assert error.error is not None
    return f"{error.error.cause or error.error}"


def test_a_range_is_one_pull_and_one_publication(platform: Platform) -> None:
    result = platform.run(DAYS[0], DAYS[-1])
    assert result.success
    assert len(kept_pulls(platform.lake)) == 1
    for asset in RAW + STAGED + TABLES:
        assert platform.materialized(asset) == set(DAYS), asset
    assert platform.published() == set(DAYS)
    users = USERS_A_DAY * len(DAYS)
    assert {table: platform.count(table) for table in TABLES} == {
        "genres": 1,
        "tracks": len(DAYS),
        "users": users,
        "track_genres": len(DAYS),
        "user_favorite_genres": users,
        "listen_history": 2 * users,
    }
    assert failed_checks(result) == STALE
    assert len(checks_of(result)) == 15 + len(STAGED_EXPECTATIONS) + len(TABLE_RULES)
    told = metadata_of(result, "listen_history")
    assert (told["dagster/row_count"], told["listens_staged"]) == (2 * users, 2 * users)
    assert metadata_of(result, "raw_users")["records"] == users
    # What a range tells once stands on all of its days: so rows of a day are told by day.
    for asset, rows in (
        ("raw_users", USERS_A_DAY),
        ("raw_tracks", 1),
        ("staged_users", USERS_A_DAY),
        ("staged_listens", 2 * USERS_A_DAY),
    ):
        assert rows_by_day(result, asset) == dict.fromkeys(map(str, DAYS), rows)
    for asset in STAGED + TABLES:
        assert days_with_lineage(result, asset) == [str(DAYS[-1])]
    # No personal value is ever put into the record of a run.
    assert "example.org" not in " ".join(map(str, result.all_events))


def test_a_single_day_after_a_range_adds_only_itself(platform: Platform) -> None:
    assert platform.run(DAYS[1], DAYS[2]).success
    single = platform.run(DAYS[0], DAYS[0])
    assert single.success
    assert len(kept_pulls(platform.lake)) == 1, "the pull of the range covers it"
    assert platform.published() == set(DAYS[:3])
    assert metadata_of(single, "users")["rows_inserted"] == USERS_A_DAY
    again = platform.run(DAYS[0], DAYS[0])
    assert metadata_of(again, "listen_history")["rows_inserted"] == 0
    assert metadata_of(again, "listen_history")["listens_known"] == 2 * USERS_A_DAY


def test_a_bad_day_in_a_range_is_withheld_until_a_later_pull_mends_it(platform: Platform) -> None:
    bad, good = DAYS[2], {*DAYS} - {DAYS[2]}
    users = [user for user in platform.source.users if user["created_at"].startswith(str(bad))]
    for user in users[1:]:
        user["email"] = "none"

    result = platform.run(DAYS[0], DAYS[-1])
    assert not result.success
    message = failure_of(result)
    assert str(bad) in message
    assert not any(str(day) in message for day in good)
    assert not checks_of(result)["staged_users", "email_like"]
    assert platform.blocked() == {bad: ["staged_users.email_like"]}
    assert platform.published() == good
    for asset in TABLES:
        assert platform.materialized(asset) == good, asset
    assert platform.count("users") == USERS_A_DAY * len(good)

    assert not platform.run(bad, bad).success
    assert len(kept_pulls(platform.lake)) == 2, "a blocked day is tried again with a new pull"
    assert platform.published() == good

    for user in users:
        user["email"] = "mended@example.org"
    assert platform.run(bad, bad).success
    assert platform.blocked() == {}
    assert platform.published() == set(DAYS)
    assert platform.materialized("users") == set(DAYS)
    assert platform.count("users") == USERS_A_DAY * len(DAYS)
    assert platform.count("listen_history") == 2 * USERS_A_DAY * len(DAYS)


def test_records_that_break_the_contract_warn_and_wait_in_quarantine(platform: Platform) -> None:
    for listen in platform.source.listens[::USERS_A_DAY][:3]:
        listen["user_id"] = None
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    result = platform.run(yesterday, yesterday)
    assert result.success
    assert not checks_of(result)["raw_listen_history", "records_keep_the_contract"]
    assert checks_of(result)["raw_users", "records_keep_the_contract"]
    assert platform.count("quarantine") == 3
    assert metadata_of(result, "listen_history")["records_rejected"] == 3


def test_a_blocked_day_that_was_accepted_is_published_from_the_pull_that_is_there(
    platform: Platform,
) -> None:
    bad = DAYS[2]
    for user in platform.source.users:
        if user["created_at"].startswith(str(bad)):
            user["email"] = "none"
    assert not platform.run(DAYS[0], DAYS[-1]).success
    with platform.warehouse.connect() as connection:
        accept(connection, bad, "Zoë")
    result = platform.run(bad, bad)
    assert result.success
    assert len(kept_pulls(platform.lake)) == 1
    assert not checks_of(result)["staged_users", "email_like"], "the rule is broken still"
    assert metadata_of(result, "users")["days_accepted"] == str(bad)
    assert platform.published() == set(DAYS)
    assert platform.count("users") == USERS_A_DAY * len(DAYS)
    assert "Zoë" not in " ".join(map(str, result.all_events))


def test_a_pull_that_misses_many_users_is_held_back_until_it_is_whole_or_accepted(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOOVITAMIX_NOW", f"{DAYS[-1] + timedelta(days=1)}T12:00:00")
    get_settings.cache_clear()
    assert platform.run(DAYS[0], DAYS[-1]).success
    monkeypatch.delenv("MOOVITAMIX_NOW")
    get_settings.cache_clear()
    del platform.source.users[::2]
    yesterday = datetime.now(UTC).date() - timedelta(days=1)

    for pulls in (2, 3):
        result = platform.run(yesterday, yesterday)
        assert not result.success
        assert failed_checks(result) == {("raw_users", "accounts_whole"), *STALE}
        assert not result.asset_materializations_for_node("staged_users")
        assert platform.blocked() == {yesterday: ["raw_users.accounts_whole"]}
        assert len(kept_pulls(platform.lake)) == pulls, "a later run tries again with a new pull"

    with platform.warehouse.connect() as connection:
        accept(connection, yesterday, "Zoë")
    result = platform.run(yesterday, yesterday)
    assert result.success
    assert len(kept_pulls(platform.lake)) == 3
    assert not checks_of(result)["raw_users", "accounts_whole"], "it warns"
    assert metadata_of(result, "users")["rows_withdrawn_or_back"] == USERS_A_DAY * len(DAYS) // 2
