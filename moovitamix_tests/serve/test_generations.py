"""A generation is served in full or not at all, whoever dies and whoever else publishes."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
from datetime import UTC, date, datetime, timedelta
from typing import cast

import msgspec
import numpy as np
import pytest
import redis
from numpy.typing import NDArray

from moovitamix.errors import StoreUnavailable
from moovitamix.serve.codec import decode_list, encode_block, encode_list
from moovitamix.serve.generations import (
    TIME_TO_LIVE,
    Generation,
    current_key,
    key_of,
    meta_key,
    read_current,
)
from moovitamix.serve.life import ROLLBACK_WINDOW
from moovitamix.serve.writer import GenerationWriter, IncompleteGeneration

PREFIX = "test"
AS_OF = date(2026, 11, 22)
USERS = np.arange(1, 2_501, dtype=np.int64)


def begin(client: redis.Redis, version: int = 1, prefix: str = PREFIX) -> GenerationWriter:
    return GenerationWriter(
        client,
        prefix,
        model_version=version,
        algorithm="als",
        as_of=AS_OF,
        matrix_fingerprint="f00d",
        list_length=10,
    )


def lists_of(version: int, users: NDArray[np.int64] = USERS) -> list[bytes]:
    """Lists in which every track id names the version that wrote it."""
    ids = np.full((len(users), 10), version)
    return encode_block(ids, np.linspace(1, 0.1, 10)[None, :].repeat(len(users), axis=0))


def publish(client: redis.Redis, version: int = 1, prefix: str = PREFIX) -> Generation:
    with begin(client, version, prefix) as writer:
        writer.write("u", USERS, lists_of(version))
        writer.write_popular_overall(encode_list(np.array([version]), np.array([9.0]), exact=True))
        return writer.make_current()


def versions_in(client: redis.Redis, generation: Generation) -> set[int]:
    """The versions that wrote the users' lists of a generation, all of them there."""
    keys = [key_of(PREFIX, generation.name, "u", user) for user in USERS.tolist()]
    values = cast("list[bytes]", client.mget(keys))
    assert None not in values
    return {int(track) for value in values for track in decode_list(value).ids}


def keys_of(client: redis.Redis, generation: str) -> list[str]:
    return [key.decode() for key in client.scan_iter(f"{PREFIX}:{generation}*:*")]


def test_a_published_generation_is_current_and_describes_itself(valkey: redis.Redis) -> None:
    published = publish(valkey, version=7)
    assert published.name == "v7-2026-11-22-1"
    assert published.keys == {"u": 2_500, "r": 0, "g": 0, "t": 0, "p": 1}
    assert read_current(valkey, PREFIX) == published
    assert versions_in(valkey, published) == {7}


def test_nothing_is_current_before_the_first_publication(valkey: redis.Redis) -> None:
    assert read_current(valkey, PREFIX) is None


def test_a_current_name_without_its_description_counts_as_nothing(valkey: redis.Redis) -> None:
    published = publish(valkey)
    valkey.set(meta_key(PREFIX, published.name), b"{")
    assert read_current(valkey, PREFIX) is None
    valkey.delete(meta_key(PREFIX, published.name))
    assert read_current(valkey, PREFIX) is None


def test_all_keys_of_a_generation_expire_together_a_day_after_it_began(
    valkey: redis.Redis,
) -> None:
    published = publish(valkey)
    keys = [*keys_of(valkey, published.name), current_key(PREFIX)]
    deadlines = {valkey.expiretime(key) for key in keys}
    assert deadlines == {int(published.expires_at.timestamp())}
    assert published.expires_at - published.published_at == TIME_TO_LIVE == timedelta(hours=24)


def test_the_next_generation_takes_over_and_the_one_before_is_still_whole(
    valkey: redis.Redis,
) -> None:
    first = publish(valkey, version=1)
    second = publish(valkey, version=2)
    assert (first.name, second.name) == ("v1-2026-11-22-1", "v2-2026-11-22-2")
    assert read_current(valkey, PREFIX) == second
    assert (versions_in(valkey, first), versions_in(valkey, second)) == ({1}, {2})


def test_a_switch_lets_the_generation_before_live_for_the_rollback_window(
    valkey: redis.Redis,
) -> None:
    first = publish(valkey, version=1)
    about_to_expire = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=10)
    aged = msgspec.structs.replace(first, expires_at=about_to_expire)
    valkey.set(meta_key(PREFIX, first.name), msgspec.json.encode(aged))
    for key in keys_of(valkey, first.name):
        valkey.expireat(key, about_to_expire)
    publish(valkey, version=2)
    left = [valkey.ttl(key) for key in keys_of(valkey, first.name)]
    window = ROLLBACK_WINDOW.total_seconds()
    assert len(left) == 2_502
    assert window - 60 < min(left) <= max(left) <= window


def test_a_switch_never_shortens_the_life_of_the_generation_before(valkey: redis.Redis) -> None:
    first = publish(valkey, version=1)
    publish(valkey, version=2)
    key = key_of(PREFIX, first.name, "u", 1).decode()
    assert valkey.expiretime(key) == int(first.expires_at.timestamp())


