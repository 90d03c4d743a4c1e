"""What Redis holds is told as it is now: lists that came since the publication, and its growth."""

from __future__ import annotations

from datetime import timedelta

import pytest
import redis

from moovitamix.observe.metrics.batch_families import STORE_BYTES, STORE_GROWTH
from moovitamix.observe.metrics.model_families import CACHE_LISTS, COVERAGE
from moovitamix.observe.metrics.read_runs import read_runs
from moovitamix.observe.metrics.read_served import read_cache, read_coverage
from moovitamix.observe.metrics.samples import Sample
from moovitamix.resources import Cache, Warehouse
from moovitamix.retention import measure_cache
from moovitamix.serve.replacing import replace_lists
from moovitamix.settings import Settings
from moovitamix_tests.serve.test_generations import AS_OF, PREFIX, USERS, publish
from moovitamix_tests.serve.test_replacing import new

_PEOPLE = """
INSERT INTO users (id, first_name, last_name, email, gender, created_at, updated_at, pull)
SELECT n, 'x', 'x', 'x', 'x', now(), now(), 'p1' FROM generate_series(1, %s) n
"""


def test_a_user_who_is_folded_in_is_covered_at_once(
    valkey: redis.Redis, warehouse: Warehouse
) -> None:
    def covered() -> tuple[float, float]:
        found, current = read_cache(valkey, PREFIX)
        assert current is not None
        with warehouse.connect() as connection:
            found += read_coverage(connection, current)
        told = {
            (one.family.name, one.labels): one.value for one in found if isinstance(one, Sample)
        }
        return told[CACHE_LISTS.name, ("users",)], told[COVERAGE.name, ("users",)]

    lists = len(USERS)
    with warehouse.connect() as connection:
        connection.execute(_PEOPLE, (2 * lists,))
    generation = publish(valkey)
    assert covered() == (lists, 0.5)
    added = [new(int(user) + lists, 1) for user in USERS[:500]]
    # Hers is there: replaced, not added.
    replace_lists(valkey, PREFIX, generation, [*added, new(1, 1)])
    assert covered() == (lists + 500, 0.6)


def test_the_cache_grows_by_what_it_held_from_night_to_night(
    valkey: redis.Redis, valkey_url: str, warehouse: Warehouse
) -> None:
    cache = Cache(url=valkey_url, namespace=PREFIX)
    sizes = []
    for night in range(3):
        valkey.set(f"{PREFIX}:ballast:{night}", bytes(1_000_000))
        present = f"{AS_OF + timedelta(days=night)}T03:45"
        sizes.append(measure_cache(warehouse, cache, Settings(now=present)))  # type: ignore[arg-type]  # parsed
    (held,) = (
        one.value
        for one in read_cache(valkey, PREFIX)[0]
        if isinstance(one, Sample) and one.family is STORE_BYTES
    )
    assert held == pytest.approx(sizes[-1], rel=0.2)
    with warehouse.connect() as connection:
        grown = {
            one.labels: one.value
            for one in read_runs(connection)
            if isinstance(one, Sample) and one.family is STORE_GROWTH
        }
    assert grown == {("redis",): (sizes[-1] - sizes[0]) // 2}
    assert grown["redis",] > 900_000
