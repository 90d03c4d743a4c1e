"""The command line as a user starts it, on a home of its own, and what its tables hold."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import psycopg
import redis

from moovitamix.embedded.postgres import ensure_postgres
from moovitamix.embedded.valkey import ensure_valkey
from moovitamix.resources import Warehouse
from moovitamix_tests.main_job.stem import Forked, Order, Stem
from moovitamix_tests.reference_source import Record, ReferenceSource

ROOT = Path(__file__).parents[2]
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
        stem: Of which commands are forked; without one each is a fresh interpreter.
        settings: More variables, in lower case and without the prefix.
    """

    def __init__(self, path: Path, stem: Stem | None = None, **settings: str) -> None:
        self.path = path
        self._stem = stem
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
        environment = {**self.environment, **more}
        if self._stem is not None:
            order = Order(arguments, environment, str(self.path.parent))
            with self._stem.started(order) as command:
                yield Running(command)
            return
        with subprocess.Popen(
            [sys.executable, "-m", "moovitamix", *arguments],
            env=environment,
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

    def __init__(self, process: subprocess.Popen[str] | Forked) -> None:
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
def a_home(path: Path, stem: Stem | None = None, **settings: str) -> Iterator[Home]:
    """A home of which nothing runs at the end."""
    home = Home(path, stem, **settings)
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


def rows_told(outcome: Outcome) -> dict[str, int]:
    """The counts in the summary's table."""
    found = re.findall(r"^  (\w+) +([\d,]+) *$", outcome.output, re.MULTILINE)
    return {name: int(count.replace(",", "")) for name, count in found}
