"""Something is served tomorrow too: what is about to expire or gone is asked for, once."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import dagster as dg
import pytest
import redis

from moovitamix import automation, chores
from moovitamix.recommend import registry
from moovitamix.recommend.gate import Decision
from moovitamix.resources import Cache, Warehouse
from moovitamix.serve.generations import Generation, current_key, read_current
from moovitamix.serve.life import RENEW_BELOW
from moovitamix.serve.upkeep import upkeep
from moovitamix_tests.serve.test_generations import PREFIX, publish
from moovitamix_tests.serve.test_life import HOUR, age

NOW = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)


def served(left: timedelta) -> Generation:
    return Generation(
        name="v3-2026-11-21-5",
        model_version=3,
        algorithm="als",
        as_of=date(2026, 11, 21),
        matrix_fingerprint="",
        list_length=100,
        keys={},
        published_at=NOW - timedelta(hours=24) + left,
        expires_at=NOW + left,
    )


def test_what_is_young_needs_nothing() -> None:
    assert upkeep(served(RENEW_BELOW), 3, NOW, under_way=False).need is None


def test_what_is_about_to_expire_is_renewed() -> None:
    needed = upkeep(served(RENEW_BELOW - HOUR), 3, NOW, under_way=False)
    assert (needed.need, needed.key) == ("renew", "renew:v3-2026-11-21-5:2026-11-22T10")


def test_what_is_gone_is_published_again_and_asked_for_once_an_hour() -> None:
    asked = {
        upkeep(None, 3, NOW + timedelta(minutes=minutes), under_way=False).key
        for minutes in range(0, 60, 5)
    }
    assert asked == {"publish:3:2026-11-22T10", "publish:3:2026-11-22T11"}
    assert upkeep(None, 3, NOW, under_way=False).need == "publish"


@pytest.mark.parametrize("news", [None, "A newer day is there."])
@pytest.mark.parametrize("under_way", [False, True])
def test_what_is_about_to_expire_is_renewed_even_while_publications_hang_or_fail(
    news: str | None, under_way: bool
) -> None:
    needed = upkeep(served(HOUR), 3, NOW, under_way=under_way, news=news)
    assert needed.need == "renew"


@pytest.mark.parametrize("left", [None, 20 * HOUR])
def test_nothing_is_asked_for_while_a_publication_is_under_way_or_nobody_can_be_served(
    left: timedelta | None,
) -> None:
    current = served(left) if left else None
    assert upkeep(current, 3, NOW, under_way=True).need is None
    assert upkeep(current, None, NOW, under_way=False).need is None


@pytest.fixture
def champions(warehouse: Warehouse) -> Warehouse:
    """A warehouse with a champion, whose artifact nobody reads."""
    with warehouse.connect() as connection:
        registered = registry.register(
            connection,
            run_id="r1",
            as_of=date(2026, 11, 21),
            pull="p1",
            matrix_fingerprint="f00d",
            parameters={},
            artifact="",
        )
        registry.promote(
            connection, registered.version, Decision("cannot tell", "als", True, "first")
        )
    return warehouse


def look(warehouse: Warehouse, cache: Cache, instance: dg.DagsterInstance) -> object:
    context = dg.build_sensor_context(
        instance=instance, resources={"warehouse": warehouse, "cache": cache}
    )
    return automation.keep_serving(context)


def test_the_sensor_asks_for_what_is_needed_and_the_job_it_asks_for_does_it(
    champions: Warehouse, valkey: redis.Redis, valkey_url: str
) -> None:
    cache = Cache(url=valkey_url, namespace=PREFIX)
    with dg.instance_for_test() as instance:
        asked = look(champions, cache, instance)
        assert isinstance(asked, dg.RunRequest)
        assert asked.job_name == "refresh_serving"

        aged = age(valkey, publish(valkey), HOUR)
        asked = look(champions, cache, instance)
        assert isinstance(asked, dg.RunRequest)
        assert asked.job_name == "renew_serving"
        done = chores.renew_serving.execute_in_process(
            resources={"cache": cache}, instance=instance
        )
        assert done.success
        current = read_current(valkey, PREFIX)
        assert current is not None
        assert current.expires_at > aged.expires_at
        assert isinstance(look(champions, cache, instance), dg.SkipReason)

        valkey.delete(current_key(PREFIX))
        asked = look(champions, cache, instance)
        assert isinstance(asked, dg.RunRequest)
        assert asked.job_name == "refresh_serving"


def test_a_store_that_is_down_makes_the_sensor_look_again_later(warehouse: Warehouse) -> None:
    with dg.instance_for_test() as instance:
        nowhere = Cache(url="redis://127.0.0.1:1", namespace=PREFIX)
        looked = look(warehouse, nowhere, instance)
    assert isinstance(looked, dg.SkipReason)
    assert "does not answer" in str(looked.skip_message)
