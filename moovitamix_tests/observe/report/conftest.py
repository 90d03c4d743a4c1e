"""A month of listens that can be counted by hand, and the report's own asset run on it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
import redis

from moovitamix.observe import assets, checks
from moovitamix.observe.report.collect import Sources, collect
from moovitamix.observe.report.model import Report
from moovitamix.observe.watch import post_of
from moovitamix.resources import Cache, Lake, Warehouse
from moovitamix.settings import get_settings

# A Wednesday, and the morning after it.
DAY = date(2026, 11, 25)
NOW = datetime(2026, 11, 26, 4, tzinfo=UTC)
FIRST = DAY - timedelta(days=27)
USERS, TRACKS = 40, 30

# Nobody is called so by chance.
SURNAME = "Quetzalcoatlus"

_PEOPLE = """
INSERT INTO users (id, first_name, last_name, email, gender, created_at, updated_at, pull)
SELECT n, 'Zebulon', %(surname)s, n || '@quetzal.example', 'x', %(first)s, %(first)s, 'p1'
FROM generate_series(1, %(users)s) n;
"""
_SONGS = """
INSERT INTO tracks (id, name, artist, songwriters, duration, album, created_at, updated_at, pull)
SELECT n, 'a', 'b', 'c', '3 minutes', 'd', %(first)s, %(first)s, 'p1'
FROM generate_series(1, %(tracks)s) n;
"""
# 100 listens on the first day, 101 on the second, and so on, of 20 users and 25 tracks.
_LISTENS = """
INSERT INTO listen_history (user_id, track_id, listened_at, recorded_at, nth)
SELECT 1 + n %% 20, 1 + n %% 25, d + n * interval '1 minute', d + n * interval '1 minute', 1
FROM generate_series(%(first)s::timestamp, %(day)s, '1 day') d,
     generate_series(1, 100 + extract(day FROM d - %(first)s)::int) n;
"""
_DAYS = """
INSERT INTO published_days (day, pull, run_id, published_at)
SELECT d, 'p1', 'r1', d + interval '26 hours'
FROM generate_series(%(first)s::timestamp, %(day)s, '1 day') d;
"""


@dataclass(frozen=True)
class Month:
    """The stores of a test, in which four weeks have passed."""

    warehouse: Warehouse
    lake: Lake
    cache: Cache

    def write(self, statement: str, *parameters: object) -> None:
        """Change a table."""
        with self.warehouse.connect() as connection:
            connection.execute(statement.encode(), parameters)

    def collect(self, instance: dg.DagsterInstance, day: date = DAY, now: datetime = NOW) -> Report:
        """A day's report, as of a moment."""
        sources = Sources(
            instance=instance,
            warehouse=self.warehouse,
            lake=self.lake.open(),
            cache=self.cache,
            post=post_of(get_settings()),
        )
        return collect(sources, day, now=now, present=now)

    def run(
        self,
        instance: dg.DagsterInstance,
        selection: dg.AssetSelection | None = None,
        first: date = DAY,
    ) -> dg.ExecuteInProcessResult:
        """Run the asset and its check for the days up to `DAY`."""
        definitions = dg.Definitions(
            assets=dg.load_assets_from_modules([assets]),
            asset_checks=dg.load_asset_checks_from_modules([checks]),
            resources={"lake": self.lake, "warehouse": self.warehouse, "cache": self.cache},
            jobs=[
                dg.define_asset_job(
                    "report_day",
                    selection=selection or dg.AssetSelection.assets("daily_report"),
                )
            ],
        )
        tags = {
            "dagster/asset_partition_range_start": first.isoformat(),
            "dagster/asset_partition_range_end": DAY.isoformat(),
        }
        job = definitions.resolve_job_def("report_day")
        return job.execute_in_process(instance=instance, tags=tags)


@pytest.fixture
def month(
    warehouse: Warehouse,
    valkey: redis.Redis,
    valkey_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Month:
    """Four weeks of listens, one more each day, all published; nothing is served."""
    assert not valkey.dbsize()
    monkeypatch.setenv("MOOVITAMIX_NOW", NOW.isoformat())
    get_settings.cache_clear()
    values = {"first": FIRST, "day": DAY, "users": USERS, "tracks": TRACKS, "surname": SURNAME}
    with warehouse.connect() as connection:
        for statement in (_PEOPLE, _SONGS, _LISTENS, _DAYS):
            connection.execute(statement.encode(), values)
    lake = Lake(url=(tmp_path / "lake").as_uri())
    return Month(warehouse, lake, Cache(url=valkey_url, namespace="mvx"))