def test_a_publication_that_raises_leaves_the_old_one_current_and_no_remains(
    valkey: redis.Redis,
) -> None:
    first = publish(valkey, version=1)

    def publish_and_break() -> None:
        with begin(valkey, version=2) as writer:
            writer.write("u", USERS, lists_of(2))
            writer.write_popular_overall(encode_list(np.array([2]), np.array([1.0])))
            raise RuntimeError("scoring broke")

    with pytest.raises(RuntimeError, match="scoring broke"):
        publish_and_break()
    assert read_current(valkey, PREFIX) == first
    assert versions_in(valkey, first) == {1}
    assert keys_of(valkey, "v2-") == []


def test_a_publisher_killed_in_the_middle_leaves_the_old_one_current_and_whole(
    valkey: redis.Redis, valkey_url: str
) -> None:
    first = publish(valkey, version=1)
    script = f"""
        import sys
        from datetime import date
        import numpy as np, redis
        from moovitamix.serve.codec import encode_block
        from moovitamix.serve.writer import GenerationWriter

        client = redis.Redis.from_url({valkey_url!r})
        with GenerationWriter(client, {PREFIX!r}, model_version=2, algorithm="als",
                              as_of=date(2026, 11, 22), matrix_fingerprint="",
                              list_length=10) as writer:
            ids = np.full((1000, 10), 2)
            writer.write("u", np.arange(1, 1001), encode_block(ids, ids.astype(np.float32)))
            writer.flush()
            print("half", flush=True)
            sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as publisher:
        assert publisher.stdout is not None
        assert publisher.stdout.readline() == b"half\n"
        publisher.kill()
    assert publisher.returncode == -signal.SIGKILL
    assert read_current(valkey, PREFIX) == first
    assert versions_in(valkey, first) == {1}
    remains = keys_of(valkey, "v2-")
    assert len(remains) == 1_000
    assert all(valkey.ttl(key) > 0 for key in remains)


def test_two_publishers_at_once_each_write_their_own_generation_and_the_last_switch_wins(
    valkey: redis.Redis, valkey_url: str
) -> None:
    done: list[Generation] = []
    both_wrote = threading.Barrier(2)

    def publish_in_blocks(version: int) -> None:
        with redis.Redis.from_url(valkey_url) as client, begin(client, version) as writer:
            for users in np.array_split(USERS, 10):
                writer.write("u", users, lists_of(version, users))
            both_wrote.wait(timeout=30)
            done.append(writer.make_current())

    publishers = [threading.Thread(target=publish_in_blocks, args=(v,)) for v in (1, 2)]
    for publisher in publishers:
        publisher.start()
    for publisher in publishers:
        publisher.join()
    assert len({generation.name for generation in done}) == 2
    assert read_current(valkey, PREFIX) in done
    for generation in done:
        assert versions_in(valkey, generation) == {generation.model_version}


def test_the_last_of_two_interleaved_switches_wins(valkey: redis.Redis) -> None:
    with begin(valkey, 1) as one, begin(valkey, 2) as two:
        for writer, version in ((one, 1), (two, 2)):
            writer.write("u", USERS, lists_of(version))
        two.make_current()
        last = one.make_current()
    assert read_current(valkey, PREFIX) == last
    assert versions_in(valkey, last) == {1}


def test_a_reader_during_a_switch_sees_one_generation_at_a_time(
    valkey: redis.Redis, valkey_url: str
) -> None:
    publish(valkey, version=1)
    stop = threading.Event()
    seen: list[tuple[int, frozenset[int]]] = []

    def read() -> None:
        with redis.Redis.from_url(valkey_url) as client:
            while not stop.is_set():
                current = read_current(client, PREFIX)
                assert current is not None
                seen.append((current.model_version, frozenset(versions_in(client, current))))

    reader = threading.Thread(target=read)
    reader.start()
    for version in range(2, 6):
        publish(valkey, version)
    stop.set()
    reader.join()
    assert seen
    assert all(versions == {version} for version, versions in seen)


def test_a_lost_key_is_found_and_the_old_one_stays_current(valkey: redis.Redis) -> None:
    first = publish(valkey, version=1)
    with begin(valkey, 2) as writer:
        writer.write("u", USERS, lists_of(2))
        writer.flush()
        valkey.delete(key_of(PREFIX, writer.generation.name, "u", 1_234))
        with pytest.raises(IncompleteGeneration, match="1 of 2500 keys"):
            writer.make_current()
    assert read_current(valkey, PREFIX) == first


@pytest.mark.parametrize("fault", ["altered", "without expiry"])
def test_a_sampled_value_that_is_not_as_written_is_found(valkey: redis.Redis, fault: str) -> None:
    with begin(valkey, 2) as writer:
        writer.write("u", USERS, lists_of(2))
        writer.flush()
        key = key_of(PREFIX, writer.generation.name, "u", 1)
        if fault == "altered":
            valkey.set(key, b"other", keepttl=True)
        else:
            valkey.persist(key)
        with pytest.raises(IncompleteGeneration, match="not as written"):
            writer.verify()


def test_a_full_redis_refuses_and_says_what_to_do(valkey: redis.Redis) -> None:
    first = publish(valkey, version=1)
    valkey.config_set("maxmemory", "1mb")
    try:
        with pytest.raises(StoreUnavailable, match="maxmemory"), begin(valkey, 2) as writer:
            writer.write("u", USERS, lists_of(2))
    finally:
        valkey.config_set("maxmemory", "0")
    assert read_current(valkey, PREFIX) == first
    assert keys_of(valkey, "v2-") == []


def test_prefixes_do_not_see_each_other(valkey: redis.Redis) -> None:
    publish(valkey, version=1)
    assert read_current(valkey, "other") is None
