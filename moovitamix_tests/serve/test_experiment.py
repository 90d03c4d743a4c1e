"""An experiment begins whole or not at all, lives on, and ends with the champion it was against."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import psycopg
import pytest
import redis

from moovitamix.errors import NothingToDo
from moovitamix.recommend import artifacts, experiments, registry, succession
from moovitamix.recommend.experiments import Experiment
from moovitamix.resources import Lake, Warehouse
from moovitamix.serve import arms, experiment
from moovitamix.serve.arms import (
    ServedExperiment,
    experiment_key,
    read_experiment,
    renew_challenger,
    serve_experiment,
    served_generations,
    withdraw_experiment,
)
from moovitamix.serve.experiment import republish_experiment
from moovitamix.serve.generations import (
    Generation,
    current_key,
    keys_matching,
    living_names,
    meta_key,
    read_current,
)
from moovitamix.serve.life import ROLLBACK_WINDOW
from moovitamix.serve.memory import read_memory
from moovitamix_tests.serve.http.serving import Published
from moovitamix_tests.serve.tried import SALT, Versions, start
from moovitamix_tests.serve.world import AS_OF, NAMESPACE

HOUR = timedelta(hours=1)


def running(warehouse: Warehouse) -> Experiment | None:
    with warehouse.connect() as connection:
        return experiments.running(connection)


def last(warehouse: Warehouse) -> Experiment:
    with warehouse.connect() as connection:
        found = experiments.newest(connection)
    assert found is not None
    return found


def republish(warehouse: Warehouse, lake: Lake, client: redis.Redis) -> str:
    return republish_experiment(warehouse, lake.open(), client, NAMESPACE, lambda _: None)


def nothing_has_begun(warehouse: Warehouse, client: redis.Redis) -> bool:
    return running(warehouse) is None and read_experiment(client, NAMESPACE) is None


def test_the_challenger_is_served_beside_the_champion_which_stays_current(
    warehouse: Warehouse, files: Lake, valkey: redis.Redis, rivals: Versions
) -> None:
    current = read_current(valkey, NAMESPACE)
    begun, generation = start(warehouse, files, valkey, rivals.alike, days=14)
    assert read_current(valkey, NAMESPACE) == current
    assert served_generations(valkey, NAMESPACE) == {
        "champion": current,
        "challenger": generation,
    }
    assert running(warehouse) == begun
    assert (begun.challenger, begun.share, begun.salt) == (rivals.alike, 0.5, SALT)
    assert begun.ends_at is not None
    assert begun.ends_at - begun.started_at == timedelta(days=14)
    assert valkey.expiretime(experiment_key(NAMESPACE)) == valkey.expiretime(
        meta_key(NAMESPACE, generation.name)
    )


def test_a_challenger_gets_the_matrix_it_needs_and_the_current_one_stays_current(
    warehouse: Warehouse, files: Lake, valkey: redis.Redis, rivals: Versions
) -> None:
    current = artifacts.current_matrix(files.open())
    _, generation = start(warehouse, files, valkey, rivals.other)
    assert generation.matrix_fingerprint != current.fingerprint
    assert artifacts.current_matrix(files.open()) == current
    name = artifacts.matrix_name(AS_OF, generation.matrix_fingerprint)
    kept = artifacts.load_matrix(files.open(), name)
    assert kept.parameters.weighting == "binary"
    assert kept.fingerprint == generation.matrix_fingerprint


def rejected(warehouse: Warehouse, rivals: Versions) -> int:
    with warehouse.connect() as connection:
        connection.execute(
            "UPDATE model_versions SET status = 'rejected' WHERE version = %s", (rivals.alike,)
        )
    return rivals.alike


def removed(warehouse: Warehouse, rivals: Versions) -> int:
    with warehouse.connect() as connection:
        connection.execute(
            "UPDATE model_versions SET artifact_removed_at = now() WHERE version = %s",
            (rivals.alike,),
        )
    return rivals.alike


@pytest.mark.parametrize(
    ("challenger", "why"),
    [
        (rejected, "was rejected"),
        (removed, "removed by the retention rule"),
        (lambda *_: 1, "is the champion itself"),
        (lambda *_: 99, "no model version 99"),
    ],
)
def test_what_cannot_be_tried_is_refused_before_anything_is_written(
    warehouse: Warehouse,
    files: Lake,
    valkey: redis.Redis,
    rivals: Versions,
    challenger: Callable[[Warehouse, Versions], int],
    why: str,
) -> None:
    before = living_names(valkey, NAMESPACE)
    with pytest.raises(NothingToDo, match=why):
        start(warehouse, files, valkey, challenger(warehouse, rivals))
    assert living_names(valkey, NAMESPACE) == before
    assert nothing_has_begun(warehouse, valkey)


def test_a_second_experiment_is_refused_by_the_command_and_by_the_table(
    warehouse: Warehouse, files: Lake, valkey: redis.Redis, rivals: Versions
) -> None:
    begun, _ = start(warehouse, files, valkey, rivals.alike)
    with pytest.raises(NothingToDo, match="experiment stop"):
        start(warehouse, files, valkey, rivals.other)
    with pytest.raises(psycopg.errors.UniqueViolation), warehouse.connect() as connection:
        connection.execute(
            """INSERT INTO experiments (champion, challenger, share, salt, started_by)
               VALUES (1, %s, 0.5, 's', 'me')""",
            (rivals.other,),
        )
    assert running(warehouse) == begun


def test_nothing_begins_while_the_champion_is_not_served(
    warehouse: Warehouse, files: Lake, valkey: redis.Redis, rivals: Versions
) -> None:
    valkey.delete(current_key(NAMESPACE))
    with pytest.raises(NothingToDo, match="Publish its lists"):
        start(warehouse, files, valkey, rivals.alike)
    assert nothing_has_begun(warehouse, valkey)


def test_nothing_begins_where_redis_has_no_room_for_both_arms(
    warehouse: Warehouse, files: Lake, valkey: redis.Redis, rivals: Versions
) -> None:
    before = living_names(valkey, NAMESPACE)
    memory = read_memory(valkey, NAMESPACE)
    assert memory.generation is not None
    # Enough for the three that there are without one.
    valkey.config_set("maxmemory", memory.others + 4 * memory.generation)
    try:
        with pytest.raises(NothingToDo, match=r"no room.*5 generations"):
            start(warehouse, files, valkey, rivals.alike)
    finally:
        valkey.config_set("maxmemory", 0)
    assert living_names(valkey, NAMESPACE) == before
    assert nothing_has_begun(warehouse, valkey)


def test_what_redis_refuses_is_recorded_as_broken_off(
    warehouse: Warehouse,
    files: Lake,
    valkey: redis.Redis,
    rivals: Versions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise redis.exceptions.OutOfMemoryError("full")

    monkeypatch.setattr(experiment, "serve_experiment", refuse)
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        start(warehouse, files, valkey, rivals.alike)
    assert nothing_has_begun(warehouse, valkey)
    assert last(warehouse).verdict == "broken off"


def test_one_that_was_killed_before_users_were_divided_is_served_by_the_next_publication(
    warehouse: Warehouse, files: Lake, valkey: redis.Redis, rivals: Versions
) -> None:
    with warehouse.connect() as connection:
        begun = experiments.begin(
            connection, champion=1, challenger=rivals.alike, share=0.3, salt=SALT, by="Zoë"
        )
    assert set(served_generations(valkey, NAMESPACE)) == {"champion"}
    republish(warehouse, files, valkey)
    assert set(served_generations(valkey, NAMESPACE)) == {"champion", "challenger"}
    found = read_experiment(valkey, NAMESPACE)
    assert found is not None
    assert (found.id, found.share, found.salt) == (begun.id, 0.3, SALT)


def test_one_that_is_ended_before_users_were_divided_does_not_divide_them(
    warehouse: Warehouse,
    files: Lake,
    valkey: redis.Redis,
    rivals: Versions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begin = experiments.begin

    def ended_at_once(connection: psycopg.Connection, **given: Any) -> Experiment:
        begun = begin(connection, **given)
        registry.change_champion(connection, rivals.other, action="promote", decided_by="Zoë")
        return begun

    monkeypatch.setattr(experiments, "begin", ended_at_once)
    with pytest.raises(NothingToDo, match="ended meanwhile"):
        start(warehouse, files, valkey, rivals.alike)
    assert nothing_has_begun(warehouse, valkey)


def test_a_champion_promoted_while_the_lists_were_written_keeps_it_from_beginning(
    warehouse: Warehouse,
    files: Lake,
    valkey: redis.Redis,
    rivals: Versions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish = experiment.publish_challenger

    def promoted_meanwhile(*arguments: object) -> Generation:
        with warehouse.connect() as connection:
            succession.promote_by_hand(connection, rivals.other, "Zoë")
        return publish(*arguments)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(experiment, "publish_challenger", promoted_meanwhile)
    with pytest.raises(NothingToDo, match="meanwhile"):
        start(warehouse, files, valkey, rivals.alike)
    assert nothing_has_begun(warehouse, valkey)


def test_a_publication_serves_the_challenger_anew_by_the_same_division(
    warehouse: Warehouse,
    files: Lake,
    valkey: redis.Redis,
    rivals: Versions,
    fresh: Published,
) -> None:
    _, first = start(warehouse, files, valkey, rivals.other)
    before = read_experiment(valkey, NAMESPACE)
    assert before is not None
    fresh.publish(valkey)
    told = republish(warehouse, files, valkey)
    served = served_generations(valkey, NAMESPACE)
    assert served["challenger"].name in told
    assert served["challenger"].name != first.name
    after = read_experiment(valkey, NAMESPACE)
    assert after == msgspec.structs.replace(before, generation=served["challenger"].name)


def test_a_challenger_that_cannot_be_published_leaves_its_last_lists_in_place(
    warehouse: Warehouse,
    files: Lake,
    valkey: redis.Redis,
    rivals: Versions,
) -> None:
    _, first = start(warehouse, files, valkey, rivals.alike)
    with warehouse.connect() as connection:
        artifact = registry.find(connection, rivals.alike).artifact
    files.open().remove(f"{artifact}/als.npz")
    told = republish(warehouse, files, valkey)
    assert "was not published" in told
    assert "is gone" in told
    assert served_generations(valkey, NAMESPACE)["challenger"] == first


def test_a_publication_without_an_experiment_withdraws_what_is_left_of_one(
    warehouse: Warehouse, files: Lake, valkey: redis.Redis, rivals: Versions
) -> None:
    begun, _ = start(warehouse, files, valkey, rivals.alike)
    with warehouse.connect() as connection:
        experiments.conclude(
            connection, begun, verdict="cannot tell", reason="", figures={}, by="Zoë"
        )
    assert read_experiment(valkey, NAMESPACE) is not None  # killed before it was withdrawn
    assert republish(warehouse, files, valkey) == ""
    assert read_experiment(valkey, NAMESPACE) is None


def test_an_experiment_that_ends_while_the_challenger_is_published_is_not_served_again(
    warehouse: Warehouse,
    files: Lake,
    valkey: redis.Redis,
    rivals: Versions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, _ = start(warehouse, files, valkey, rivals.alike)
    publish = experiment.publish_challenger

    def ended_meanwhile(*arguments: object) -> Generation:
        with warehouse.connect() as connection:
            experiments.conclude(
                connection, begun, verdict="cannot tell", reason="", figures={}, by="Zoë"
            )
        withdraw_experiment(valkey, NAMESPACE)
        return publish(*arguments)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(experiment, "publish_challenger", ended_meanwhile)
    assert "ended meanwhile" in republish(warehouse, files, valkey)
    assert read_experiment(valkey, NAMESPACE) is None


@pytest.mark.parametrize("action", ["promote", "rollback"])
def test_another_champion_breaks_it_off_in_the_same_transaction(
    warehouse: Warehouse, files: Lake, valkey: redis.Redis, rivals: Versions, action: str
) -> None:
    with warehouse.connect() as connection:
        if action == "rollback":
            succession.promote_by_hand(connection, rivals.other, "Zoë")
            registry.change_champion(connection, 1, action="promote", decided_by="Zoë")
            registry.change_champion(connection, rivals.other, action="promote", decided_by="Zoë")
            registry.change_champion(connection, 1, action="promote", decided_by="Zoë")
    start(warehouse, files, valkey, rivals.alike)
    with warehouse.connect() as connection:
        if action == "promote":
            succession.promote_by_hand(connection, rivals.other, "Zoë")
        else:
            succession.roll_back(connection, "Zoë")
    ended = last(warehouse)
    assert ended.verdict == "broken off"
    assert ended.stopped_at is not None
    assert ended.stopped_by is None
    assert ended.reason == f"Version {rivals.other} became the champion ({action})."


def test_what_is_current_of_another_version_ends_it_for_readers_at_once(
    warehouse: Warehouse, files: Lake, valkey: redis.Redis, rivals: Versions
) -> None:
    _, generation = start(warehouse, files, valkey, rivals.alike)
    valkey.set(current_key(NAMESPACE), generation.name)
    assert read_experiment(valkey, NAMESPACE) is not None
    assert served_generations(valkey, NAMESPACE) == {"champion": generation}


def deadlines(client: redis.Redis, name: str) -> set[int]:
    return {
        int(client.expiretime(key.decode()))
        for batch in keys_matching(client, f"{NAMESPACE}:{name}:*")
        for key in batch
    }


def aged(client: redis.Redis, generation: Generation, left: timedelta) -> Generation:
    """Let an experiment's generation be as it is when it has so much left of its life."""
    end = datetime.now(UTC).replace(microsecond=0) + left
    old = msgspec.structs.replace(generation, expires_at=end)
    client.set(meta_key(NAMESPACE, generation.name), msgspec.json.encode(old))
    for batch in keys_matching(client, f"{NAMESPACE}:{generation.name}:*"):
        for key in batch:
            client.expireat(key, end)
    client.expireat(experiment_key(NAMESPACE), end)
    return old


