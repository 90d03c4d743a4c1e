"""The whole command on real servers: what one gets who types `moovitamix run`, and types it again.

What each stage does with its data is tested in the stages' folders. A whole run takes seconds, so
that a home is shared by the tests that look at it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import psutil
import psycopg
import pytest
import redis

from moovitamix.definitions import build_defs
from moovitamix.embedded.postgres import ensure_postgres
from moovitamix.embedded.valkey import ensure_valkey
from moovitamix.recommend import figures, registry
from moovitamix.recommend.training import recorded_evaluation
from moovitamix.resources import Warehouse
from moovitamix.serve.generations import read_current
from moovitamix.serve.names import track_names
from moovitamix.serve.recommender import Recommender
from moovitamix.warehouse.days import published_days
from moovitamix_tests.reference_source import Record, ReferenceSource

ROOT = Path(__file__).parents[1]
PATIENCE = 120.0
"""Seconds after which a command is taken to hang; whole runs take a tenth of it."""

TABLES = {
    "genres": "SELECT name FROM genres",
    "tracks": "SELECT id, name, artist, songwriters, extract(epoch FROM duration)::int, album, "
    "created_at, updated_at FROM tracks",
    "users": "SELECT id, first_name, last_name, email, gender, created_at, updated_at FROM users",
    "track_genres": "SELECT track_id, g.name FROM track_genres JOIN genres g ON g.id = genre_id",
    "user_favorite_genres": "SELECT user_id, g.name FROM user_favorite_genres "
    "JOIN genres g ON g.id = genre_id",
    "listen_history": "SELECT user_id, recorded_at, track_id, nth FROM listen_history",
}
"""What is in the tables, without the ids that are ours."""

Contents = dict[str, Counter[tuple[Any, ...]]]


def last_midnight() -> datetime:
    return datetime.combine(datetime.now(UTC).date(), time())


class Home:
    """A folder for MOOVITAMIX_HOME, and the real command line on it.

    Args:
        path: The folder.
        settings: More variables, in lower case and without the prefix.
    """

    def __init__(self, path: Path, **settings: str) -> None:
        self.path = path
        ours = ("MOOVITAMIX_", "DAGSTER_", "COLUMNS")
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(ours)},
            "MOOVITAMIX_FIRST_DAY": os.environ["MOOVITAMIX_FIRST_DAY"],
            "MOOVITAMIX_HOME": str(path),
            "PYTHONPATH": str(ROOT),
            **{f"MOOVITAMIX_{name.upper()}": value for name, value in settings.items()},
        }

    def command(self, *arguments: str, **settings: str) -> Outcome:
        """Runs a command to its end."""
        with self.started(*arguments, **settings) as running:
            return running.ended()

    @contextmanager
    def started(self, *arguments: str, **settings: str) -> Iterator[Running]:
        """Starts a command in a process group of its own, as a terminal does."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        more = {f"MOOVITAMIX_{name.upper()}": value for name, value in settings.items()}
        with subprocess.Popen(
            [sys.executable, "-m", "moovitamix", *arguments],
            env={**self.environment, **more},
            cwd=self.path.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                yield Running(process)
            finally:
                process.kill()

    def processes(self) -> list[psutil.Process]:
        """All that runs on this home, whoever started it."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                named = any(str(self.path) in word for word in process.cmdline())
                inherited = process.environ().get("MOOVITAMIX_HOME") == str(self.path)
                if (named or inherited) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def warehouse(self) -> Warehouse:
        """The tables in the embedded Postgres."""
        return Warehouse(url=ensure_postgres(self.path / "postgres"), namespace="mvx")

    @contextmanager
    def cache(self) -> Iterator[redis.Redis]:
        """A client of the embedded Valkey."""
        client = redis.Redis.from_url(ensure_valkey(self.path / "valkey"))
        yield client
        client.close()

    @contextmanager
    def dagster(self) -> Iterator[dg.DagsterInstance]:
        """The history of runs."""
        with dg.DagsterInstance.from_config(str(self.path / "dagster")) as instance:
            yield instance

    def pulls(self) -> list[str]:
        """The kept pulls in the lake, oldest first."""
        return sorted(folder.parent.name for folder in self.path.glob("lake/pulls/*/manifest.json"))


@dataclass(frozen=True)
class Outcome:
    """What a command ended with, and all that it printed."""

    code: int
    output: str

    @property
    def said(self) -> str:
        """What it printed, as if the lines had no end."""
        return " ".join(self.output.split())


class Running:
    """A command that runs, and what it has printed so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self._lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def until(self, text: str) -> None:
        """Waits until it has printed a line with this text."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._ended or any(text in line for line in self._lines), PATIENCE
            )
            assert any(text in line for line in self._lines), f"no {text!r}: {self._lines}"

    def ended(self) -> Outcome:
        """Waits for its end."""
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return Outcome(code, "".join(self._lines))

    def interrupt(self) -> None:
        """Ctrl-C: the whole process group hears it."""
        os.killpg(self.process.pid, signal.SIGINT)


@contextmanager
def a_home(path: Path, **settings: str) -> Iterator[Home]:
    """A home of which nothing runs at the end."""
    home = Home(path, **settings)
    try:
        yield home
    finally:
        home.command("down")
        for process in home.processes():  # only where a test has failed
            with suppress(psutil.NoSuchProcess):
                process.kill()


def contents(connection: psycopg.Connection) -> Contents:
    return {name: Counter(connection.execute(query)) for name, query in TABLES.items()}


def expected_contents(source: ReferenceSource) -> Contents:
    """What the tables hold after every record of a source has been loaded once."""

    def moments(record: Record) -> tuple[datetime, datetime]:
        created, updated = record["created_at"], record["updated_at"]
        return datetime.fromisoformat(created), datetime.fromisoformat(updated)

    def seconds(duration: str) -> int:
        minutes, _, rest = duration.partition(":")
        return 60 * int(minutes) + int(rest)

    def folded(genre: str) -> str:
        return " ".join(genre.lower().split())

    tracks = [
        (
            *(t["id"], t["name"], t["artist"], t["songwriters"], seconds(t["duration"])),
            *(t["album"], *moments(t)),
        )
        for t in source.tracks
    ]
    users = [
        (u["id"], u["first_name"], u["last_name"], u["email"], u["gender"], *moments(u))
        for u in source.users
    ]
    of_tracks = [(t["id"], folded(t["genres"])) for t in source.tracks]
    of_users = [(u["id"], folded(u["favorite_genres"])) for u in source.users]
    listens = [
        (record["user_id"], moments(record)[0], track, 1)
        for record in source.listens
        if record["user_id"] is not None
        for track in record["items"] or []
    ]
    return {
        "genres": Counter({(name,) for _, name in of_tracks + of_users}),
        "tracks": Counter(tracks),
        "users": Counter(users),
        "track_genres": Counter(of_tracks),
        "user_favorite_genres": Counter(of_users),
        "listen_history": Counter(listens),
    }


@pytest.fixture(scope="module")
def reference() -> Iterator[ReferenceSource]:
    """A source of 300 records an endpoint, all of them of days that are over."""
    source = ReferenceSource(3, records=300, now=last_midnight() - timedelta(hours=1))
    with source:
        yield source


# --- nothing configured ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Snapshot:
    """A home after a command."""

    outcome: Outcome
    contents: Contents
    days: set[date]
    champion: registry.ModelVersion
    generation: str
    pulls: list[str]


def snapshot(home: Home, outcome: Outcome) -> Snapshot:
    assert outcome.code == 0, outcome.output
    with home.warehouse().connect() as connection, home.cache() as client:
        champion = registry.champion(connection)
        generation = read_current(client, "mvx")
        assert champion is not None
        assert generation is not None
        return Snapshot(
            outcome,
            contents(connection),
            published_days(connection),
            champion,
            generation.name,
            home.pulls(),
        )


@pytest.fixture(scope="module")
def unconfigured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home where nothing is set."""
    with a_home(tmp_path_factory.mktemp("unconfigured") / "home") as home:
        yield home


@pytest.fixture(scope="module")
def first(unconfigured: Home) -> Snapshot:
    """After the first run."""
    return snapshot(unconfigured, unconfigured.command("run"))


@pytest.fixture(scope="module")
def source_records(first: Snapshot, unconfigured: Home) -> dict[str, list[Record]]:
    """All that the demonstration source holds, read just after the first run."""
    port = (unconfigured.path / "demo_source" / "port").read_text().strip()

    def page(endpoint: str, number: int) -> dict[str, Any]:
        address = f"http://127.0.0.1:{port}/{endpoint}?size=100&page={number}"
        with urllib.request.urlopen(address, timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    assert first.outcome.code == 0
    return {
        endpoint: [
            record
            for number in range(1, page(endpoint, 1)["pages"] + 1)
            for record in page(endpoint, number)["items"]
        ]
        for endpoint in ("tracks", "users", "listen_history")
    }


@pytest.fixture(scope="module")
def history(first: Snapshot, unconfigured: Home) -> dict[str, Any]:
    """What Dagster has recorded of the first run."""
    assert first.outcome.code == 0
    checks = list(build_defs().resolve_asset_graph().asset_check_keys)
    with unconfigured.dagster() as instance:
        latest = instance.event_log_storage.get_latest_asset_check_execution_by_key(checks)
        return {
            "runs": Counter((run.job_name, run.status) for run in instance.get_runs()),
            "listen partitions": instance.get_materialized_partitions(
                dg.AssetKey("listen_history")
            ),
            "checks": {key: latest[key].status.value if key in latest else None for key in checks},
            "stored": {
                part.name for part in unconfigured.path.glob("dagster/storage/*/*") if part.is_dir()
            },
        }


@pytest.fixture(scope="module")
def again(first: Snapshot, unconfigured: Home) -> Snapshot:
    """After another run on the same day; the day is given, for midnight may have passed."""
    present = datetime.combine(first.champion.as_of + timedelta(days=1), time(12))
    return snapshot(unconfigured, unconfigured.command("run", now=present.isoformat()))


@pytest.fixture(scope="module")
def next_day(again: Snapshot, unconfigured: Home) -> Snapshot:
    """After a run on the next day."""
    present = datetime.combine(again.champion.as_of + timedelta(days=2), time(12))
    return snapshot(unconfigured, unconfigured.command("run", now=present.isoformat()))


@pytest.fixture(scope="module")
def answers(next_day: Snapshot, unconfigured: Home) -> dict[str, Outcome]:
    """What `recommend` and `similar` say to a listener, to silent and unknown users."""
    plays = Counter({key[0]: count for key, count in next_day.contents["listen_history"].items()})
    everybody = {row[0] for row in next_day.contents["users"]}
    listeners = {user for user, *_ in next_day.contents["listen_history"]}
    with_favorites = {user for user, _ in next_day.contents["user_favorite_genres"]}
    track = next(iter(next_day.contents["listen_history"]))[2]
    asked = {
        "listener": ("recommend", str(max(plays)), "--limit", "5"),
        "silent": ("recommend", str(min((everybody - listeners) & with_favorites))),
        "unknown": ("recommend", str(max(everybody) + 1)),
        "similar": ("similar", str(track)),
        "no track": ("similar", "99999999"),
    }
    return {name: unconfigured.command(*arguments) for name, arguments in asked.items()}


@dataclass(frozen=True)
class Rest:
    """A home whose servers have been stopped, and what it answers then."""

    running_before: int
    down: Outcome
    running_after: list[psutil.Process]
    recommended: Outcome
    down_again: Outcome
    down_for_nothing: Outcome


@pytest.fixture(scope="module")
def rest(answers: dict[str, Outcome], unconfigured: Home) -> Rest:
    """After `down`, and a question all the same."""
    user = re.findall(r"User (\d+)", answers["listener"].output)[0]
    before = len(unconfigured.processes())
    down = unconfigured.command("down")
    after = unconfigured.processes()
    recommended = unconfigured.command("recommend", user, "--limit", "5")
    return Rest(
        before, down, after, recommended, unconfigured.command("down"), unconfigured.command("down")
    )


def rows_told(outcome: Outcome) -> dict[str, int]:
    """The counts in the summary's table."""
    found = re.findall(r"^  (\w+) +([\d,]+) *$", outcome.output, re.MULTILINE)
    return {name: int(count.replace(",", "")) for name, count in found}


def test_the_first_run_needs_no_configuration_and_tells_the_rows_of_every_table(
    first: Snapshot,
) -> None:
    rows = {name: held.total() for name, held in first.contents.items()}

    assert rows_told(first.outcome) == {**rows, "quarantine": 0}
    assert all(rows.values())


def test_the_first_run_tells_each_step_and_what_to_do_next(first: Snapshot) -> None:
    for part in ("Ingest and warehouse", "Recommend", "Serve"):
        assert f"\n{part}  " in first.outcome.output
    for step in ("pull", "publication", "als_model", "champion_model", "generation"):
        assert re.search(rf"✓ {step} +\d+\.\d s", first.outcome.output)
    assert "✗" not in first.outcome.output
    assert "Next: moovitamix recommend USER" in first.outcome.said


def test_the_first_run_shows_the_model_beside_popularity(first: Snapshot) -> None:
    assert f"Model version {first.champion.version}: ALS, as of" in first.outcome.said
    evaluation = recorded_evaluation(first.champion)
    for title, als, popular in figures.rows(evaluation):
        shown = rf"{title} +{als.value:.4f} +{popular.value:.4f}"
        assert re.search(shown, first.outcome.output), title


def test_the_first_run_shows_five_named_tracks_for_each_of_a_few_users(
    first: Snapshot, unconfigured: Home
) -> None:
    users = [int(user) for user in re.findall(r"\buser (\d+)", first.outcome.output)]
    with unconfigured.cache() as client:
        generations = [key.decode() for key in client.scan_iter(f"mvx:{first.generation}:u:*")]

    assert len(users) == len(set(users)) == 3
    assert {f"mvx:{first.generation}:u:{user}" for user in users} <= set(generations)
    table = first.outcome.output.partition(f"user {users[0]}")[2]
    assert len(re.findall(" · ", table.partition("Next:")[0])) == 15


def test_the_first_run_publishes_one_generation_and_tells_how_many_keys_it_has(
    first: Snapshot,
) -> None:
    told = re.search(rf"Generation {first.generation} is served: ([\d,]+) keys", first.outcome.said)

    assert told is not None
    assert int(told[1].replace(",", "")) > first.contents["users"].total()


def test_the_tables_hold_what_the_source_holds_of_the_days_that_are_over(
    first: Snapshot, source_records: dict[str, list[Record]]
) -> None:
    over = datetime.combine(first.champion.as_of + timedelta(days=1), time()).isoformat()
    settled: Counter[tuple[Any, ...]] = Counter()
    everything: Counter[tuple[Any, ...]] = Counter()
    for record in source_records["listen_history"]:
        recorded = datetime.fromisoformat(record["created_at"])
        heard: list[int] = record["items"]
        for track, plays in Counter(heard).items():
            listens = {(record["user_id"], recorded, track, n + 1): 1 for n in range(plays)}
            everything.update(listens)
            if max(record["created_at"], record["updated_at"]) < over:
                settled.update(listens)

    assert settled.total() > 10_000
    assert settled <= first.contents["listen_history"]
    assert first.contents["listen_history"] <= everything
    for endpoint in ("tracks", "users"):
        ids = {row[0] for row in first.contents[endpoint]}
        created = {r["id"] for r in source_records[endpoint] if r["created_at"] < over}
        assert created <= ids <= {record["id"] for record in source_records[endpoint]}


def test_on_the_demonstration_world_als_is_clearly_better_than_popularity(first: Snapshot) -> None:
    evaluation = recorded_evaluation(first.champion)
    als, popular = next(row[1:] for row in figures.rows(evaluation) if row[0] == "NDCG")

    assert (first.champion.algorithm, first.champion.provisional) == ("als", False)
    assert evaluation.split == "temporal"
    assert als.value > 2 * popular.value > 0


def test_the_runs_are_in_the_history_that_the_ui_shows(
    history: dict[str, Any], first: Snapshot
) -> None:
    succeeded = dg.DagsterRunStatus.SUCCESS
    jobs = ("ingest_day", "retrain", "refresh_serving")

    assert history["runs"] == Counter({(job, succeeded): 1 for job in jobs})
    assert history["listen partitions"] == {day.isoformat() for day in first.days}


def test_every_check_of_the_graph_was_executed_and_passed(history: dict[str, Any]) -> None:
    assert history["checks"]
    assert {key: status for key, status in history["checks"].items() if status != "SUCCEEDED"} == {}


def test_nothing_but_what_steps_printed_is_stored_by_dagster(history: dict[str, Any]) -> None:
    assert history["stored"] <= {"compute_logs"}


def test_a_second_run_on_the_same_day_finds_nothing_to_do(first: Snapshot, again: Snapshot) -> None:
    assert "Everything is up to date" in again.outcome.said
    assert "✓" not in again.outcome.output
    assert rows_told(again.outcome) == rows_told(first.outcome)
    assert again.contents == first.contents
    assert (again.generation, again.champion) == (first.generation, first.champion)
    assert again.pulls == first.pulls
    assert len(again.pulls) == 1


def test_the_next_day_adds_one_day_by_one_pull_and_nothing_twice(
    again: Snapshot, next_day: Snapshot, unconfigured: Home
) -> None:
    new = again.champion.as_of + timedelta(days=1)
    added = next_day.contents["listen_history"] - again.contents["listen_history"]

    assert next_day.days - again.days == {new}
    assert len(next_day.pulls) == 2
    assert again.contents["listen_history"] < next_day.contents["listen_history"]
    assert max(next_day.contents["listen_history"].values()) == 1
    assert sum(recorded.date() == new for _, recorded, *_ in added) > 0.9 * added.total()
    with unconfigured.dagster() as instance:
        recorded = instance.get_materialized_partitions(dg.AssetKey("listen_history"))
    assert recorded == {day.isoformat() for day in next_day.days}


def test_the_next_day_keeps_the_champion_and_serves_a_new_generation(
    again: Snapshot, next_day: Snapshot
) -> None:
    assert next_day.champion == again.champion
    assert next_day.generation != again.generation
    assert next_day.generation.startswith(f"v{again.champion.version}-{max(next_day.days)}-")
    assert "there is no champion yet" not in next_day.outcome.said


def test_recommend_answers_listeners_silent_and_unknown_users(answers: dict[str, Outcome]) -> None:
    tiers = {
        "listener": "cached top-N",
        "silent": "popular in favourite genres",
        "unknown": "popular",
    }
    for who, tier in tiers.items():
        answer = answers[who]
        assert answer.code == 0, answer.output
        assert f"tier: {tier} ·" in answer.said
        ranks = re.findall(r"^ +(\d+)  ", answer.output, re.MULTILINE)
        assert ranks == [str(rank) for rank in range(1, 6 if who == "listener" else 11)]


def test_recommend_shows_names_and_artists(
    answers: dict[str, Outcome], unconfigured: Home, rest: Rest
) -> None:
    answer = answers["listener"]
    ids = [int(found) for found in re.findall(r"(\d+) +\S+ *$", answer.output, re.MULTILINE)]
    names = track_names(unconfigured.warehouse(), ids)

    assert rest.recommended.code == 0
    assert len(names) == 5
    for name in names.values():
        assert name.name in answer.said
        assert name.artist in answer.said


def test_similar_answers_tracks_and_says_what_to_do_about_unknown_ones(
    answers: dict[str, Outcome],
) -> None:
    assert answers["similar"].code == 0
    assert "Like track" in answers["similar"].output
    assert len(re.findall(r"^ +\d+  ", answers["similar"].output, re.MULTILINE)) == 10
    assert answers["no track"].code == 1
    assert answers["no track"].said.startswith("Error: The model knows no track 99999999")


def test_down_stops_all_three_servers_and_leaves_no_process(rest: Rest) -> None:
    assert rest.running_before >= 3
    assert "Stopped demo source, valkey, postgres." in rest.down.output
    assert rest.running_after == []
    assert "Nothing was running." in rest.down_for_nothing.output


def test_after_down_the_same_lists_are_served_from_disk(
    rest: Rest, answers: dict[str, Outcome]
) -> None:
    assert rest.recommended.output == answers["listener"].output
    assert "Stopped valkey, postgres." in rest.down_again.output


# --- the reference source on servers that exist ---------------------------------------------------


@dataclass(frozen=True)
class Shared:
    """A home that uses the session's Postgres and Valkey under a namespace of its own."""

    home: Home
    outcome: Outcome
    warehouse: Warehouse
    cache_url: str

    @contextmanager
    def recommender(self) -> Iterator[Recommender]:
        """Reads what is served."""
        client = redis.Redis.from_url(self.cache_url)
        yield Recommender(client, self.warehouse.schema_name)
        client.close()

    def contents(self) -> Contents:
        """What is in the tables."""
        with self.warehouse.connect() as connection:
            return contents(connection)


@pytest.fixture(scope="module")
def shared(
    tmp_path_factory: pytest.TempPathFactory,
    reference: ReferenceSource,
    postgres_url: str,
    valkey_url: str,
) -> Iterator[Shared]:
    """After the first run."""
    namespace = f"t{uuid.uuid4().hex[:12]}"
    with a_home(
        tmp_path_factory.mktemp("shared") / "home",
        source_url=reference.url,
        database_url=postgres_url,
        redis_url=valkey_url,
        namespace=namespace,
    ) as home:
        outcome = home.command("run", "--log-level", "debug")
        assert outcome.code == 0, outcome.output
        yield Shared(home, outcome, Warehouse(url=postgres_url, namespace=namespace), valkey_url)


def test_servers_that_exist_are_used_and_none_is_started(shared: Shared) -> None:
    assert "your Postgres · your Redis" in shared.outcome.said
    assert shared.home.processes() == []
    kept = {part.name for part in shared.home.path.iterdir()}
    assert kept == {"dagster", "lake"}


def test_all_keys_are_under_the_namespace(shared: Shared) -> None:
    client = redis.Redis.from_url(shared.cache_url)
    keys = [key.decode() for key in client.scan_iter("*")]
    client.close()

    assert keys
    assert all(key.startswith(f"{shared.warehouse.schema_name}:") for key in keys)


def test_the_tables_hold_all_of_the_reference_source(
    shared: Shared, reference: ReferenceSource
) -> None:
    assert shared.contents() == expected_contents(reference)


def test_records_that_name_nobody_or_nothing_wait_in_quarantine_with_the_reason(
    shared: Shared, reference: ReferenceSource
) -> None:
    nobody = sum(record["user_id"] is None for record in reference.listens)
    nothing = sum(record["items"] is None for record in reference.listens)

    assert rows_told(shared.outcome)["quarantine"] == nobody + nothing > 0
    assert f"{nobody} listen_history in quarantine: user_id: Expected" in shared.outcome.said
    assert f"{nothing} listen_history in quarantine: items: Expected" in shared.outcome.said


def test_where_the_data_cannot_tell_the_model_is_provisional_and_says_so(shared: Shared) -> None:
    with shared.warehouse.connect() as connection:
        champion = registry.champion(connection)

    assert champion is not None
    assert champion.provisional
    assert champion.verdict == "cannot tell"
    assert ", provisional, as of" in shared.outcome.said
    assert "cannot tell" in shared.outcome.said


def test_every_user_of_the_reference_source_is_served(
    shared: Shared, reference: ReferenceSource
) -> None:
    with shared.recommender() as recommender:
        lists = {user["id"]: recommender.recommend(user["id"], 10) for user in reference.users}

    assert len(lists) == 300
    assert {user for user, found in lists.items() if len(found.items) != 10} == set()
    assert {found.tier for found in lists.values()} > {"cached top-N"}


def test_at_debug_every_sentence_is_told_and_where_the_time_went(shared: Shared) -> None:
    assert "\n    Reading all of http://" in shared.outcome.output
    assert "Where the time went" in shared.outcome.output


def test_one_day_can_be_loaded_again_and_exported_to_the_default_folder(
    shared: Shared, reference: ReferenceSource
) -> None:
    before = shared.contents()
    yesterday = (last_midnight() - timedelta(days=1)).date()

    outcome = shared.home.command("run", "--into-csv", "--date", str(yesterday))

    assert outcome.code == 0, outcome.output
    assert f"Ingest and warehouse  {yesterday}\n" in outcome.output
    assert "Serve" not in outcome.output
    assert shared.contents() == before == expected_contents(reference)
    assert (shared.home.path.parent / "exports" / "listen_history.csv").exists()


def test_a_source_that_is_down_is_named_and_what_was_served_stays_served(
    shared: Shared, reference: ReferenceSource
) -> None:
    user = reference.users[0]["id"]
    address = reference.url
    with shared.recommender() as recommender:
        before = recommender.recommend(user)
    reference.stop()
    try:
        outcome = shared.home.command("run", "--refresh")
    finally:
        reference.start()
        shared.home.environment["MOOVITAMIX_SOURCE_URL"] = reference.url
    with shared.recommender() as recommender:
        after = recommender.recommend(user)

    assert outcome.code == 1
    assert f"✗ {address}/" in outcome.said
    assert "Check the source (MOOVITAMIX_SOURCE_URL) and run again." in outcome.said
    assert "What was published before stands." in outcome.said
    assert "Traceback" not in outcome.output
    assert "Next:" not in outcome.output
    assert after == before
    assert shared.contents() == expected_contents(reference)


# --- tables as files ------------------------------------------------------------------------------

RANGE = (last_midnight().date() - timedelta(days=12), last_midnight().date() - timedelta(days=3))


@dataclass(frozen=True)
class Exported:
    """A run that ended with files."""

    home: Home
    outcome: Outcome
    left: list[psutil.Process]
    tables: dict[str, pl.DataFrame]


@pytest.fixture(scope="module")
def exported(
    tmp_path_factory: pytest.TempPathFactory, reference: ReferenceSource
) -> Iterator[Exported]:
    """A few days, loaded and exported, with the servers stopped at the end."""
    folder = tmp_path_factory.mktemp("exported")
    with a_home(folder / "home", source_url=reference.url) as home:
        first, last = map(str, RANGE)
        outcome = home.command(
            "run", "--into-csv=out/tables", "--from", first, "--to", last, "--ephemeral"
        )
        assert outcome.code == 0, outcome.output
        tables = {
            file.stem: pl.read_csv(file, infer_schema_length=None)
            for file in (folder / "out" / "tables").iterdir()
        }
        yield Exported(home, outcome, home.processes(), tables)


def test_the_six_tables_are_written_and_read_back_with_the_counts_told(exported: Exported) -> None:
    told = rows_told(exported.outcome)
    told.pop("quarantine")

    assert {name: table.height for name, table in exported.tables.items()} == told
    assert set(told) == set(TABLES)
    total = re.search(r"Exported ([\d,]+) rows into out/tables/", exported.outcome.said)
    assert total is not None
    assert int(total[1].replace(",", "")) == sum(told.values())


def test_of_a_range_of_days_exactly_the_listens_dealt_to_them_are_exported(
    exported: Exported, reference: ReferenceSource
) -> None:
    expected = Counter(
        (record["user_id"], record["created_at"].replace("T", " "), track)
        for record in reference.listens
        if record["user_id"] is not None
        and RANGE[0]
        <= datetime.fromisoformat(max(record["created_at"], record["updated_at"])).date()
        <= RANGE[1]
        for track in record["items"] or []
    )
    found = exported.tables["listen_history"]

    assert expected
    rows = found.select(
        "user_id",
        pl.col("recorded_at").str.to_datetime().dt.to_string("%Y-%m-%d %H:%M:%S%.6f"),
        "track_id",
    )
    assert Counter(rows.iter_rows()) == expected


def test_every_reference_among_the_files_can_be_followed(exported: Exported) -> None:
    tables = exported.tables
    references = [
        ("track_genres", "track_id", "tracks"),
        ("track_genres", "genre_id", "genres"),
        ("user_favorite_genres", "user_id", "users"),
        ("user_favorite_genres", "genre_id", "genres"),
        ("listen_history", "user_id", "users"),
        ("listen_history", "track_id", "tracks"),
    ]
    for table, column, target in references:
        lost = tables[table].filter(~pl.col(column).is_in(tables[target]["id"].implode()))
        assert lost.is_empty(), f"{table}.{column}"


def test_an_export_trains_nothing_and_needs_no_cache(exported: Exported) -> None:
    assert not (exported.home.path / "valkey").exists()
    assert not (exported.home.path / "lake" / "recommend").exists()
    assert "Model version" not in exported.outcome.output
    assert "Serve" not in exported.outcome.output


def test_ephemeral_leaves_no_process_of_the_home(exported: Exported) -> None:
    assert (exported.home.path / "postgres" / "PG_VERSION").exists()
    assert exported.left == []


# --- stopped on the way, and twice at once --------------------------------------------------------


@pytest.fixture(scope="module")
def disturbed(
    tmp_path_factory: pytest.TempPathFactory, reference: ReferenceSource
) -> Iterator[Home]:
    """A home whose runs are not left alone."""
    with a_home(tmp_path_factory.mktemp("disturbed") / "home", source_url=reference.url) as home:
        yield home


@contextmanager
def held_at(source: ReferenceSource, endpoint: str) -> Iterator[tuple[threading.Event, Any]]:
    """The source stops at the first request to an endpoint, until told to go on."""
    reached, go_on = threading.Event(), threading.Event()

    def hold(asked: str, page: int) -> None:  # noqa: ARG001
        if asked == endpoint:
            reached.set()
            go_on.wait(PATIENCE)

    source.on_request = hold
    try:
        yield reached, go_on
    finally:
        go_on.set()
        source.on_request = None


def stopped_runs(home: Home, source: ReferenceSource) -> list[Outcome]:
    """Three runs on one home, each stopped later than the one before."""
    outcomes = []
    with held_at(source, "listen_history") as (reached, _), home.started("run") as running:
        assert reached.wait(PATIENCE)
        running.process.kill()
        outcomes.append(running.ended())
    for step, stop in (
        ("staged_users_checks ", lambda running: running.process.kill()),
        ("als_model ", Running.interrupt),
    ):
        with home.started("run") as running:
            running.until(f"✓ {step}")
            stop(running)
            outcomes.append(running.ended())
    return outcomes


def test_runs_stopped_anywhere_and_two_at_once_end_in_the_tables_of_one_that_was_left_alone(
    disturbed: Home, reference: ReferenceSource
) -> None:
    outcomes = stopped_runs(disturbed, reference)
    yesterday = str(last_midnight().date() - timedelta(days=1))
    with (
        held_at(reference, "listen_history") as (reached, go_on),
        disturbed.started("run", "--refresh", "--date", yesterday) as one,
    ):
        assert reached.wait(PATIENCE)
        with disturbed.started("run") as other:
            other.until("Another run is at work on this warehouse: waiting")
            go_on.set()
            done, waited = one.ended(), other.ended()

    assert [outcome.code for outcome in outcomes] == [-signal.SIGKILL, -signal.SIGKILL, 130]
    for outcome in outcomes:
        assert "Traceback" not in outcome.output
    assert "Run the command again to complete it." in outcomes[-1].said
    assert (done.code, waited.code) == (0, 0), done.output + waited.output
    assert "waiting until it is done" not in done.output
    assert "Everything is up to date" in waited.said
    with disturbed.warehouse().connect() as connection:
        assert contents(connection) == expected_contents(reference)
        assert registry.champion(connection) is not None
    with disturbed.dagster() as instance:
        statuses = Counter(run.status.value for run in instance.get_runs())
    assert set(statuses) <= {"SUCCESS", "CANCELED", "FAILURE"}, statuses
