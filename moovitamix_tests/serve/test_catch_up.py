"""A switch of generations while people listen: nothing is lost, mixed, or put back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
import redis

from moovitamix.recommend.als import AlsParameters, fit_als
from moovitamix.resources import Warehouse
from moovitamix.serve.catch_up import CaughtUp, catch_up
from moovitamix.serve.codec import decode_list, mark_of
from moovitamix.serve.fold import Folding
from moovitamix.serve.generations import Generation, key_of, read_current
from moovitamix.serve.http.freshener import Freshener
from moovitamix.serve.http.world import World as Process
from moovitamix.serve.life import living, switch_to
from moovitamix.serve.publish import publish_generation
from moovitamix_tests.serve.telling import load_plays, tell
from moovitamix_tests.serve.world import AS_OF, NAMESPACE, World, load_catalogue, make_world

N = 45  # all that there is: a list is then the same until something is heard
NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
LISTENER = 3


@pytest.fixture(scope="module")
def other() -> World:
    """The world under a version whose factors are others."""
    world = make_world()
    model = fit_als(world.matrix, AlsParameters(factors=16, iterations=5))
    return replace(world, champion=replace(world.champion, version=4, model=model))


@pytest.fixture
def loaded(warehouse: Warehouse, world: World) -> Warehouse:
    load_catalogue(warehouse, world.catalogue)
    load_plays(warehouse, world)
    return warehouse


class Interrupted(redis.Redis):
    """A client before whose n-th round trip something else happens."""

    left = -1
    happens: Callable[[], None]

    def execute_command(self, *args: Any, **options: Any) -> Any:
        self._count()
        return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]  # theirs

    def pipeline(self, *args: Any, **options: Any) -> Any:
        self._count()
        return super().pipeline(*args, **options)

    def _count(self) -> None:
        self.left -= 1
        if self.left == -1:
            self.happens()


@contextmanager
def interrupted(url: str, at: int, happens: Callable[[], None]) -> Iterator[Interrupted]:
    with Interrupted.from_url(url) as client:
        client.left, client.happens = at, happens
        yield client


def folding_of(world: World) -> Folding:
    return Folding.prepare(world.champion, world.matrix, world.catalogue, None)


def publish(client: redis.Redis, warehouse: Warehouse, world: World) -> Generation:
    """As the asset does it."""
    folding = folding_of(world)

    def replay(generation: Generation) -> None:
        catch_up(warehouse.connect, client, NAMESPACE, generation, folding, lambda: NOW)

    return publish_generation(
        client,
        NAMESPACE,
        champion=world.champion,
        matrix=world.matrix,
        catalogue=world.catalogue,
        tell=lambda _: None,
        list_length=N,
        replay=replay,
    ).generation


def fold(warehouse: Warehouse, world: World, connect: Callable[[], redis.Redis]) -> None:
    """As the API does it, which holds a version's factors and was told of a listen."""
    process = Process()
    process.folding = folding_of(world)
    freshener = Freshener(process, warehouse=warehouse, connect=connect, prefix=NAMESPACE)
    freshener.told([LISTENER])
    freshener.work()


def list_of(client: redis.Redis, generation: Generation, user: int = LISTENER) -> set[int]:
    value = client.get(key_of(NAMESPACE, generation.name, "u", user))
    assert isinstance(value, bytes)
    return set(decode_list(value).ids.tolist())


def lists_of_a_publication(
    client: redis.Redis, warehouse: Warehouse, world: World
) -> dict[int, list[int]]:
    """What is served for everybody after a publication that nobody disturbs."""
    generation = publish(client, warehouse, world)
    return {user: sorted(list_of(client, generation, user)) for user in range(1, 61)}


def heard_next(world: World) -> int:
    """A track that both versions would recommend to the listener."""
    return int(np.setdiff1d(world.champion.model.tracks, [*world.heard_by(LISTENER), 101])[0])


@pytest.mark.parametrize("at", range(0, 24, 2))
def test_what_is_heard_at_any_moment_of_a_publication_is_known_to_its_lists(
    loaded: Warehouse, world: World, other: World, valkey: redis.Redis, valkey_url: str, at: int
) -> None:
    first = publish(valkey, loaded, world)
    track = heard_next(world)

    def heard() -> None:
        tell(loaded, LISTENER, [track], NOW.replace(tzinfo=None))
        with redis.Redis.from_url(valkey_url) as client:
            fold(loaded, world, lambda: client)  # this process still has the factors of before

    with interrupted(valkey_url, at, heard) as client:
        second = publish(client, loaded, other)
        happened = client.left < 0
    assert happened == (track not in list_of(valkey, second))
    assert read_current(valkey, NAMESPACE) == second
    # Whatever was written to the former one was made by its own factors.
    undisturbed = lists_of_a_publication(valkey, loaded, world)
    for user in (LISTENER, 8):
        if track not in list_of(valkey, first) or user != LISTENER:
            assert sorted(list_of(valkey, first, user)) == undisturbed[user]