def test_the_challenger_lives_on_while_nobody_publishes(
    warehouse: Warehouse, files: Lake, valkey: redis.Redis, rivals: Versions
) -> None:
    _, generation = start(warehouse, files, valkey, rivals.alike)
    assert not renew_challenger(valkey, NAMESPACE)  # young
    old = aged(valkey, generation, 2 * HOUR)
    assert renew_challenger(valkey, NAMESPACE)
    until = int((old.expires_at + timedelta(hours=24)).timestamp())
    assert deadlines(valkey, generation.name) == {until}
    assert valkey.expiretime(experiment_key(NAMESPACE)) == until
    assert not renew_challenger(valkey, NAMESPACE)


def test_a_renewal_that_was_killed_before_its_last_step_is_finished_by_the_next(
    warehouse: Warehouse, files: Lake, valkey: redis.Redis, rivals: Versions
) -> None:
    _, generation = start(warehouse, files, valkey, rivals.alike)
    until = valkey.expiretime(experiment_key(NAMESPACE))
    valkey.expire(experiment_key(NAMESPACE), 60)
    assert renew_challenger(valkey, NAMESPACE)
    assert valkey.expiretime(experiment_key(NAMESPACE)) == until
    valkey.delete(meta_key(NAMESPACE, generation.name))
    assert not renew_challenger(valkey, NAMESPACE)


