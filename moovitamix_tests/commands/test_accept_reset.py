"""`source accept-reset` sets a world aside whole, wherever it is stopped, and a new one begins."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
import redis

from moovitamix import reset
from moovitamix.errors import NothingToDo, SourceContractError, StoreUnavailable
from moovitamix.ingest import before
from moovitamix.ingest.lake import LakeStore
from moovitamix.ingest.pulls import kept_pulls, newest_pull
from moovitamix.observe.conditions import Condition
from moovitamix.observe.ledger import Look, bring_over, enter
from moovitamix.recommend.artifacts import current_matrix, store_matrix
from moovitamix.resources import Cache, Warehouse
from moovitamix.serve.arms import experiment_key
from moovitamix.serve.generations import current_key
from moovitamix.settings import get_settings
from moovitamix.warehouse.days import published_days
from moovitamix_tests.commands.conftest import Command
from moovitamix_tests.conftest import drop_schemas
from moovitamix_tests.ingest.pulling import at, pull_at
from moovitamix_tests.locks import lose
from moovitamix_tests.reference_source import ReferenceSource
from moovitamix_tests.serve.world import make_world
from moovitamix_tests.warehouse.loading import contents, load

Contents = dict[str, list[tuple[Any, ...]]]


@pytest.fixture
def old(
    command: Command,
    warehouse: Warehouse,
    lake: LakeStore,
    valkey: redis.Redis,
    source: ReferenceSource,
) -> Iterator[Contents]:
    """A world that was loaded and served, of a source that has started anew since."""
    assert isinstance(command("source", "accept-reset").exception, NothingToDo)
    pull_at(lake, source)
    load(warehouse, lake, *range(1, 21))
    store_matrix(lake, make_world().matrix, "p")
    valkey.set(current_key(warehouse.schema_name), "v1-2026-11-20-1")
    valkey.set(experiment_key(warehouse.schema_name), b"{}")
    source.restart()
    with pytest.raises(SourceContractError, match="source accept-reset"):
        pull_at(lake, source, at(22))
    yield contents(warehouse)
    for schema in old_schemas(warehouse):
        drop_schemas(Warehouse(url=warehouse.url, namespace=schema))


def old_schemas(warehouse: Warehouse) -> list[str]:
    with psycopg.connect(warehouse.address()) as connection:
        found = connection.execute(
            "SELECT nspname FROM pg_namespace WHERE nspname ~ %s ORDER BY 1",
            (f"^{warehouse.schema_name}_before_[0-9t]+$",),
        ).fetchall()
    return [name for (name,) in found]


def expect_set_aside(warehouse: Warehouse, lake: LakeStore, old: Contents) -> str:
    """All of the old world is to be found under its name, and nothing of it elsewhere."""
    (name,) = old_schemas(warehouse)
    assert contents(Warehouse(url=warehouse.url, namespace=name)) == old
    old_lake = LakeStore(f"{lake.url}/before/{name}")
    assert len(kept_pulls(old_lake)) == 1
    assert old_lake.exists(current_matrix(old_lake).name)
    assert set(map(len, contents(warehouse).values())) == {0}
    with warehouse.connect() as connection:
        assert published_days(connection) == set()
    for folder in ("raw", "pulls", "recommend"):
        assert lake.names(folder) == []
    assert before.unfinished(lake) is None
    return name


def test_the_old_world_is_set_aside_whole_and_the_new_one_can_be_loaded(
    command: Command,
    warehouse: Warehouse,
    lake: LakeStore,
    valkey: redis.Redis,
    source: ReferenceSource,
    old: Contents,
) -> None:
    told = command("source", "accept-reset", answer="y\n")
    assert told.exit_code == 0, told.output
    assert "40 tracks, 40 users" in told.output
    name = expect_set_aside(warehouse, lake, old)
    assert name in told.output
    served = (current_key(warehouse.schema_name), experiment_key(warehouse.schema_name))
    assert valkey.mget(served) == [None, None]

    pull = pull_at(lake, source, at(22))
    load(warehouse, lake, *range(1, 22))
    assert newest_pull(lake) == pull
    found = contents(warehouse)
    assert len(found["tracks"]) == 40
    assert not {row[0] for row in found["tracks"]} & {row[0] for row in old["tracks"]}
    assert [row[8] for row in found["tracks"] if row[8] is not None] == []


def test_people_who_were_told_of_the_old_world_are_told_that_it_is_over(
    command: Command, warehouse: Warehouse, old: Contents
) -> None:
    assert old
    anew = Condition(key="source_anew", kind="source_anew", title="Anew", text="Decide.")
    now = datetime(2026, 11, 22, tzinfo=UTC)
    with warehouse.connect() as connection:
        enter(connection, Look([anew], ["source_anew"]), ["mail"], now)
        connection.execute("UPDATE alert_notices SET sent_at = created_at")
    told = command("source", "accept-reset", "--yes")
    assert told.exit_code == 0, told.output
    with warehouse.connect() as connection:
        bring_over(connection, old_schemas(warehouse)[0])  # as who repeats it does
        enter(connection, Look([], ["source_anew"]), ["mail"], now)
        notices = connection.execute(
            "SELECT key, what, sent_at IS NULL FROM alerts a "
            "JOIN alert_notices n ON n.alert_id = a.id ORDER BY n.id"
        ).fetchall()
    assert notices == [("source_anew", "new", False), ("source_anew", "over", True)]


def test_who_does_not_confirm_changes_nothing(
    command: Command, warehouse: Warehouse, lake: LakeStore, valkey: redis.Redis, old: Contents
) -> None:
    files = lake.names("")
    assert command("source", "accept-reset", answer="n\n").exit_code == 1
    assert contents(warehouse) == old
    assert lake.names("") == files
    assert valkey.get(current_key(warehouse.schema_name)) is not None


def test_without_redis_nothing_is_changed(
    command: Command,
    warehouse: Warehouse,
    lake: LakeStore,
    old: Contents,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = lake.names("")
    monkeypatch.setenv("MOOVITAMIX_REDIS_URL", "redis://127.0.0.1:1")
    get_settings.cache_clear()
    assert isinstance(command("source", "accept-reset", "--yes").exception, StoreUnavailable)
    assert contents(warehouse) == old
    assert lake.names("") == files


def test_a_step_of_a_run_that_is_past_its_pull_is_waited_for(
    warehouse: Warehouse, lake: LakeStore, valkey_url: str, old: Contents
) -> None:
    noticed = threading.Event()
    cache = Cache(url=valkey_url, namespace=warehouse.schema_name)
    resetting = threading.Thread(
        target=lambda: reset.set_aside(warehouse, lake, cache, on_wait=noticed.set)
    )
    with warehouse.hold_erasures():
        resetting.start()
        assert noticed.wait(20)
        assert contents(warehouse) == old
    resetting.join(30)
    expect_set_aside(warehouse, lake, old)


@pytest.mark.parametrize("lock", ["run", "pull", "people"])
@pytest.mark.parametrize("step", ["_new_name", "_serve_nothing"])
def test_a_reset_whose_lock_is_lost_ends_and_is_completed_by_the_next(
    warehouse: Warehouse,
    lake: LakeStore,
    valkey_url: str,
    old: Contents,
    monkeypatch: pytest.MonkeyPatch,
    lock: str,
    step: str,
) -> None:
    cache = Cache(url=valkey_url, namespace=warehouse.schema_name)
    take = getattr(reset, step)

    def take_and_lose(*arguments: Any) -> Any:
        lose(warehouse, lock)
        return take(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(reset, step, take_and_lose)
        with pytest.raises(StoreUnavailable, match=f"session that held the lock `{lock}`"):
            reset.set_aside(warehouse, lake, cache)
    assert before.unfinished(lake)
    assert len(kept_pulls(lake)) == 1
    reset.set_aside(warehouse, lake, cache)
    expect_set_aside(warehouse, lake, old)


class Killed(BaseException):
    """As a process ends that is killed: nothing after it is executed."""


# The mark, the schemas, the cache; the lake's first file, one in the middle; the mark again.
@pytest.mark.parametrize("dies_at", [1, 2, 3, 4, 9, "last"])
def test_a_reset_that_is_killed_anywhere_keeps_pulls_out_and_is_completed_by_the_next(
    command: Command,
    warehouse: Warehouse,
    lake: LakeStore,
    source: ReferenceSource,
    old: Contents,
    monkeypatch: pytest.MonkeyPatch,
    dies_at: int | str,
) -> None:
    steps = 0

    def mortal(step: Callable[..., Any], *, last: bool = False) -> Callable[..., Any]:
        def work(*arguments: Any, **named: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == dies_at or (last and dies_at == "last"):
                raise Killed
            return step(*arguments, **named)

        return work

    local = type(lake._files)
    with monkeypatch.context() as patch:
        patch.setattr(before, "begin", mortal(before.begin))
        patch.setattr(reset, "_rename_schemas", mortal(reset._rename_schemas))
        patch.setattr(reset, "_serve_nothing", mortal(reset._serve_nothing))
        move = local.mv
        patch.setattr(before, "finish", mortal(before.finish, last=True))
        # `begin` moves its file into place too: only the world's files count as steps.
        patch.setattr(
            local,
            "mv",
            lambda *paths, **named: (
                move(*paths, **named)
                if "unfinished" in paths[-1]
                else mortal(move)(*paths, **named)
            ),
        )
        with pytest.raises(Killed):
            command("source", "accept-reset", "--yes")
    if dies_at == 1:
        assert contents(warehouse) == old
    else:
        assert before.unfinished(lake)
        with pytest.raises(NothingToDo, match="accept-reset"):
            before.refuse_while_unfinished(lake)
    completed = command("source", "accept-reset", "--yes")
    assert completed.exit_code == 0, completed.output
    assert ("completed now" in completed.output) == (dies_at != 1)
    expect_set_aside(warehouse, lake, old)
    assert pull_at(lake, source, at(22)).counts["tracks"].distinct == 40


def test_two_worlds_can_be_set_aside_in_the_same_second(
    command: Command, warehouse: Warehouse, lake: LakeStore, source: ReferenceSource, old: Contents
) -> None:
    assert old["tracks"]
    for _ in range(2):
        assert command("source", "accept-reset", "--yes").exit_code == 0
        source.restart()
        pull_at(lake, source, at(22))
        load(warehouse, lake, *range(1, 21))
    assert len(old_schemas(warehouse)) == 2
