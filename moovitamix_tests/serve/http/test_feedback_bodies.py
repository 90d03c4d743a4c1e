"""`POST /feedback` with a body that is none, and hides while Redis takes none: answered at once."""

from __future__ import annotations

import httpx
import pytest
import redis

from moovitamix.serve.http import feedback as taking
from moovitamix.serve.http.app import Api
from moovitamix_tests.serve.http.serving import Published, with_client
from moovitamix_tests.serve.http.test_feedback import event
from moovitamix_tests.serve.http.test_outages import NOWHERE


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"user_id": 1e999}', 422),
        (b'{"user_id": "x", "tier": "\xff"}', 400),
        (b'{"a": ' + b"[" * 9_000 + b"]" * 9_000 + b"}", 400),
        (b'{"user_id": ' + b"9" * 5_000 + b"}", 422),
        (b"1.5", 422),
    ],
)
def test_what_no_app_should_send_is_refused_and_no_fault_of_ours(
    published: Published, body: bytes, status: int
) -> None:
    async def ask(client: httpx.AsyncClient, _: Api) -> None:
        answer = await client.post("/feedback", content=body)
        assert answer.status_code == status, answer.text
        assert answer.json()["detail"]

    with_client(published.stores, published.home, ask)


def test_while_redis_owes_nothing_more_is_asked_of_it(
    fresh: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taking, "TRY_AGAIN_AFTER", 600.0)
    asked = 0

    def nowhere() -> redis.Redis:
        nonlocal asked
        asked += 1
        return redis.Redis.from_url(NOWHERE)

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        api.feedback._connect = nowhere
        for track in range(100, 106):
            answer = await client.post("/feedback", json=event("hide", track))
            assert answer.json() == {"accepted": 1, "degraded": ["redis"]}
        assert asked == 1
        assert api.feedback._owed == {5: set(range(100, 106))}

    with_client(fresh.stores, fresh.home, ask)
