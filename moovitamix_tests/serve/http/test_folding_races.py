"""What is folded in holds nothing that was hidden, blocked, erased or heard meanwhile."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import redis

from moovitamix.recommend.arms import arm_of
from moovitamix.serve import catch_up
from moovitamix.serve.codec import decode_list
from moovitamix.serve.generations import Generation, Kind, key_of, read_current
from moovitamix.serve.http.app import Api
from moovitamix.serve.replacing import NewList, replace_lists
from moovitamix.serve.whole import publish_version
from moovitamix.warehouse.blocklist import block
from moovitamix_tests.serve.http.serving import Published, refreshed, with_client
from moovitamix_tests.serve.http.test_listens import EARLIER, listen, post
from moovitamix_tests.serve.tried import SALT, Versions, start
from moovitamix_tests.serve.world import NAMESPACE

HER = 1
HIGHEST = (1 << 63) - 1


def current(valkey: redis.Redis) -> Generation:
    found = read_current(valkey, NAMESPACE)
    assert found is not None
    return found


def listed(valkey: redis.Redis, user: int = HER, kind: Kind = "u") -> list[int]:
    value = valkey.get(key_of(NAMESPACE, current(valkey).name, kind, user))
    assert isinstance(value, bytes)
    return [int(track) for track in decode_list(value).ids]


async def hide(client: httpx.AsyncClient, track: int, user: int = HER) -> None:
    told = {"user_id": user, "track_id": track, "kind": "hide", "at": datetime.now(UTC).isoformat()}
    answer = await client.post("/feedback", json=told)
    assert (answer.status_code, answer.json()) == (202, {"accepted": 1})


async def fold(api: Api) -> None:
    await asyncio.to_thread(api.freshener.work)


def test_a_fold_in_that_ends_after_a_hide_does_not_put_the_track_back(
    fresh: Published, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        await post(client, listen(HER, 110))
        loop, replace = asyncio.get_running_loop(), replace_lists
        hidden: list[int] = []

        def late(*given: object) -> object:
            """Lists are made; before they are written, the first of them is hidden."""
            if not hidden:
                hidden.append(listed(valkey)[0])
                asyncio.run_coroutine_threadsafe(hide(client, hidden[0]), loop).result(10)
            return replace(*given)  # type: ignore[arg-type]  # passed on as they are

        monkeypatch.setattr(catch_up, "replace_lists", late)
        await fold(api)
        assert hidden
        assert hidden[0] not in listed(valkey)
        assert len(listed(valkey)) > 10

    with_client(fresh.stores, fresh.home, ask)


def test_a_look_finds_whose_hide_did_not_reach_the_list(
    fresh: Published, valkey: redis.Redis
) -> None:
    with fresh.stores.warehouse.connect() as connection:
        connection.execute(
            "INSERT INTO listen_history (user_id, track_id, listened_at, recorded_at, nth) "
            "VALUES (%s, 100, '2026-11-20', '2026-11-20', 1)",
            (HER,),
        )

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        await fold(api)
        before = valkey.get(key_of(NAMESPACE, current(valkey).name, "u", HER))
        assert isinstance(before, bytes)
        track = listed(valkey)[0]
        await hide(client, track)
        # As if whoever was to fold her in was killed, and an older list written.
        api.freshener._told.clear()
        replace_lists(valkey, NAMESPACE, current(valkey), [NewList("u", HER, before, 0)])
        assert track in listed(valkey)
        api.freshener.look()
        await fold(api)
        assert track not in listed(valkey)

    with_client(fresh.stores, fresh.home, ask)


def test_a_blocked_track_does_not_come_back_with_the_next_listen(
    fresh: Published, valkey: redis.Redis
) -> None:
    warehouse, world = fresh.stores.warehouse, fresh.world

    def publish() -> None:
        with warehouse.hold_erasures():
            publish_version(
                warehouse, valkey, NAMESPACE, world.champion, world.matrix, lambda _: None
            )

    publish()

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        track = listed(valkey)[0]
        with warehouse.connect() as connection:
            block(connection, track=track)
        await asyncio.to_thread(publish)
        assert track not in listed(valkey)
        await asyncio.to_thread(refreshed, api)
        await post(client, listen(HER, 110))
        await fold(api)
        assert 110 not in listed(valkey)
        assert track not in listed(valkey)

    with_client(fresh.stores, fresh.home, ask)


def test_what_was_heard_is_left_out_also_between_its_load_and_the_next_publication(
    fresh: Published, valkey: redis.Redis
) -> None:
    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        first, second = listed(valkey)[:2]
        await post(client, listen(HER, first))
        await fold(api)
        with fresh.stores.warehouse.connect() as connection:
            connection.execute(
                "INSERT INTO listen_history (user_id, track_id, listened_at, recorded_at, nth) "
                "SELECT user_id, track_id, listened_at, recorded_at, nth FROM activity"
            )
        await post(client, listen(HER, second, at=EARLIER + timedelta(minutes=1)))
        await fold(api)
        assert {first, second} <= set(listed(valkey, kind="h"))
        answer = await client.get(f"/users/{HER}/recommendations?per_artist=100&limit=100")
        assert {first, second}.isdisjoint(item["track_id"] for item in answer.json()["items"])

    with_client(fresh.stores, fresh.home, ask)


def test_the_highest_id_does_not_show_others_what_they_hid(
    fresh: Published, valkey: redis.Redis
) -> None:
    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        track = listed(valkey)[0]
        await hide(client, track)
        assert (await post(client, [listen(HER, 111), listen(HIGHEST, 110)])).status_code == 202
        await fold(api)
        assert track not in listed(valkey)
        assert listed(valkey, HIGHEST)

    with_client(fresh.stores, fresh.home, ask)


@pytest.mark.parametrize("which", ["alike", "other"])
def test_an_erased_user_of_the_challengers_arm_is_a_stranger_to_its_factors_too(
    fresh: Published, rivals: Versions, valkey: redis.Redis, which: str
) -> None:
    start(fresh.stores.warehouse, fresh.stores.lake, valkey, getattr(rivals, which))
    user = next(user for user in range(1, 60) if arm_of(user, SALT, 0.5) == "challenger")

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        question = f"/users/{user}/recommendations?per_artist=1&explain=true"
        assert any("because" in item for item in (await client.get(question)).json()["items"])
        assert (await client.delete(f"/users/{user}")).status_code == 200
        for _ in range(3):
            api.refresher._names_at = None
            await asyncio.to_thread(refreshed, api)
        assert not api.world.erased_users, "all that memory holds was read anew"
        live = api.world.live_challenger
        assert live is None or len(live[1].heard(user)) == 0
        assert not any("because" in item for item in (await client.get(question)).json()["items"])

    with_client(fresh.stores, fresh.home, ask)
