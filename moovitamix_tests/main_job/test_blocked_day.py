"""After a day that a check holds back, what starts later goes on with the last good data."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from random import Random

import dagster as dg
import pytest

from moovitamix.check_faults import check_faults
from moovitamix.definitions import build_defs
from moovitamix.ingest.lake import LakeStore
from moovitamix.recommend.artifacts import load_current_matrix
from moovitamix.resources import Cache, Lake, Source, Warehouse
from moovitamix.serve.generations import read_current
from moovitamix_tests.conftest import FIRST_DAY
from moovitamix_tests.ingest.pulling import a_listen, a_track, a_user, empty
from moovitamix_tests.reference_source import ReferenceSource

DAYS = [FIRST_DAY + timedelta(days=number) for number in range(20, 25)]
BAD_IN_THE_MIDDLE, BAD_AT_THE_END = DAYS[2], DAYS[4]
USERS_A_DAY = 30


class Platform:
    """All jobs, on a source in which thirty users a day sign up and listen."""

    def __init__(self, source: ReferenceSource, resources: dict[str, object]) -> None:
        self.cache = resources["cache"]
        self.lake = resources["lake"]
        self.definitions = build_defs(resources)
        empty(source)
        chance = Random(7)
        source.tracks = [a_track(number, at(DAYS[0])) for number in range(160)]
        for number, day in enumerate(DAYS):
            bad = day in (BAD_IN_THE_MIDDLE, BAD_AT_THE_END)
            for user in range(100 * number, 100 * number + USERS_A_DAY):
                email = "none" if bad else f"user{user}@example.org"
                source.users.append(a_user(user, at(day), email=email))
                heard = chance.sample(range(user % 8, 160, 8), 12)  # by taste
                source.listens.append(a_listen(user, heard, at(day)))

    def run(self, instance: dg.DagsterInstance, job: str, *days: date) -> dg.ExecuteInProcessResult:
        tags = (
            {
                "dagster/asset_partition_range_start": str(min(days)),
                "dagster/asset_partition_range_end": str(max(days)),
            }
            if days
            else {}
        )
        return self.definitions.resolve_job_def(job).execute_in_process(
            instance=instance, tags=tags, raise_on_error=False
        )

    def told(self, result: dg.ExecuteInProcessResult) -> list[str]:
        return check_faults(result.all_events, self.definitions.resolve_asset_graph())


def at(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 8)  # noqa: DTZ001 - as the source sends them


@pytest.fixture
def platform(
    source: ReferenceSource, lake: LakeStore, warehouse: Warehouse, valkey_url: str
) -> Platform:
    return Platform(
        source,
        {
            "source": Source(url=source.url),
            "lake": Lake(url=lake.url),
            "warehouse": warehouse,
            "cache": Cache(url=valkey_url, namespace=warehouse.schema_name),
        },
    )


def test_serving_goes_on_without_the_blocked_days(platform: Platform) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        loaded = platform.run(instance, "ingest_day", *DAYS[:4])
        assert not loaded.success
        assert platform.told(loaded) == [], "the publication tells of a day among good ones"
        assert platform.run(instance, "retrain").success
        assert platform.run(instance, "refresh_serving").success
        before = served(platform)

        refused = platform.run(instance, "ingest_day", BAD_AT_THE_END)
        assert not refused.success
        (told,) = platform.told(refused)
        assert told.startswith("staged_users.email_like holds back what comes after it. ")
        assert "moovitamix days blocked" in told
        assert platform.run(instance, "refresh_serving").success
        after = served(platform)
    assert after[0] != before[0], "another generation"
    assert after[1:] == before[1:] == (DAYS[3], {0, 1, 3})


def served(platform: Platform) -> tuple[str, date, set[int]]:
    """The generation, its last day, and the days (by number) whose users are in its matrix."""
    assert isinstance(platform.cache, Cache)
    assert isinstance(platform.lake, Lake)
    with platform.cache.connect() as client:
        current = read_current(client, platform.cache.prefix)
    assert current is not None
    matrix = load_current_matrix(platform.lake.open())
    return current.name, current.as_of, {int(user) // 100 for user in matrix.users}