def test_at_the_end_the_challengers_lists_stay_for_the_rollback_window(
    warehouse: Warehouse, files: Lake, valkey: redis.Redis, rivals: Versions
) -> None:
    _, generation = start(warehouse, files, valkey, rivals.alike)
    aged(valkey, generation, HOUR)
    withdraw_experiment(valkey, NAMESPACE)
    assert read_experiment(valkey, NAMESPACE) is None
    left = min(deadlines(valkey, generation.name)) - datetime.now(UTC).timestamp()
    assert left > (ROLLBACK_WINDOW - timedelta(minutes=1)).total_seconds()


@pytest.mark.parametrize("value", [b"", b"{", b'{"id":1}', b"\xff"])
def test_a_damaged_experiment_is_as_none(valkey: redis.Redis, value: bytes) -> None:
    valkey.set(experiment_key(NAMESPACE), value)
    assert read_experiment(valkey, NAMESPACE) is None
    assert not renew_challenger(valkey, NAMESPACE)


def test_a_cluster_serves_and_withdraws_an_experiment(cluster_url: str) -> None:
    with redis.RedisCluster.from_url(cluster_url) as cluster:
        served = ServedExperiment(
            id=1, salt=SALT, share=0.5, champion=1, challenger=2, generation="v2-2026-11-22-1"
        )
        end = datetime.now(UTC) + HOUR
        serve_experiment(cluster, "arms", served, end)
        assert arms.read_experiment(cluster, "arms") == served
        withdraw_experiment(cluster, "arms")
        assert read_experiment(cluster, "arms") is None
