"""Three generations have to fit, and none may be evicted: told before it happens."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import redis
from rich.console import Console

from moovitamix.doctor import examine
from moovitamix.serve.codec import encode_block
from moovitamix.serve.memory import Memory, memory_concerns, read_memory
from moovitamix.settings import get_settings
from moovitamix_tests.serve.test_generations import PREFIX, begin

MIB = 2**20
LISTS = 20_000


@pytest.fixture
def tunable(valkey: redis.Redis) -> Iterator[redis.Redis]:
    """The session's Valkey, empty, whose memory settings are put back."""
    before = valkey.config_get("maxmemory*")
    yield valkey
    for name in ("maxmemory", "maxmemory-policy"):
        valkey.config_set(name, before[name] or "")


def fill(client: redis.Redis) -> None:
    """Publish a generation of some fourteen MiB."""
    users = np.arange(1, LISTS + 1)
    ids = np.arange(100)[None, :].repeat(LISTS, axis=0)
    with begin(client) as writer:
        writer.write("u", users, encode_block(ids, np.ones(ids.shape)))
        writer.make_current()


def diagnosis(monkeypatch: pytest.MonkeyPatch, url: str) -> tuple[bool, list[str]]:
    """Whether `doctor` finds all well, and its warnings."""
    monkeypatch.setenv("MOOVITAMIX_REDIS_URL", url)
    monkeypatch.setenv("MOOVITAMIX_NAMESPACE", PREFIX)
    get_settings.cache_clear()
    told = io.StringIO()
    well = examine(Console(file=told, width=400))
    lines = [line.split(maxsplit=2) for line in told.getvalue().splitlines()]
    return well, [said for mark, _, said in lines if mark == "!"]


def test_the_size_of_a_generation_is_what_the_server_grew_by(tunable: redis.Redis) -> None:
    before = tunable.info("memory")["used_memory"]
    fill(tunable)
    grown = tunable.info("memory")["used_memory"] - before

    found = read_memory(tunable, PREFIX)

    assert found.generation == pytest.approx(grown, rel=0.15)
    assert found.others < 4 * MIB


def test_keys_of_others_are_counted_apart(tunable: redis.Redis) -> None:
    fill(tunable)
    alone = read_memory(tunable, PREFIX)
    pipeline = tunable.pipeline(transaction=False)
    for number in range(LISTS):
        pipeline.set(f"somebody:else:{number}", bytes(600))
    pipeline.execute()

    shared = read_memory(tunable, PREFIX)

    assert shared.generation == pytest.approx(alone.generation, rel=0.05)
    assert shared.others - alone.others == pytest.approx(alone.generation, rel=0.25)


def test_a_server_without_a_limit_gives_no_concern(
    monkeypatch: pytest.MonkeyPatch, valkey_url: str, tunable: redis.Redis
) -> None:
    fill(tunable)

    assert diagnosis(monkeypatch, valkey_url) == (True, [])


def test_a_limit_below_three_generations_is_warned_of_and_one_above_is_not(
    monkeypatch: pytest.MonkeyPatch, valkey_url: str, tunable: redis.Redis
) -> None:
    fill(tunable)
    tunable.config_set("maxmemory", 32 * MIB)

    well, warnings = diagnosis(monkeypatch, valkey_url)

    assert well
    assert len(warnings) == 1
    assert warnings[0].startswith("Its maxmemory is 32.0 MiB; 3 generations")
    tunable.config_set("maxmemory", 128 * MIB)
    assert diagnosis(monkeypatch, valkey_url) == (True, [])


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_policy_that_evicts_is_warned_of_before_anything_is_published(
    monkeypatch: pytest.MonkeyPatch, valkey_url: str, tunable: redis.Redis, policy: str
) -> None:
    tunable.config_set("maxmemory-policy", policy)

    well, warnings = diagnosis(monkeypatch, valkey_url)

    assert well
    assert len(warnings) == 1
    assert policy in warnings[0]
    assert warnings[0].endswith("Set it to noeviction.")


def test_a_user_who_may_not_look_is_told_that_memory_was_not_checked(
    monkeypatch: pytest.MonkeyPatch, valkey_url: str, tunable: redis.Redis
) -> None:
    fill(tunable)
    tunable.acl_setuser(
        "blind", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-memory|usage"]
    )
    try:
        well, warnings = diagnosis(monkeypatch, valkey_url.replace("//", "//blind:any@"))
    finally:
        tunable.acl_deluser("blind")

    assert well
    assert len(warnings) == 1
    assert warnings[0].startswith("Its memory was NOT CHECKED")


def test_the_memory_of_a_cluster_is_said_to_be_unchecked(
    monkeypatch: pytest.MonkeyPatch, cluster_url: str
) -> None:
    well, warnings = diagnosis(monkeypatch, cluster_url)

    assert well
    assert warnings == ["It is a cluster: its memory was NOT CHECKED. Look at each of its nodes."]


def test_three_generations_that_fit_to_the_byte_give_no_concern() -> None:
    fits = Memory(limit=3 * MIB + 5, policy="noeviction", generation=MIB, others=5)

    assert memory_concerns(fits) == []
    assert len(memory_concerns(replace(fits, limit=fits.limit - 1))) == 1
    assert memory_concerns(replace(fits, limit=0)) == []
    assert memory_concerns(replace(fits, limit=1, generation=None)) == []
