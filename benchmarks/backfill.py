"""What loading many days costs, and that every way of doing it ends in the same tables.

A demonstration source stands still at last midnight. Four ways load it, each into a home of its
own with an empty warehouse and an empty lake:

  range    `moovitamix run --from F --to L` over --days: one pull, one run
  recent   the same over the last --few days, to compare the others with
  single   the job `ingest_day` in process, a run a day, over these days in a shuffled order
  page     Dagster's UI, on `moovitamix dev`: every other one of these days from the page
           "Partitions" of the job, a run each; then all of them from "Lineage", its 12 assets
           selected, which is one run. What the pages send is sent; the daemon starts the runs

Told are seconds, runs and kept pulls of each, and whether `single` and `page` end in the six tables
of `recent`, compared without the ids that are ours (which depend on the order of loading).
`--profile` prints where the time of `single` goes.

Examples:
  python benchmarks/backfill.py
  python benchmarks/backfill.py --days 60 --few 10 --listens 20000 --ways recent single --profile
"""

from __future__ import annotations

import cProfile
import json
import os
import pstats
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, LiteralString

WAYS = ("range", "recent", "single", "page")

CONTENTS: dict[str, LiteralString] = {
    "genres": "SELECT name FROM genres",
    "tracks": "SELECT * FROM tracks",
    "users": "SELECT * FROM users",
    "track_genres": "SELECT track_id, name FROM track_genres JOIN genres ON id = genre_id",
    "user_favorite_genres": (
        "SELECT user_id, name FROM user_favorite_genres JOIN genres ON id = genre_id"
    ),
    "listen_history": (
        "SELECT user_id, track_id, listened_at, recorded_at, nth FROM listen_history"
    ),
}

LAUNCH = """
mutation LaunchPartitionBackfill($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""
STATUS = """
query ($id: String!) {
  partitionBackfillOrError(backfillId: $id) {
    ... on PartitionBackfill { status }
  }
}
"""
LAUNCHED = """
query ($tags: [ExecutionTag!]) {
  runsOrError(filter: {tags: $tags}) { ... on Runs { results { status } } }
}
"""
ENDED = ("COMPLETED_SUCCESS", "COMPLETED_FAILED", "COMPLETED", "FAILED", "CANCELED")


class _Formatter(ArgumentDefaultsHelpFormatter, RawDescriptionHelpFormatter):
    pass


def main() -> None:
    """Measure and print; with `--as`, be one of the measured processes."""
    parser = ArgumentParser(description=__doc__, formatter_class=_Formatter)
    parser.add_argument("--days", type=int, default=730, help="of the source, and of `range`")
    parser.add_argument("--few", type=int, default=10, help="days of the other ways")
    parser.add_argument("--listens", type=int, default=200_000, help="of the source")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--profile", action="store_true", help="of `single`, once more")
    parser.add_argument("--as", dest="role", choices=["single", "contents"], help="used by itself")
    asked = parser.parse_args()
    today = datetime.now(UTC).date()
    first, few = (today - timedelta(days=days) for days in (asked.days, asked.few))
    days = [few + timedelta(days=number) for number in range(asked.few)]
    if asked.role == "single":
        _single(days, profiled=asked.profile)
        return
    if asked.role == "contents":
        print(json.dumps(_contents()))
        return
    found = {}
    with tempfile.TemporaryDirectory(prefix="moovitamix-backfill-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with _source(folder, first, asked.days, asked.listens) as url:
            print("way      days   seconds  runs  pulls  listens  same as recent")
            for way in asked.ways:
                count = asked.days if way == "range" else asked.few
                found[way] = _measured(way, folder / way, url, first, days)
                seconds, runs, pulls, contents = found[way]
                same = "recent" not in found or contents == found["recent"][-1]
                told = "" if way in ("range", "recent") else "yes" if same else "NO"
                listens = contents["listen_history"][0]
                figures = f"{count:>4} {seconds:>9.1f} {runs:>5} {pulls:>6} {listens:>8}"
                print(f"{way:<8} {figures}  {told}", flush=True)


def _measured(
    way: str, home: Path, url: str, first: date, days: list[date]
) -> tuple[float, int, int, dict[str, Any]]:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MOOVITAMIX_")},
        "MOOVITAMIX_HOME": str(home),
        "MOOVITAMIX_SOURCE_URL": url,
        "MOOVITAMIX_FIRST_DAY": str(first),
    }
    ourselves = [sys.executable, __file__, "--few", str(len(days)), "--as"]
    command = [sys.executable, "-m", "moovitamix"]
    subprocess.run([*command, "up"], env=environment, check=True, stdout=subprocess.DEVNULL)
    try:
        began = time.perf_counter()
        if way == "page":
            seconds, runs = _page(days, environment)
        elif way == "single":
            profiled = ["--profile"] if "--profile" in sys.argv else []
            subprocess.run([*ourselves, "single", *profiled], env=environment, check=True)
            seconds, runs = time.perf_counter() - began, len(days)
        else:
            start = first if way == "range" else days[0]
            span = ("--from", str(start), "--to", str(days[-1]))
            into = f"--into-parquet={home / 'exported'}"
            ran = [*command, "run", *span, into]
            subprocess.run(ran, env=environment, check=True, stdout=subprocess.DEVNULL)
            seconds, runs = time.perf_counter() - began, 1
        told = subprocess.run(
            [*ourselves, "contents"], env=environment, check=True, stdout=subprocess.PIPE
        )
    finally:
        subprocess.run([*command, "down"], env=environment, check=True, stdout=subprocess.DEVNULL)
    pulls = len(list(home.glob("lake/pulls/*/manifest.json")))
    return seconds, runs, pulls, json.loads(told.stdout)


def _single(days: list[date], *, profiled: bool) -> None:
    """Run the job once a day, in a shuffled order, in this process."""
    import dagster as dg

    from moovitamix.definitions import defs
    from moovitamix.embedded import dagster_home

    dagster_home.prepare()
    job = defs.resolve_job_def("ingest_day")
    shuffled = random.Random(1).sample(days, len(days))
    profile = cProfile.Profile()
    seconds = []
    with dg.DagsterInstance.get() as instance:
        for number, day in enumerate(shuffled):
            if profiled and number == 1:
                profile.enable()
            began = time.perf_counter()
            told_nobody: dict[str, object] = {"loggers": {"progress": {"config": {}}}}
            job.execute_in_process(
                instance=instance, partition_key=str(day), run_config=told_nobody
            )
            seconds.append(time.perf_counter() - began)
    profile.disable()
    rest = ", ".join(f"{one:.1f}" for one in seconds[1:])
    print(
        f"  the first day, with the pull and imports, {seconds[0]:.1f} s; then {rest}", flush=True
    )
    if profiled:
        pstats.Stats(profile).sort_stats("cumulative").print_stats("moovitamix|great_exp", 40)


def _contents() -> dict[str, Any]:
    """Rows and fingerprint of each table, without the pull: each way has its own."""
    from moovitamix.resources import Warehouse

    found = {}
    with Warehouse().connect() as connection:
        for table, query in CONTENTS.items():
            row = connection.execute(
                "SELECT count(*), md5(string_agg(line, chr(10) ORDER BY line)) FROM "  # noqa: S608 - names of our tables
                f"(SELECT (to_jsonb(q) - 'pull')::text AS line FROM ({query}) q) l"
            ).fetchone()
            found[table] = row
    return found


def _page(days: list[date], environment: dict[str, str]) -> tuple[float, int]:
    """Ask for every other day, then for all, as the pages do; seconds, and runs."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moovitamix", "dev", "--port", str(port)]
    ui = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _until(lambda: _answers(f"{url}/server_info"))
        began = time.perf_counter()
        runs = 0
        for chosen, by_job in ((days[::2], True), (days, False)):
            backfill = _launch(url, chosen, by_job=by_job)
            _until(partial(_has_ended, url, backfill))
            tags = [{"key": "dagster/backfill", "value": backfill}]
            ended = _ask(url, LAUNCHED, {"tags": tags})["runsOrError"]["results"]
            if {run["status"] for run in ended} != {"SUCCESS"}:
                raise SystemExit(f"The backfill of {chosen} ended with {ended}")
            runs += len(ended)
        return time.perf_counter() - began, runs
    finally:
        ui.send_signal(signal.SIGINT)
        ui.wait(60)


