"""What a process of the API keeps up to date, and keeps alive, in the background."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import msgspec
import redis

from moovitamix.serve.generations import TIME_TO_LIVE, current_key, meta_key, read_current
from moovitamix.serve.http.app import Api
from moovitamix_tests.serve.http.serving import Published, with_client
from moovitamix_tests.serve.world import NAMESPACE


def test_what_is_served_is_renewed_before_it_expires_when_no_daemon_runs(
    published: Published, valkey: redis.Redis
) -> None:
    served = read_current(valkey, NAMESPACE)
    assert served is not None
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=20)
    aged = msgspec.structs.replace(served, expires_at=end)
    valkey.set(meta_key(NAMESPACE, served.name), msgspec.json.encode(aged))
    for key in valkey.scan_iter(f"{NAMESPACE}:{served.name}:*"):
        valkey.expireat(key, end)
    valkey.expireat(current_key(NAMESPACE), end)

    async def ask(client: httpx.AsyncClient, _: Api) -> None:
        told = (await client.get("/users/5/recommendations")).json()
        assert (told["tier"], told["generation"]) == ("cached top-N", served.name)

    with_client(published.stores, published.home, ask)
    ends = {int(valkey.expiretime(key)) for key in valkey.scan_iter(f"{NAMESPACE}:{served.name}:*")}
    assert ends == {int((end + TIME_TO_LIVE).timestamp())}
