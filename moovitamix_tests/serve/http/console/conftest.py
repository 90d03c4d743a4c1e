"""A world with something to undo: two champions, one after the other, with lists of both."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import redis

from moovitamix.recommend import registry
from moovitamix.recommend.gate import Decision
from moovitamix_tests.serve.http.serving import Published
from moovitamix_tests.serve.tried import Versions

FIGURES = {
    "figures": {
        "discovery": {
            "candidate": {"ndcg": {"value": 0.2, "low": 0.19, "high": 0.21}},
            "popularity": {"ndcg": {"value": 0.1, "low": 0.09, "high": 0.11}},
        }
    }
}


@dataclass(frozen=True)
class Succession:
    """The small world under its second champion.

    Attributes:
        world: Its stores; the first champion is the one of the world.
        first: The version that was champion before.
        second: The champion.
        former: The first one's generation, which is still there.
        latter: The second one's, which is served.
    """

    world: Published
    first: int
    second: int
    former: str
    latter: str


@pytest.fixture
def succession(fresh: Published, rivals: Versions, valkey: redis.Redis) -> Succession:
    former = fresh.publish(valkey)
    with fresh.stores.warehouse.connect() as connection:
        registry.record_evaluation(connection, rivals.alike, FIGURES, against=None)
        decision = Decision("better than the champion", "als", False, "It won.")
        registry.promote(connection, rivals.alike, decision)
    champion = replace(fresh.world.champion, version=rivals.alike)
    latter = replace(fresh, world=replace(fresh.world, champion=champion)).publish(valkey)
    return Succession(fresh, fresh.world.champion.version, rivals.alike, former, latter)
