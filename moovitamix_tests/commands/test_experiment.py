"""`experiment …`, as one types it."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
import redis

from moovitamix.errors import NothingToDo
from moovitamix.ingest.lake import LakeStore
from moovitamix.recommend import experiments, registry
from moovitamix.recommend.arms import arm_of
from moovitamix.recommend.experiments import Experiment
from moovitamix.resources import Lake, Warehouse
from moovitamix.serve.arms import read_experiment, withdraw_experiment
from moovitamix.serve.generations import read_current
from moovitamix.serve.publish import publish_generation
from moovitamix_tests.commands.conftest import Command
from moovitamix_tests.serve.http.serving import LIST_LENGTH, fill
from moovitamix_tests.serve.tried import Versions, register_rivals
from moovitamix_tests.serve.world import make_world


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture
def rivals(warehouse: Warehouse, lake: LakeStore, valkey: redis.Redis) -> Versions:
    """Version 1 is the champion and served; two more could be tried."""
    files = Lake(url=lake.url)
    world = fill(make_world(), warehouse, files)
    publish_generation(
        valkey,
        warehouse.schema_name,
        champion=world.champion,
        matrix=world.matrix,
        catalogue=world.catalogue,
        tell=lambda _: None,
        list_length=LIST_LENGTH,
    )
    return register_rivals(world, warehouse, files)


def newest(warehouse: Warehouse) -> Experiment:
    with warehouse.connect() as connection:
        found = experiments.newest(connection)
    assert found is not None
    return found


def listen(warehouse: Warehouse, found: Experiment, champion: int, challenger: int) -> None:
    """Eight hundred more users listen, so much or a bit more by arm, since a day ago.

    What users of one arm differ by is the same in the other: by chance alone, in one of twenty
    experiments an arm would be better.
    """
    begun = (found.started_at - timedelta(days=1)).replace(tzinfo=None)
    users = range(1_000, 1_800)
    places: Counter[str] = Counter()
    plays = []
    for user in users:
        arm = arm_of(user, found.salt, found.share)
        places[arm] += 1
        count = places[arm] % 3 + (challenger if arm == "challenger" else champion)
        plays += [
            (user, begun + timedelta(minutes=nth + 1), begun, found.started_at.date())
            for nth in range(count)
        ]
    with warehouse.connect() as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE experiments SET started_at = started_at - interval '1 day'")
        cursor.executemany(
            """INSERT INTO users (id, first_name, last_name, email, gender, created_at, updated_at,
                   pull) VALUES (%s, '', '', '', '', %s, %s, 'p1')""",
            [(user, begun, begun) for user in users],
        )
        cursor.executemany(
            """INSERT INTO activity (user_id, recorded_at, track_id, nth, listened_at, day)
               VALUES (%s, %s, 110, 1, %s, %s)""",
            [(user, at, at, day) for user, at, _, day in plays],
        )


def test_help_teaches_how_one_goes_from_start_to_verdict(command: Command) -> None:
    told = command("experiment", "--help").output
    assert "experiment start 7 --days 14" in told
    assert "experiment stop --promote" in told


def test_before_the_first_status_and_stop_say_how_to_begin(command: Command) -> None:
    shown = command("experiment", "status")
    assert shown.exit_code == 0
    assert "experiment start" in shown.output
    refused = command("experiment", "stop").exception
    assert isinstance(refused, NothingToDo)
    assert "experiment start" in str(refused)


def test_from_start_to_a_verdict_that_promotes(
    command: Command, warehouse: Warehouse, valkey: redis.Redis, rivals: Versions
) -> None:
    challenger = str(rivals.alike)
    begun = command(
        "experiment", "start", challenger, "--days", "14", "--by", "Zoë", "--reason", "[Why] not?"
    )
    assert begun.exit_code == 0, begun.output
    assert f"50% of users are answered by version {challenger}" in flat(begun.output)
    listen(warehouse, newest(warehouse), champion=1, challenger=3)
    shown = flat(command("experiment", "status").output)
    assert "by Zoë, 14.0 days left" in shown
    assert "[Why] not?" in shown
    assert "plays per user" in shown
    assert "could be detected" in shown
    assert "answered from v2-" in shown
    assert "challenger" in flat(command("generations", "list").output)

    stopped = command("experiment", "stop", "--promote", "--by", "Ada")
    assert stopped.exit_code == 0, stopped.output
    assert "challenger better." in stopped.output
    assert f"Version {challenger} is the champion." in stopped.output
    assert read_experiment(valkey, warehouse.schema_name) is None
    current = read_current(valkey, warehouse.schema_name)
    assert current is not None
    assert current.model_version == rivals.alike  # its lists were there: served at once
    found = newest(warehouse)
    assert (found.verdict, found.stopped_by) == ("challenger better", "Ada")
    assert found.figures["figures"][0]["name"] == "plays per user"
    with warehouse.connect() as connection:
        champion = registry.champion(connection)
    assert champion is not None
    assert champion.version == rivals.alike
    record = flat(command("models", "show", challenger).output)
    assert "Tried against version 1: experiment 1: challenger better." in record
    assert "Promoted by Ada, after version 1" in record
    after = flat(command("experiment", "status").output)
    assert "ended" in after
    assert "challenger better." in after


@pytest.mark.parametrize(
    ("champion", "challenger", "verdict"),
    [(3, 1, "champion better"), (1, 1, "cannot tell"), (1, 3, "challenger better")],
)
def test_only_with_promote_and_only_a_better_challenger_becomes_champion(
    command: Command,
    warehouse: Warehouse,
    valkey: redis.Redis,
    rivals: Versions,
    champion: int,
    challenger: int,
    verdict: str,
) -> None:
    assert command("experiment", "start", str(rivals.alike)).exit_code == 0
    listen(warehouse, newest(warehouse), champion, challenger)
    better = verdict == "challenger better"
    stopped = command("experiment", "stop", *([] if better else ["--promote"]))
    assert stopped.exit_code == 0, stopped.output
    assert f"{verdict}." in stopped.output
    assert ("models promote" in stopped.output) == better
    current = read_current(valkey, warehouse.schema_name)
    assert current is not None
    assert current.model_version == 1
    with warehouse.connect() as connection:
        kept = registry.champion(connection)
    assert kept is not None
    assert kept.version == 1
    again = command("experiment", "start", str(rivals.other))
    assert again.exit_code == 0, again.output


def test_when_its_days_are_over_status_asks_for_the_verdict(
    command: Command, warehouse: Warehouse, rivals: Versions
) -> None:
    assert command("experiment", "start", str(rivals.alike), "--days", "1").exit_code == 0
    with warehouse.connect() as connection:
        connection.execute("UPDATE experiments SET ends_at = now() - interval '1 hour'")
    shown = flat(command("experiment", "status").output)
    assert "Its days are over: moovitamix experiment stop makes the verdict" in shown


def test_status_says_when_the_challengers_lists_are_not_served(
    command: Command, warehouse: Warehouse, valkey: redis.Redis, rivals: Versions
) -> None:
    assert command("experiment", "start", str(rivals.alike)).exit_code == 0
    valkey.delete(f"{warehouse.schema_name}:experiment")
    assert "not being served" in flat(command("experiment", "status").output)


def test_a_stop_that_was_killed_before_its_verdict_is_repeated(
    command: Command, warehouse: Warehouse, valkey: redis.Redis, rivals: Versions
) -> None:
    assert command("experiment", "start", str(rivals.alike)).exit_code == 0
    withdraw_experiment(valkey, warehouse.schema_name)
    stopped = command("experiment", "stop")
    assert stopped.exit_code == 0, stopped.output
    assert newest(warehouse).verdict == "cannot tell"


@pytest.mark.parametrize("how", ["promote", "rollback"])
def test_another_champion_ends_it_for_readers_and_in_the_record(
    command: Command, warehouse: Warehouse, valkey: redis.Redis, rivals: Versions, how: str
) -> None:
    if how == "rollback":
        assert command("models", "promote", str(rivals.other)).exit_code == 0
        assert command("models", "promote", "1").exit_code == 0
    assert command("experiment", "start", str(rivals.alike)).exit_code == 0
    assert read_experiment(valkey, warehouse.schema_name) is not None
    wanted = ("promote", str(rivals.other)) if how == "promote" else ("rollback",)
    assert command("models", *wanted).exit_code == 0
    assert read_experiment(valkey, warehouse.schema_name) is None
    shown = flat(command("experiment", "status").output)
    assert "broken off." in shown
    assert f"Version {rivals.other} became the champion ({how})." in shown
    assert isinstance(command("experiment", "stop").exception, NothingToDo)


@pytest.mark.parametrize("share", ["0", "1", "1.5", "-0.1"])
def test_a_share_that_leaves_an_arm_empty_is_no_share(command: Command, share: str) -> None:
    refused = command("experiment", "start", "2", f"--share={share}")
    assert refused.exit_code == 2
    assert "--share" in refused.output