def _launch(url: str, days: list[date], *, by_job: bool) -> str:
    from moovitamix.definitions import defs

    selected = defs.resolve_job_def("ingest_day").asset_layer.selected_asset_keys
    params: dict[str, Any] = {
        "assetSelection": [{"path": key.path} for key in selected],
        "partitionNames": [str(day) for day in days],
        "fromFailure": False,
        "tags": [],
    }
    if by_job:
        params["selector"] = {
            "partitionSetName": "ingest_day_partition_set",
            "repositorySelector": {
                "repositoryLocationName": "moovitamix",
                "repositoryName": "__repository__",
            },
        }
    launched = _ask(url, LAUNCH, {"params": params})["launchPartitionBackfill"]
    if "backfillId" not in launched:
        raise SystemExit(f"The backfill was refused: {launched}")
    return str(launched["backfillId"])


def _has_ended(url: str, backfill: str) -> bool:
    found = _ask(url, STATUS, {"id": backfill})["partitionBackfillOrError"]
    return found["status"] in ENDED


def _ask(url: str, query: str, variables: dict[str, Any]) -> dict[str, Any]:
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(  # noqa: S310 - our own server
        f"{url}/graphql", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - as above
        data: dict[str, Any] = json.load(answer)["data"]
    return data


def _answers(url: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(url, timeout=5):  # noqa: S310 - as above
        return True
    return False


def _until(reached: Callable[[], bool], seconds: float = 900) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > deadline:
            raise SystemExit("It takes too long: look at the Dagster UI.")
        time.sleep(0.5)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def _source(folder: Path, first: date, days: int, listens: int) -> Iterator[str]:
    """A source at which time stands still, so that all ways read the same."""
    told = folder / "port"
    midnight = f"{datetime.now(UTC).date()}T00:00:01"
    size = ("--days", str(days), "--listens", str(listens))
    clock = ("--first-day", str(first), "--now", midnight, "--speed", "0")
    command = [sys.executable, "-m", "moovitamix", "source", "serve", "--port", "0"]
    server = subprocess.Popen(
        [*command, "--port-file", str(told), *size, *clock], stdout=subprocess.DEVNULL
    )
    try:
        _until(told.exists)
        yield f"http://127.0.0.1:{told.read_text()}"
    finally:
        server.terminate()
        server.wait(30)


if __name__ == "__main__":
    main()
