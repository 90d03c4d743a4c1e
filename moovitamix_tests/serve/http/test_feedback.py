"""What users do with recommendations is kept before it is acknowledged, and a hide acts at once."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest
import redis

from moovitamix.ingest.erased import ensure_key, hash_account
from moovitamix.resources import Warehouse
from moovitamix.serve.generations import key_of
from moovitamix.serve.hides import hidden_ids
from moovitamix.serve.http import feedback as taking
from moovitamix.serve.http.app import Api
from moovitamix.serve.http.erased_users import ErasedUsers
from moovitamix.serve.http.feedback_events import MAX_EVENTS, read_events
from moovitamix.serve.http.group_commit import GroupCommit
from moovitamix.serve.http.keys import make_key
from moovitamix.serve.recommender import Recommender
from moovitamix.warehouse.feedback import Event, Hidden
from moovitamix.warehouse.people import erase_rows
from moovitamix_tests.serve.http.serving import Published, with_client
from moovitamix_tests.serve.http.test_outages import NOWHERE
from moovitamix_tests.serve.http.test_tiers import get, ids
from moovitamix_tests.serve.world import NAMESPACE, World

NOW = datetime.now(UTC).replace(microsecond=0)


def event(kind: str = "click", track: int = 112, user: int = 5, ago: int = 60) -> dict[str, Any]:
    at = (NOW - timedelta(seconds=ago)).isoformat()
    return {"user_id": user, "track_id": track, "kind": kind, "at": at}


async def post(client: httpx.AsyncClient, body: Any, status: int = 202) -> dict[str, Any]:
    answer = await client.post("/feedback", json=body)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


def rows(warehouse: Warehouse, query: str) -> list[tuple[Any, ...]]:
    with warehouse.connect() as connection:
        return connection.execute(query).fetchall()


def test_what_is_acknowledged_is_kept_with_what_it_is_about(fresh: Published) -> None:
    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        answer = await get(client, "/users/5/recommendations?limit=2")
        about = {name: answer[name] for name in ("model_version", "generation", "tier")}
        shown = [event("impression", track) for track in ids(answer)]
        told = {"events": [*shown, {**event("click"), "tier": "popular"}], "arm": "b", **about}
        assert await post(client, told) == {"accepted": 3}
        assert await post(client, event("skip", ago=30)) == {"accepted": 1}
        found = rows(
            fresh.stores.warehouse,
            "SELECT kind, model_version, generation, tier, arm, day "
            "FROM feedback ORDER BY at, kind",
        )
        of_list = tuple(about.values())
        day = (NOW - timedelta(seconds=60)).date()
        assert found == [
            ("click", *of_list[:2], "popular", "b", day),
            ("impression", *of_list, "b", day),
            ("impression", *of_list, "b", day),
            ("skip", None, None, None, None, (NOW - timedelta(seconds=30)).date()),
        ]

    with_client(fresh.stores, fresh.home, ask)


def test_the_same_click_twice_counts_once_and_another_moment_is_another_click(
    fresh: Published,
) -> None:
    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        for _ in range(2):
            await post(client, event())
            await post(client, {"events": [event(), event(), event(ago=61)]})
        assert rows(fresh.stores.warehouse, "SELECT count(*) FROM feedback") == [(2,)]

    with_client(fresh.stores, fresh.home, ask)


@pytest.mark.parametrize(
    ("wrong", "faults"),
    [
        ({**event(), "kind": "like"}, [(None, "kind")]),
        ({**event(), "user_id": 1 << 63}, [(None, "user_id")]),
        ({**event(), "at": "yesterday-secret"}, [(None, "at")]),
        ({**event(), "at": "2026-11-26T08:00:00"}, [(None, "at")]),
        (event(ago=8 * 86_400), [(None, "at")]),
        (event(ago=-86_400), [(None, "at")]),
        ({**event(), "tier": "no 'quotes'"}, [(None, "tier")]),
        ({**event(), "secret": 1}, [(None, "")]),
        ({"events": []}, [(None, "events")]),
        ({"events": "many"}, [(None, "events")]),
        ({"events": [event()] * (MAX_EVENTS + 1)}, [(None, "events")]),
        ({"events": [event()], "model_version": 0}, [(None, "model_version")]),
        (
            {"events": [event(), {**event(), "track_id": "secret"}, event(), {"kind": "skip"}]},
            [(1, "track_id"), (3, "user_id")],
        ),
        ({"events": [event(), event(ago=-86_400), 7]}, [(2, "")]),
        ({"events": [event(), event(ago=-86_400)]}, [(1, "at")]),
        ([event()], [(None, "")]),
    ],
)
def test_one_wrong_event_and_nothing_is_taken_in(
    published: Published, wrong: Any, faults: list[tuple[int | None, str]]
) -> None:
    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        told = await post(client, wrong, 422)
        assert [(fault["index"], fault["field"]) for fault in told["errors"]] == faults
        assert all(fault["reason"] for fault in told["errors"])
        assert "secret" not in str(told)
        assert "like" not in [word for fault in told["errors"] for word in fault["reason"].split()]
        assert rows(published.stores.warehouse, "SELECT count(*) FROM feedback") == [(0,)]

    with_client(published.stores, published.home, ask)


def test_no_json_is_told_as_such(published: Published) -> None:
    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        for body in (b"", b"{", b"\xff", b'{"events": [}'):
            answer = await client.post("/feedback", content=body)
            assert answer.status_code == 400
            assert answer.headers["content-type"] == "application/problem+json"

    with_client(published.stores, published.home, ask)


def test_a_key_for_reading_may_not_tell(published: Published) -> None:
    secret, key = make_key("app", "read")

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        client.headers["X-API-Key"] = secret
        await post(client, event(), 403)

    with_client(published.stores, published.home, ask, keys=key.entry())


@pytest.mark.parametrize("query", ["", "&repeats=true", "&genre=1&genre=2", "&per_artist=50"])
@pytest.mark.parametrize("user", [5, World.NEWCOMER, 70, 72, 999])
def test_a_hidden_track_is_gone_from_every_tier_at_once(
    fresh: Published, user: int, query: str
) -> None:
    path = f"/users/{user}/recommendations?limit=100{query}"

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        before = ids(await get(client, path))
        best, *rest = before
        last = rest.pop()
        told = {"events": [event("hide", track, user) for track in (best, last)]}
        assert await post(client, told) == {"accepted": 2}
        assert set(ids(await get(client, path))) == set(rest)
        # Also where only the cache tells: in another process, or after a restart.
        api.world.hidden = type(api.world.hidden)()
        assert set(ids(await get(client, path))) == set(rest)
        # And where only Postgres does.
        api.refresher.from_postgres()
        api.reader.breaker.state = "open"
        assert not {best, last} & set(ids(await get(client, path)))

    with_client(fresh.stores, fresh.home, ask)


def test_a_hide_is_in_every_generation_that_can_be_served_again(
    fresh: Published, valkey: redis.Redis
) -> None:
    names = [fresh.publish(valkey), fresh.publish(valkey)]
    track = Recommender(valkey, NAMESPACE).recommend(5).items[0].track_id

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        await post(client, event("hide", track))
        for name in names:
            value = valkey.get(key_of(NAMESPACE, name, "x", 5))
            assert isinstance(value, bytes)
            assert hidden_ids(value) == {track}

    with_client(fresh.stores, fresh.home, ask)
    assert track not in [
        item.track_id for item in Recommender(valkey, NAMESPACE).recommend(5).items
    ]


def test_who_takes_a_hide_back_may_hear_it_again_whatever_is_repeated(fresh: Published) -> None:
    hide, unhide = event("hide", 112, 72, 60), event("unhide", 112, 72, 30)
    again = event("hide", 112, 72, 10)

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        for told, hidden in (
            ([hide], {112}),
            ([unhide], set()),
            ([hide], set()),
            ([unhide, hide], set()),
            ([again], {112}),
            ([unhide], {112}),
        ):
            await post(client, {"events": told})
            kept = rows(fresh.stores.warehouse, "SELECT track_id FROM hides WHERE user_id = 72")
            assert {track for (track,) in kept} == hidden == api.world.hidden.of(72)

    with_client(fresh.stores, fresh.home, ask)


def test_only_what_teaches_something_of_a_user_makes_their_lists_old(fresh: Published) -> None:
    marks = "SELECT user_id, mark FROM activity_marks ORDER BY user_id"

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        await post(client, {"events": [event("impression"), event("click")]})
        assert rows(fresh.stores.warehouse, marks) == []
        await post(client, {"events": [event("skip", user=7), event("hide", user=5)]})
        before = rows(fresh.stores.warehouse, marks)
        await post(client, event("unhide", user=5, ago=30))
        after = rows(fresh.stores.warehouse, marks)
        assert [user for user, _ in before] == [user for user, _ in after] == [5, 7]
        assert after[0][1] > max(mark for _, mark in before)
        assert after[1] == before[1]

    with_client(fresh.stores, fresh.home, ask)


def test_with_redis_down_a_hide_is_kept_and_acts_here_and_goes_to_the_lists_later(
    fresh: Published, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taking, "TRY_AGAIN_AFTER", 0.01)
    path = "/users/5/recommendations?limit=10"

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        track = ids(await get(client, path))[0]
        feedback = api.feedback
        connect = feedback._connect
        feedback._connect = lambda: redis.Redis.from_url(NOWHERE)
        assert feedback._client is None
        assert await post(client, event("hide", track)) == {"accepted": 1, "degraded": ["redis"]}
        assert rows(fresh.stores.warehouse, "SELECT track_id FROM hides") == [(track,)]
        assert track not in ids(await get(client, path))
        assert track in [i.track_id for i in Recommender(valkey, NAMESPACE).recommend(5).items]
        feedback._connect = connect
        assert feedback._paying is not None
        await feedback._paying
        assert track not in [i.track_id for i in Recommender(valkey, NAMESPACE).recommend(5).items]

    with_client(fresh.stores, fresh.home, ask)


def test_with_postgres_down_nothing_is_acknowledged(
    published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        async def refused(*_: object, **__: object) -> None:
            raise psycopg.OperationalError("connection refused")

        monkeypatch.setattr(psycopg.AsyncConnection, "connect", refused)
        answer = await client.post("/feedback", json=event("hide"))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert not api.world.hidden.of(5)
        monkeypatch.undo()
        assert rows(published.stores.warehouse, "SELECT count(*) FROM hides") == [(0,)]

    with_client(published.stores, published.home, ask)


def test_requests_that_come_together_are_committed_together(fresh: Published) -> None:
    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        await asyncio.gather(*(post(client, event(track=track)) for track in range(200)))
        assert rows(fresh.stores.warehouse, "SELECT count(*) FROM feedback") == [(200,)]
        assert api.feedback.commits.transactions < 100

    with_client(fresh.stores, fresh.home, ask)


def test_processes_that_take_the_same_events_in_at_once_never_wait_in_a_circle(
    fresh: Published,
) -> None:
    """As when an app sends again what it has had no answer to, to whoever answers."""
    kinds = ("hide", "unhide", "skip", "click")
    rounds, users, tracks = 15, range(1, 9), range(20)

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del client, api
        processes: list[tuple[GroupCommit[Sequence[Event], Hidden], random.Random]] = [
            (
                GroupCommit(
                    fresh.stores.warehouse, taking.FeedbackWriter(ErasedUsers(bytes)).write
                ),
                random.Random(n),
            )
            for n in range(4)
        ]
        for ago in range(rounds):
            sent = [event(kind, t, u, ago) for u in users for t in tracks for kind in kinds]
            taken = read_events(json.dumps({"events": sent}).encode(), datetime.now(UTC))
            await asyncio.gather(
                *(
                    process.commit(chance.sample(taken, len(taken)), len(taken))
                    for process, chance in processes
                )
            )
        for process, _ in processes:
            await process.close()

    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    before = rows(fresh.stores.warehouse, deadlocks)
    with_client(fresh.stores, fresh.home, ask)
    assert rows(fresh.stores.warehouse, deadlocks) == before
    pairs = len(users) * len(tracks)
    kept = rows(fresh.stores.warehouse, "SELECT count(*) FROM feedback")
    assert kept == [(pairs * len(kinds) * rounds,)]
    # A hide and what takes it back at one moment: the hide counts.
    assert rows(fresh.stores.warehouse, "SELECT count(*) FROM hides") == [(pairs,)]


def test_a_lost_connection_is_opened_again_and_nobody_notices(fresh: Published) -> None:
    warehouse = fresh.stores.warehouse

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        await post(client, event())
        connection = api.feedback.commits._connection
        assert connection is not None
        rows(warehouse, f"SELECT pg_terminate_backend({connection.info.backend_pid})")
        await post(client, event(ago=61))
        assert rows(warehouse, "SELECT count(*) FROM feedback") == [(2,)]

    with_client(fresh.stores, fresh.home, ask)


def test_a_hide_of_somebody_erased_meanwhile_leaves_no_key(
    valkey: redis.Redis, fresh: Published
) -> None:
    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del client
        # As it is when rows are deleted between the commit and the writing of keys.
        assert await api.feedback._hide_in_cache({999: {112}})

    with_client(fresh.stores, fresh.home, ask)
    assert list(valkey.scan_iter(f"{NAMESPACE}:*:x:*")) == []


def test_a_hide_finds_redis_again_that_has_closed_the_connection(
    fresh: Published, valkey: redis.Redis
) -> None:
    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        for track in (110, 111):
            assert await post(client, event("hide", track)) == {"accepted": 1}
            valkey.client_kill_filter(_type="normal", skipme=True)

    with_client(fresh.stores, fresh.home, ask)
    name = Recommender(valkey, NAMESPACE).recommend(5).generation
    value = valkey.get(key_of(NAMESPACE, name, "x", 5))
    assert isinstance(value, bytes)
    assert hidden_ids(value) == {110, 111}


def test_what_an_erased_user_is_said_to_have_done_is_not_kept(fresh: Published) -> None:
    key = ensure_key(fresh.stores.lake.open())
    warehouse = fresh.stores.warehouse
    with warehouse.connect() as connection:
        connection.execute("DELETE FROM user_favorite_genres WHERE user_id = 1")
        connection.execute("DELETE FROM users WHERE id = 1")
        connection.cursor().executemany(
            "INSERT INTO erasures (hash, kind) VALUES (%s, 'account')",
            [(hash_account(key, user),) for user in (1, 2)],  # the id of 2 is somebody else's now
        )

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        events = [event("hide", 110, user) for user in (1, 2, 3)]
        await post(client, {"events": events})

    with_client(fresh.stores, fresh.home, ask)
    for table in ("feedback", "hides", "activity_marks"):
        assert rows(warehouse, f"SELECT user_id FROM {table} ORDER BY 1") == [  # noqa: S608 - ours
            (2,),
            (3,),
        ]


def test_a_hide_that_comes_while_its_user_is_erased_does_not_survive(fresh: Published) -> None:
    key = ensure_key(fresh.stores.lake.open())
    warehouse = fresh.stores.warehouse

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        with warehouse.connect() as connection:
            connection.execute(
                "INSERT INTO erasures (hash, kind) VALUES (%s, 'account')", (hash_account(key, 1),)
            )
            connection.execute("DELETE FROM user_favorite_genres WHERE user_id = 1")
            connection.commit()
            erase_rows(connection, [1])  # waits for nobody, and holds its locks
            late = asyncio.create_task(post(client, event("hide", 110, 1)))
            await asyncio.sleep(0.2)
            assert not late.done()
            connection.commit()
            await late

    with_client(fresh.stores, fresh.home, ask)
    assert rows(warehouse, "SELECT count(*) FROM hides") == [(0,)]
