"""What the process that folds in holds is what is served, whatever changes that."""

from __future__ import annotations

import asyncio
from functools import partial

import httpx
import numpy as np
import pytest
import redis

from moovitamix.serve.arms import served_generations, withdraw_experiment
from moovitamix.serve.codec import decode_list
from moovitamix.serve.fold import Folding
from moovitamix.serve.generations import key_of
from moovitamix.serve.http.app import Api
from moovitamix.serve.http.clients import client as connected
from moovitamix.serve.http.fold_loading import FoldLoading
from moovitamix.serve.http.freshener import Freshener
from moovitamix.serve.http.world import World
from moovitamix.warehouse.blocklist import block
from moovitamix_tests.serve.http.serving import Published, with_client
from moovitamix_tests.serve.http.test_listens import listen, post
from moovitamix_tests.serve.tried import Versions, start
from moovitamix_tests.serve.world import NAMESPACE

HER = 1
UNTIL_REMOVALS = 10


class Process:
    """What the process that folds in consists of, without its threads."""

    def __init__(self, published: Published) -> None:
        stores = published.stores
        self.world = World()
        self.changes = 0
        connect = partial(connected, stores.cache.address(), cluster=False)
        self.loading = FoldLoading(
            self.world,
            warehouse=stores.warehouse,
            lake=stores.lake.open(),
            connect=connect,
            prefix=NAMESPACE,
            on_factors=self._changed,
        )
        self.freshener = Freshener(
            self.world, warehouse=stores.warehouse, connect=connect, prefix=NAMESPACE
        )

    def _changed(self) -> None:
        self.changes += 1

    def look(self, times: int = 1) -> Folding | None:
        """Looks; what is folded in by then."""
        for _ in range(times):
            self.loading.look()
        return self.world.folding


@pytest.mark.parametrize("which", ["alike", "other"])
def test_the_lists_of_both_arms_are_made_anew_until_the_experiment_is_over(
    fresh: Published, rivals: Versions, valkey: redis.Redis, which: str
) -> None:
    start(fresh.stores.warehouse, fresh.stores.lake, valkey, getattr(rivals, which))
    process = Process(fresh)
    process.look()
    assert process.changes == 1

    async def ask(client: httpx.AsyncClient, _: Api) -> None:
        served = served_generations(valkey, NAMESPACE)
        assert set(served) == {"champion", "challenger"}
        keys = [key_of(NAMESPACE, one.name, "u", HER) for one in served.values()]
        firsts = [int(decode_list(valkey.get(key)).ids[0]) for key in keys]  # type: ignore[arg-type]  # bytes
        assert (await post(client, listen(HER, *set(firsts)))).status_code == 202
        process.freshener.told([HER])
        await asyncio.to_thread(process.freshener.work)
        for key in keys:
            after = decode_list(valkey.get(key)).ids  # type: ignore[arg-type]  # bytes
            assert len(after)
            assert not np.isin(after, firsts).any()

    with_client(fresh.stores, fresh.home, ask)
    withdraw_experiment(valkey, NAMESPACE)
    assert process.look() is not None
    assert process.world.folding_challenger is None


def test_it_is_made_anew_for_another_generation_and_for_what_is_blocked_alone(
    fresh: Published, valkey: redis.Redis
) -> None:
    process = Process(fresh)
    process.look(3)
    assert process.changes == 1
    fresh.publish(valkey)
    before = process.look(2)
    assert process.changes == 2
    with fresh.stores.warehouse.connect() as connection:
        block(connection, track=110)
    after = process.look(UNTIL_REMOVALS)
    assert before is not None
    assert after is not None
    assert 110 in after.catalogue.withdrawn
    assert after.champion is before.champion, "factors are not loaded again for that"
    process.look(UNTIL_REMOVALS)
    assert process.changes == 3


def test_it_holds_no_factors_of_users_and_lets_go_of_who_was_erased(fresh: Published) -> None:
    process = Process(fresh)
    before = process.look()
    assert before is not None
    assert len(before.champion.model.user_factors) == 0
    assert HER in before.matrix.users

    async def ask(client: httpx.AsyncClient, _: Api) -> None:
        assert (await client.delete(f"/users/{HER}")).status_code == 200

    with_client(fresh.stores, fresh.home, ask)
    after = process.look(UNTIL_REMOVALS)
    assert after is not None
    assert HER not in after.matrix.users


def test_without_a_generation_it_waits_and_keeps_what_it_has(
    fresh: Published, valkey: redis.Redis
) -> None:
    valkey.flushall()
    process = Process(fresh)
    assert process.look() is None
    fresh.publish(valkey)
    found = process.look()
    assert found is not None
    valkey.flushall()
    assert process.look(UNTIL_REMOVALS) is found