@pytest.mark.parametrize("at", range(10))
def test_a_switch_at_any_moment_of_a_fold_in_loses_and_mixes_nothing(
    loaded: Warehouse, world: World, other: World, valkey: redis.Redis, valkey_url: str, at: int
) -> None:
    publish(valkey, loaded, world)
    track = heard_next(world)
    tell(loaded, LISTENER, [track], NOW.replace(tzinfo=None))
    second: list[Generation] = []

    def switch() -> None:
        with redis.Redis.from_url(valkey_url) as client:
            second.append(publish(client, loaded, other))

    with interrupted(valkey_url, at, switch) as client:
        fold(loaded, world, lambda: client)
    if not second:
        switch()
    current = read_current(valkey, NAMESPACE)
    assert current == second[0]
    wanted = lists_of_a_publication(valkey, loaded, other)
    for user in (LISTENER, 8):
        assert sorted(list_of(valkey, second[0], user)) == wanted[user]
    assert track not in wanted[LISTENER]


def test_of_two_fold_ins_the_one_that_knows_more_stays(
    loaded: Warehouse, world: World, valkey: redis.Redis, valkey_url: str
) -> None:
    generation = publish(valkey, loaded, world)
    first, second = sorted(list_of(valkey, generation))[:2]
    tell(loaded, LISTENER, [first], NOW.replace(tzinfo=None))

    def heard() -> None:
        tell(loaded, LISTENER, [second], NOW.replace(hour=10, tzinfo=None))
        with redis.Redis.from_url(valkey_url) as client:
            fold(loaded, world, lambda: client)

    for at in range(8):  # whenever the second comes while the first is under way
        with interrupted(valkey_url, at, heard) as client:
            fold(loaded, world, lambda: client)
        assert {first, second}.isdisjoint(list_of(valkey, generation))


def test_what_nobody_folded_in_is_found_once_and_then_left_alone(
    loaded: Warehouse, world: World, valkey: redis.Redis
) -> None:
    generation = publish(valkey, loaded, world)
    stranger, track = 4_711, heard_next(world)
    tell(loaded, LISTENER, [track], NOW.replace(tzinfo=None))
    tell(loaded, stranger, [track], NOW.replace(tzinfo=None))

    def look() -> CaughtUp:
        return catch_up(
            loaded.connect, valkey, NAMESPACE, generation, folding_of(world), lambda: NOW
        )

    assert look() == CaughtUp(users=2, lists=6)
    assert track not in list_of(valkey, generation) | list_of(valkey, generation, stranger)
    assert look() == CaughtUp(users=0, lists=0)


def test_what_is_loaded_and_in_the_matrix_needs_no_folding_in(
    loaded: Warehouse, world: World, valkey: redis.Redis
) -> None:
    generation = publish(valkey, loaded, world)
    at = datetime.combine(AS_OF, datetime.min.time())
    tell(loaded, LISTENER, [120], at)
    with loaded.connect() as connection:
        connection.execute(
            "INSERT INTO listen_history (user_id, track_id, listened_at, recorded_at, nth) "
            "SELECT user_id, track_id, listened_at, recorded_at, nth FROM activity"
        )
    caught_up = catch_up(
        loaded.connect, valkey, NAMESPACE, generation, folding_of(world), lambda: NOW
    )
    assert caught_up.users == 0


def test_after_a_way_back_the_api_brings_the_old_generation_up_to_date(
    loaded: Warehouse, world: World, other: World, valkey: redis.Redis, valkey_url: str
) -> None:
    first = publish(valkey, loaded, world)
    publish(valkey, loaded, other)
    track = heard_next(world)
    tell(loaded, LISTENER, [track], NOW.replace(tzinfo=None))
    switch_to(valkey, NAMESPACE, next(one for one in living(valkey, NAMESPACE) if one == first))
    process = Process()
    process.folding = folding_of(world)
    freshener = Freshener(
        process,
        warehouse=loaded,
        connect=lambda: redis.Redis.from_url(valkey_url),
        prefix=NAMESPACE,
    )
    freshener.work()  # told of nothing
    assert track not in list_of(valkey, first)


def test_nobody_is_folded_in_by_other_factors_than_those_served(
    loaded: Warehouse, world: World, other: World, valkey: redis.Redis, valkey_url: str
) -> None:
    generation = publish(valkey, loaded, other)
    tell(loaded, LISTENER, [heard_next(world)], NOW.replace(tzinfo=None))
    fold(loaded, world, lambda: redis.Redis.from_url(valkey_url))
    value = valkey.get(key_of(NAMESPACE, generation.name, "u", LISTENER))
    assert isinstance(value, bytes)
    assert mark_of(value) == 0
