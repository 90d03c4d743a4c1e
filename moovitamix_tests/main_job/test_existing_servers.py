"""The same command on the reference source and on servers that exist."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import pytest
import redis

from moovitamix.recommend import registry
from moovitamix.resources import Warehouse
from moovitamix.serve.recommender import Recommender
from moovitamix_tests.main_job.command import (
    Contents,
    Home,
    Outcome,
    a_home,
    contents,
    expected_contents,
    last_midnight,
    rows_told,
)
from moovitamix_tests.main_job.stem import Stem
from moovitamix_tests.reference_source import ReferenceSource

YESTERDAY = str((last_midnight() - timedelta(days=1)).date())


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
    stem: Stem,
    first_day: str,
) -> Iterator[Shared]:
    """After the first run."""
    namespace = f"t{uuid.uuid4().hex[:12]}"
    with redis.Redis.from_url(valkey_url) as client:
        client.flushall()
    with a_home(
        tmp_path_factory.mktemp("shared") / "home",
        stem,
        source_url=reference.url,
        database_url=postgres_url,
        redis_url=valkey_url,
        namespace=namespace,
        first_day=first_day,
    ) as home:
        outcome = home.command("run", "--log-level", "debug")
        assert outcome.code == 0, outcome.output
        yield Shared(home, outcome, Warehouse(url=postgres_url, namespace=namespace), valkey_url)


def test_servers_that_exist_are_used_and_none_is_started(shared: Shared) -> None:
    assert "your Postgres · your Redis" in shared.outcome.said
    assert shared.home.processes() == []
    kept = {part.name for part in shared.home.path.iterdir()}
    assert kept == {"dagster", "lake", "spool"}
    assert not [file for file in (shared.home.path / "spool").rglob("*") if file.is_file()]


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


@dataclass(frozen=True)
class LoadedAgain:
    """What one day more is loaded and exported by, and what was there before."""

    outcome: Outcome
    contents: Contents
    generation: str | None


@pytest.fixture(scope="module")
def loaded_again(shared: Shared) -> LoadedAgain:
    """After another load of yesterday, of which nothing is served yet."""
    before = shared.contents()
    with shared.recommender() as recommender:
        generation = recommender.popular().generation
    outcome = shared.home.command("run", "--into-csv", "--date", YESTERDAY)
    return LoadedAgain(outcome, before, generation)


def test_one_day_can_be_loaded_again_and_exported_to_the_default_folder(
    shared: Shared, loaded_again: LoadedAgain, reference: ReferenceSource
) -> None:
    outcome = loaded_again.outcome

    assert outcome.code == 0, outcome.output
    assert f"Ingest and warehouse  {YESTERDAY}\n" in outcome.output
    assert "Serve" not in outcome.output
    assert shared.contents() == loaded_again.contents == expected_contents(reference)
    assert (shared.home.path.parent / "exports" / "listen_history.csv").exists()


def test_what_an_earlier_command_has_only_loaded_is_served_by_the_next_run(
    shared: Shared, loaded_again: LoadedAgain
) -> None:
    outcome = shared.home.command("run")
    again = shared.home.command("run")

    with shared.recommender() as recommender:
        after = recommender.popular().generation
    assert (outcome.code, again.code) == (0, 0), outcome.output + again.output
    assert "Ingest and warehouse" not in outcome.output
    assert f"Generation {after} is served" in outcome.said
    assert after != loaded_again.generation
    assert "Everything is up to date" in again.said


def test_train_serves_what_is_promoted_and_says_when_there_is_too_little_to_tune(
    shared: Shared,
) -> None:
    with shared.warehouse.connect() as connection:
        connection.execute("UPDATE model_versions SET status = 'retired'")

    outcome = shared.home.command("train", "--trials", "3")

    with shared.warehouse.connect() as connection:
        champion = registry.champion(connection)
    with shared.recommender() as recommender:
        served = recommender.popular().model_version
    assert outcome.code == 0, outcome.output
    assert champion is not None
    assert champion.version == served
    assert f"Version {served} is champion. Too little data to tune" in outcome.said
    assert champion.parameters["found"]["by"] == "defaults"


def test_train_refuses_what_is_no_duration_before_it_starts_anything(shared: Shared) -> None:
    outcome = shared.home.command("train", "--tune", "soon")
    assert outcome.code == 2
    assert "write it as 10m, 90s or 2h" in outcome.said
    assert "MoovitaMix" not in outcome.output


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
