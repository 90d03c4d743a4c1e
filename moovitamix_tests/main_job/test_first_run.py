"""What one gets who types `moovitamix run`, with nothing configured, and types it again."""

from __future__ import annotations

import json
import re
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

import dagster as dg
import psutil
import pytest

from moovitamix.definitions import build_defs
from moovitamix.recommend import figures, registry
from moovitamix.recommend.training import recorded_evaluation
from moovitamix.serve.generations import read_current
from moovitamix.serve.names import track_names
from moovitamix.warehouse.days import published_days
from moovitamix_tests.main_job.command import (
    Contents,
    Home,
    Outcome,
    a_home,
    contents,
    rows_told,
)
from moovitamix_tests.reference_source import Record


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


# Asked for by a sensor: whether the newest day drifted is nothing that a run waits for.
NOT_OF_A_RUN = {"data_drift", "daily_report"}


def test_every_check_of_the_graph_was_executed_and_passed(history: dict[str, Any]) -> None:
    assert history["checks"]
    assert {
        key: status
        for key, status in history["checks"].items()
        if status != "SUCCEEDED" and key.asset_key.to_user_string() not in NOT_OF_A_RUN
    } == {}


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
