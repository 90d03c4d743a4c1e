"""The model is rolled back from the console: once, and what was seen is what is undone."""

from __future__ import annotations

import asyncio
import re

import httpx
import pytest
import redis

from moovitamix.recommend import registry
from moovitamix.recommend import succession as successions
from moovitamix.serve.arms import read_experiment
from moovitamix.serve.generations import read_current
from moovitamix.serve.http.app import Api
from moovitamix.serve.http.console import deciding
from moovitamix.serve.http.keys import make_key
from moovitamix_tests.serve.http.console.conftest import Succession
from moovitamix_tests.serve.http.console.reading import HERE, said
from moovitamix_tests.serve.http.serving import with_client
from moovitamix_tests.serve.tried import Versions, start
from moovitamix_tests.serve.world import NAMESPACE

AT_HOME = {"Origin": HERE}


def test_a_rollback_changes_champion_and_lists_and_sent_twice_it_is_done_once(
    succession: Succession, rivals: Versions, valkey: redis.Redis
) -> None:
    secret, key = make_key("ops", "admin")
    stores = succession.world.stores
    warehouse = stores.warehouse
    _, challenger = start(warehouse, stores.lake, valkey, rivals.other)
    experiment = read_experiment(valkey, NAMESPACE)
    assert experiment is not None

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        client.base_url = httpx.URL(HERE)
        await client.post("/console/sign-in", data={"key": secret}, headers=AT_HOME)
        arms = said(await client.get("/"))
        assert f"{succession.latter} champion" in arms
        assert f"{challenger.name} challenger" in arms
        user = said(await client.get("/console/users?id=5"))
        assert f"Experiment {experiment.id} arm {experiment.arm(5)}" in user
        page = await client.get("/console/rollback")
        told = said(page)
        assert f"Now: version {succession.second} After: version {succession.first}" in told
        assert f"still in Redis ({succession.former})" in told
        seen = re.search(r'name="seen" value="(\d+)"', page.text)
        assert seen is not None
        form = {"seen": seen[1], "reason": "Odd <lists>."}
        nothing = await client.post("/console/rollback", data={"seen": "x"}, headers=AT_HOME)
        assert "without the version" in said(nothing, 422)
        done = await client.post("/console/rollback", data=form, headers=AT_HOME)
        assert done.status_code == 303
        after = said(await client.get(done.headers["location"]))
        assert f"Version {succession.first} is the champion again" in after
        assert f"Its lists are served: {succession.former}" in after
        again = await client.post("/console/rollback", data=form, headers=AT_HOME)
        assert f"Version {succession.second} is not the champion any more" in said(again, 409)
        first = said(await client.get("/"))
        assert "Pinned since" in first
        assert f"Rolled back to version {succession.first} from {succession.second}" in first
        assert "by console, key ops: Odd <lists>." in first
        assert f"{succession.former} everybody" in first
        assert f"{challenger.name} nobody" in first
        sent = (await client.get("/users/5/recommendations", headers={"X-API-Key": secret})).json()
        assert sent["generation"] == succession.former
        del api

    with_client(succession.world.stores, succession.world.home, ask, keys=key.entry())
    with warehouse.connect() as connection:
        champion = registry.champion(connection)
        entries = successions.decisions(connection)
    assert champion is not None
    assert champion.version == succession.first
    assert [one.action for one in entries].count("rollback") == 1
    assert read_experiment(valkey, NAMESPACE) is None
    current = read_current(valkey, NAMESPACE)
    assert current is not None
    assert current.name == succession.former


def test_the_page_says_when_nothing_can_be_undone_or_it_takes_its_time(
    succession: Succession, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = succession.world.stores
    with stores.warehouse.connect() as connection:
        before = registry.find(connection, succession.first)
    lake = stores.lake.open()
    damaged = next(name for name in lake.names(before.artifact) if name.endswith(".npz"))
    content = lake.read_bytes(damaged)

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        client.base_url = httpx.URL(HERE)
        form = {"seen": str(succession.second)}
        lake.write_bytes(damaged, content[:-100])
        monkeypatch.setattr(deciding, "WITHIN", 30.0)
        refused = await client.post("/console/rollback", data=form, headers=AT_HOME)
        monkeypatch.setattr(deciding, "WITHIN", 0.1)
        assert "damaged" in said(refused, 409)
        lake.write_bytes(damaged, content)
        with stores.warehouse.connect() as connection:
            champion = registry.champion(connection)
            assert champion is not None
            assert champion.version == succession.second
        with stores.warehouse.connect() as connection:
            registry.lock(connection)  # somebody else decides just now
            late = await client.post("/console/rollback", data=form, headers=AT_HOME)
            assert "The rollback goes on" in said(late, 202)
        for _ in range(400):
            if "Pinned since" in said(await client.get("/")):
                break
            await asyncio.sleep(0.05)
        else:
            raise AssertionError("It did not go on.")
        monkeypatch.setattr(deciding, "WITHIN", 30.0)
        none = said(await client.get("/console/rollback"))
        assert "no champion before the present one" in none
        form = {"seen": str(succession.first)}
        more = await client.post("/console/rollback", data=form, headers=AT_HOME)
        assert "no champion before the present one" in said(more, 409)
        assert "by console" in said(await client.get("/"))

    with_client(stores, succession.world.home, ask)
