"""`POST /listens`: what is acknowledged is on disk, counts once, and changes the next answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest

from moovitamix.ingest import decode
from moovitamix.ingest.erased import ensure_key, hash_account
from moovitamix.reset import set_aside
from moovitamix.resources import Warehouse
from moovitamix.serve.http.app import Api
from moovitamix.serve.http.listens import read_listens
from moovitamix.serve.http.problems import ProblemError
from moovitamix_tests.serve.http.serving import Published, with_client

NOW = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
EARLIER = NOW - timedelta(hours=1)


def listen(
    user: int, *tracks: int, at: datetime = EARLIER, updated: datetime | None = None
) -> dict[str, Any]:
    """A record as the source has it."""
    return {
        "user_id": user,
        "items": list(tracks),
        "created_at": at.isoformat(),
        "updated_at": (updated or at).isoformat(),
    }


async def post(client: httpx.AsyncClient, records: object) -> httpx.Response:
    return await client.post("/listens", json=records)


async def listed(client: httpx.AsyncClient, user: int, query: str = "") -> list[int]:
    answer = await client.get(f"/users/{user}/recommendations?limit=20{query}")
    assert answer.status_code == 200
    return [item["track_id"] for item in answer.json()["items"]]


def rows(warehouse: Warehouse) -> Sequence[tuple[Any, ...]]:
    with warehouse.connect() as connection:
        return connection.execute(
            "SELECT user_id, track_id, nth, listened_at FROM activity ORDER BY 1, recorded_at, 2, 3"
        ).fetchall()


def test_a_listen_is_on_disk_when_it_is_acknowledged_and_counts_once(fresh: Published) -> None:
    async def ask(client: httpx.AsyncClient, _: Api) -> None:
        record = listen(1, 110, 111, 110)
        first = await post(client, record)
        assert (first.status_code, first.json()) == (202, {"taken": 3, "known": 0})
        again = await post(client, [record, record])
        assert (again.status_code, again.json()) == (202, {"taken": 0, "known": 3})
        grown = listen(1, 110, 111, 110, 112, updated=EARLIER + timedelta(minutes=5))
        assert (await post(client, grown)).json() == {"taken": 1, "known": 3}

    with_client(fresh.stores, fresh.home, ask)
    assert rows(fresh.stores.warehouse) == [
        (1, 110, 1, EARLIER),
        (1, 110, 2, EARLIER),
        (1, 111, 1, EARLIER),
        (1, 112, 1, EARLIER + timedelta(minutes=5)),
    ]


def test_what_was_pulled_before_is_known(fresh: Published) -> None:
    with fresh.stores.warehouse.connect() as connection:
        connection.execute(
            "INSERT INTO listen_history (user_id, track_id, listened_at, recorded_at, nth) "
            "VALUES (1, 110, %(at)s, %(at)s, 1)",
            {"at": EARLIER},
        )

    async def ask(client: httpx.AsyncClient, _: Api) -> None:
        assert (await post(client, listen(1, 110))).json() == {"taken": 0, "known": 1}

    with_client(fresh.stores, fresh.home, ask)


def test_what_was_just_heard_is_gone_from_the_next_answer(fresh: Published) -> None:
    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        first, *_ = before = await listed(client, 1)
        await post(client, listen(1, first))
        await asyncio.to_thread(api.freshener.work)
        after = await listed(client, 1)
        assert first not in after
        assert len(after) == len(before)
        assert first in await listed(client, 1, "&repeats=true")

    with_client(fresh.stores, fresh.home, ask)


def test_who_has_just_signed_up_gets_a_list_after_the_first_listen(fresh: Published) -> None:
    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        stranger = 987_654_321_000
        assert (await client.get(f"/users/{stranger}/recommendations")).json()["tier"] == "popular"
        assert (await post(client, listen(stranger, 101, 102))).json()["taken"] == 2
        await asyncio.to_thread(api.freshener.work)
        answer = (await client.get(f"/users/{stranger}/recommendations")).json()
        assert answer["tier"] == "cached top-N"
        assert {101, 102}.isdisjoint(item["track_id"] for item in answer["items"])

    with_client(fresh.stores, fresh.home, ask)


def test_a_user_or_track_that_nobody_knows_yet_is_kept(fresh: Published) -> None:
    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        assert (await post(client, listen(5_000, 77_000))).json()["taken"] == 1
        await asyncio.to_thread(api.freshener.work)
        assert (await client.get("/users/5000/recommendations")).json()["items"]

    with_client(fresh.stores, fresh.home, ask)
    assert rows(fresh.stores.warehouse) == [(5_000, 77_000, 1, EARLIER)]


@pytest.mark.parametrize(
    ("records", "place"),
    [
        ([listen(1, 110), {**listen(2, 111), "user_id": None}], "[1].user_id"),
        ([listen(1, 110), {**listen(2, 111), "created_at": "yesterday"}], "[1].created_at"),
        ([listen(1, 110, at=NOW + timedelta(days=3))], "[0].created_at"),
        ([listen(1, 110, at=datetime(1066, 10, 14))], "[0].created_at"),  # noqa: DTZ001 - sent so
        ([listen(1, 1 << 70)], "[0].items"),
        ([{"user_id": 1}], "[0].items"),
        ([7], "[0]"),
    ],
)
def test_one_record_that_breaks_the_contract_has_all_refused_and_told_why(
    fresh: Published, records: list[object], place: str
) -> None:
    async def ask(client: httpx.AsyncClient, _: Api) -> None:
        answer = await post(client, records)
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        assert [fault["parameter"] for fault in answer.json()["errors"]] == [place]

    with_client(fresh.stores, fresh.home, ask)
    assert rows(fresh.stores.warehouse) == []


@pytest.mark.parametrize("body", [b"", b"{", b"7", b'"a"', b"[" * 5_000, b"\xff"])
def test_what_is_no_record_at_all_is_refused(fresh: Published, body: bytes) -> None:
    async def ask(client: httpx.AsyncClient, _: Api) -> None:
        assert (await client.post("/listens", content=body)).status_code == 422

    with_client(fresh.stores, fresh.home, ask)


def test_requests_that_come_together_share_a_transaction(fresh: Published) -> None:
    async def ask(client: httpx.AsyncClient, _: Api) -> None:
        answers = await asyncio.gather(
            *(post(client, listen(user, 110, 111)) for user in range(1, 61))
        )
        assert {answer.status_code for answer in answers} == {202}

    with_client(fresh.stores, fresh.home, ask)
    with fresh.stores.warehouse.connect() as connection:
        row = connection.execute(
            "SELECT count(*), count(DISTINCT xmin::text), count(DISTINCT user_id) FROM activity"
        ).fetchone()
    assert row is not None
    plays, transactions, users = row
    assert (plays, users) == (120, 60)
    assert transactions < 10


def test_without_postgres_nothing_is_acknowledged_and_it_works_again_afterwards(
    fresh: Published,
) -> None:
    warehouse = fresh.stores.warehouse

    async def ask(client: httpx.AsyncClient, _: Api) -> None:
        assert (await post(client, listen(1, 110))).status_code == 202
        with psycopg.connect(warehouse.address(), autocommit=True) as connection:
            # Ended under the feet of whoever is connected, as by a restart.
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND query LIKE '%%INTO activity%%'"
            )
        assert (await post(client, listen(1, 111))).status_code == 202

    with_client(fresh.stores, fresh.home, ask)
    assert [row[1] for row in rows(warehouse)] == [110, 111]


def test_when_postgres_does_not_answer_the_app_is_told_to_send_it_again(
    fresh: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask(client: httpx.AsyncClient, _: Api) -> None:
        async def refused(*_: object, **__: object) -> None:
            raise psycopg.OperationalError("connection refused")

        with monkeypatch.context() as patched:
            patched.setattr(psycopg.AsyncConnection, "connect", refused)
            answer = await post(client, listen(1, 110))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert (await post(client, listen(1, 110))).json() == {"taken": 1, "known": 0}

    with_client(fresh.stores, fresh.home, ask)


def test_what_an_erased_user_is_said_to_have_heard_is_not_kept(fresh: Published) -> None:
    key = ensure_key(fresh.stores.lake.open())
    with fresh.stores.warehouse.connect() as connection:
        connection.execute("DELETE FROM user_favorite_genres WHERE user_id IN (1, 2)")
        connection.execute("DELETE FROM users WHERE id = 1")
        connection.cursor().executemany(
            "INSERT INTO erasures (hash, kind) VALUES (%s, 'account')",
            [(hash_account(key, user),) for user in (1, 2)],  # the id of 2 is somebody else's now
        )

    async def ask(client: httpx.AsyncClient, _: Api) -> None:
        answer = await post(client, [listen(1, 110), listen(2, 110), listen(3, 110)])
        assert answer.json() == {"taken": 2, "known": 1}

    with_client(fresh.stores, fresh.home, ask)
    assert [row[0] for row in rows(fresh.stores.warehouse)] == [2, 3]


def test_who_was_told_of_before_there_are_factors_is_found_when_they_are_loaded(
    fresh: Published,
) -> None:
    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        folding, api.world.folding = api.world.folding, None
        first, *_ = await listed(client, 1)
        await post(client, listen(1, first))
        await asyncio.to_thread(api.freshener.work)
        assert first in await listed(client, 1)
        api.world.folding = folding
        await asyncio.to_thread(api.freshener.work)
        assert first not in await listed(client, 1)

    with_client(fresh.stores, fresh.home, ask)


def test_more_plays_than_fit_into_a_transaction_are_refused_at_once(fresh: Published) -> None:
    many = [
        listen(1, *range(1, 1_001), at=EARLIER - timedelta(seconds=number)) for number in range(11)
    ]

    async def ask(client: httpx.AsyncClient, _: Api) -> None:
        answer = await post(client, many)
        assert answer.status_code == 422
        assert "Send 10,000 plays at most" in answer.json()["detail"]
        assert (await post(client, many[:10])).json() == {"taken": 10_000, "known": 0}

    with_client(fresh.stores, fresh.home, ask)


def test_what_is_hopeless_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = 0
    judge = decode._judged

    def counting(*arguments: Any) -> Any:
        nonlocal looked_at
        looked_at += 1
        return judge(*arguments)

    monkeypatch.setattr(decode, "_judged", counting)
    broken = b"[" + b",".join([b"0"] * 10_000) + b"]"
    with pytest.raises(
        ProblemError, match=r"20 of the first 20 records .* of the 10000"
    ) as refused:
        read_listens(broken, NOW.replace(tzinfo=UTC))
    assert [fault["parameter"] for fault in refused.value.errors][-1] == "[19]"
    assert looked_at == 20
    with pytest.raises(ProblemError, match="More records"):
        read_listens(b"[" + b",".join([b"0"] * 10_001) + b"]", NOW.replace(tzinfo=UTC))
    assert looked_at == 20
    large = json.dumps([listen(1, *range(20_000)), 0]).encode()
    with pytest.raises(ProblemError, match="1 of the first 2"):
        read_listens(large, NOW.replace(tzinfo=UTC))


@pytest.mark.parametrize("how", ["one after the other", "in one commit", "in one request"])
def test_when_a_record_grows_what_is_new_was_heard_then_however_it_is_sent(
    fresh: Published, how: str
) -> None:
    later = EARLIER + timedelta(minutes=5)
    first, grown = listen(1, 110), listen(1, 110, 112, updated=later)

    async def ask(client: httpx.AsyncClient, _: Api) -> None:
        if how == "in one request":
            await post(client, [grown, first])
        elif how == "in one commit":
            await asyncio.gather(*(post(client, sent) for sent in (listen(2, 110), first, grown)))
        else:
            await post(client, first)
            await post(client, grown)

    with_client(fresh.stores, fresh.home, ask)
    told = {row[1]: row[3] for row in rows(fresh.stores.warehouse) if row[0] == 1}
    assert told == {110: EARLIER, 112: later}


def test_that_the_key_of_the_erased_is_gone_is_said(
    fresh: Published, caplog: pytest.LogCaptureFixture
) -> None:
    with fresh.stores.warehouse.connect() as connection:
        connection.execute("INSERT INTO erasures (hash, kind) VALUES (%s, 'account')", (b"x" * 32,))

    async def ask(client: httpx.AsyncClient, _: Api) -> None:
        answer = await post(client, listen(1, 110))
        assert answer.status_code == 503
        assert "Restore it from a backup" in answer.json()["detail"]

    with_client(fresh.stores, fresh.home, ask)
    assert "Restore it from a backup" in caplog.text
    assert rows(fresh.stores.warehouse) == []


def test_after_the_source_has_started_anew_the_erased_are_known_by_the_new_key(
    fresh: Published,
) -> None:
    stores = fresh.stores
    stranger = 999

    def erased() -> None:
        key = ensure_key(stores.lake.open())
        with stores.warehouse.connect() as connection:
            connection.execute(
                "INSERT INTO erasures (hash, kind) VALUES (%s, 'account')",
                (hash_account(key, stranger),),
            )

    erased()

    async def ask(client: httpx.AsyncClient, _: Api) -> None:
        for _again in range(6):  # as often as lets a statement be prepared
            assert (await post(client, listen(stranger, 110))).json() == {"taken": 0, "known": 1}
        await asyncio.to_thread(set_aside, stores.warehouse, stores.lake.open(), stores.cache)
        await asyncio.to_thread(erased)
        assert (await post(client, listen(stranger, 110))).json() == {"taken": 0, "known": 1}

    with_client(stores, fresh.home, ask)
