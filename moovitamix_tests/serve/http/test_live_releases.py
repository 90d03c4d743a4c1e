"""With Redis down, or a list too short, new releases are where published lists have them."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import redis

from moovitamix.recommend.champion import load_champion, read_recent_plays
from moovitamix.resources import Cache, Warehouse
from moovitamix.serve.catalogue import read_catalogue, read_wanted_releases
from moovitamix.serve.codec import decode_list
from moovitamix.serve.generations import Generation, Kind, key_of
from moovitamix.serve.http import beside
from moovitamix.serve.http.app import Api
from moovitamix.serve.publish import LIST_LENGTH, publish_generation
from moovitamix_tests.serve.http.serving import Published, fill, make_stores, with_client
from moovitamix_tests.serve.http.test_experiment import arm
from moovitamix_tests.serve.http.test_tiers import get, ids, tiers
from moovitamix_tests.serve.tried import register_rivals, start
from moovitamix_tests.serve.world import NAMESPACE, World, told_apart

N = 12
USERS = range(1, 61)
YOUNG_FROM = 130
UNKNOWN_FROM = 140  # to the model
PARAMETERS = {
    "releases": {"first": 4, "every": 3, "max_age_days": 28, "enough_listeners": 10},
    "blend": {"own_plays": 0.5, "half_life_days": 7.0},
}
PLACES = range(3, N, 3)


@dataclass(frozen=True)
class Released:
    """Stores with a version that keeps places, of which nothing is published yet."""

    published: Published

    def publish(self, client: redis.Redis, n: int = N) -> Generation:
        """Publish another generation of what the stores hold now."""
        stores = self.published.stores
        champion = load_champion(stores.warehouse, stores.lake.open())
        matrix, catalogue = self.published.world.matrix, read_catalogue(stores.warehouse)
        return publish_generation(
            client,
            NAMESPACE,
            champion=champion,
            matrix=matrix,
            catalogue=catalogue,
            tell=lambda _: None,
            recent=read_recent_plays(stores.warehouse, champion, matrix),
            releases=read_wanted_releases(stores.warehouse, champion, matrix, catalogue.withdrawn),
            list_length=n,
        ).generation

    def set_parameters(self, parameters: dict[str, Any], version: int | None = None) -> None:
        """Those of all versions, or of one."""
        with self.published.stores.warehouse.connect() as connection:
            connection.execute(
                "UPDATE model_versions SET parameters = %s WHERE %s::int IS NULL OR version = %s",
                (json.dumps(parameters), version, version),
            )

    def ask(self, ask: Any) -> None:
        with_client(self.published.stores, self.published.home, ask)


@pytest.fixture
def released(
    valkey: redis.Redis, valkey_url: str, warehouse: Warehouse, world: World, tmp_path: Path
) -> Released:
    """Tracks from 130 on are young; each of these has an artist of its own with older tracks."""
    valkey.flushall()
    stores = make_stores(warehouse, (tmp_path / "lake").as_uri(), valkey_url)
    filled = fill(told_apart(world), warehouse, stores.lake)
    register_rivals(filled, warehouse, stores.lake)
    moment = datetime(2026, 11, 10)  # noqa: DTZ001 - the warehouse's moments have no zone
    with warehouse.connect() as connection:
        connection.execute("UPDATE track_genres SET genre_id = 1 WHERE track_id IN (143, 146, 148)")
        connection.execute("UPDATE tracks SET artist = 'Artist ' || id %% 20", ())
        connection.execute("UPDATE tracks SET created_at = %s WHERE id >= %s", (moment, YOUNG_FROM))
    found = Released(Published(stores, filled, tmp_path / "home"))
    found.set_parameters(PARAMETERS)
    return found


def held(client: redis.Redis, generation: Generation, user: int, kind: Kind = "u") -> list[int]:
    value = client.get(key_of(NAMESPACE, generation.name, kind, user))
    assert isinstance(value, bytes)
    found: list[int] = decode_list(value).ids.tolist()
    return found


def placed(tracks: list[int]) -> dict[int, int]:
    """By place, from 0: the tracks that are in a list by the places kept for them alone."""
    return {place: track for place, track in enumerate(tracks) if track >= UNKNOWN_FROM}


@pytest.mark.parametrize(("kind", "query"), [("u", ""), ("r", "&repeats=true")])
def test_a_live_answer_holds_the_releases_that_the_published_list_holds_at_the_same_places(
    released: Released, valkey: redis.Redis, kind: Kind, query: str
) -> None:
    generation = released.publish(valkey)
    lists = {user: held(valkey, generation, user, kind) for user in USERS}
    assert {place for tracks in lists.values() for place in placed(tracks)} == set(PLACES)
    assert sum(len(placed(tracks)) for tracks in lists.values()) > 2 * len(USERS)

    async def ask(client: httpx.AsyncClient, _: Api) -> None:
        valkey.flushall()
        for user, tracks in lists.items():
            answer = await get(client, f"/users/{user}/recommendations?limit={N}{query}")
            assert tiers(answer) == ["live fold-in"]
            assert placed(ids(answer)) == placed(tracks)
            assert ids(answer) == tracks
            assert (np.diff([item["score"] for item in answer["items"]]) <= 1e-6).all()

    released.ask(ask)


@pytest.mark.parametrize(
    "query",
    [
        "limit=3",
        "limit=5",
        "limit=30",
        "limit=10&exclude=103,140,143,125",
        "limit=10&genre=2",
        "limit=30&genre=2",
        "limit=30&genre=1",
        "limit=12&genre=1&genre=2&exclude=149",
        "limit=8&per_artist=1",
        "limit=20&per_artist=1&genre=2",
        "limit=25&per_artist=2&repeats=true",
    ],
)
def test_under_any_filter_an_answer_is_the_same_with_redis_and_without(
    released: Released, valkey: redis.Redis, query: str
) -> None:
    released.publish(valkey)

    async def ask(client: httpx.AsyncClient, _: Api) -> None:
        paths = [f"/users/{user}/recommendations?{query}" for user in USERS[::3]]
        cached = [await get(client, path) for path in paths]
        assert "cached top-N" in {answer["tier"] for answer in cached}
        valkey.flushall()
        for path, before in zip(paths, cached, strict=True):
            answer = await get(client, path)
            assert answer["tier"] == "live fold-in"
            assert ids(answer) == ids(before)

    released.ask(ask)


@pytest.mark.parametrize("query", ["", "&repeats=true"])
def test_behind_its_end_a_list_goes_on_as_a_longer_one_would_have(
    released: Released, valkey: redis.Redis, query: str
) -> None:
    # No release is known to the model: how long a list is does not tell which need a place.
    released.set_parameters(
        {**PARAMETERS, "releases": {"first": 4, "every": 3, "enough_listeners": 0}}
    )
    kind: Kind = "r" if query else "u"
    longer = released.publish(valkey, 2 * N)
    lists = {user: held(valkey, longer, user, kind) for user in USERS}
    released.publish(valkey, N)

    async def ask(client: httpx.AsyncClient, _: Api) -> None:
        behind = 0
        for user, tracks in lists.items():
            answer = await get(client, f"/users/{user}/recommendations?limit={2 * N}{query}")
            assert tiers(answer) == ["cached top-N", "live fold-in"]
            assert ids(answer) == tracks
            behind += sum(place >= N for place in placed(tracks))
        assert behind > len(USERS)

    released.ask(ask)


def test_what_a_filter_adds_behind_the_list_keeps_places_for_releases_it_allows(
    released: Released, valkey: redis.Redis
) -> None:
    released.publish(valkey)

    async def ask(client: httpx.AsyncClient, _: Api) -> None:
        added = 0
        for user in USERS:
            answer = await get(client, f"/users/{user}/recommendations?limit=40&genre=2")
            of_tier = [item["tier"] == "live fold-in" for item in answer["items"]]
            behind = [track for track, live in zip(ids(answer), of_tier, strict=True) if live]
            held_places = list(placed(behind))
            # Place 13 is the first behind the list of 12.
            assert held_places == list(range(0, 3 * len(held_places), 3))
            added += len(held_places)
        assert added > 2 * len(USERS)

    released.ask(ask)


def test_a_release_that_was_withdrawn_since_gives_its_place_to_the_next(
    released: Released, valkey: redis.Redis
) -> None:
    generation = released.publish(valkey)
    user = next(user for user in USERS if len(placed(held(valkey, generation, user))) == 3)
    before = placed(held(valkey, generation, user))
    gone, then = before[PLACES[0]], before[PLACES[1]]

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        with released.published.stores.warehouse.connect() as connection:
            connection.execute("UPDATE tracks SET withdrawn_at = now() WHERE id = %s", (gone,))
        api.refresher.from_postgres()
        valkey.flushall()
        path = f"/users/{user}/recommendations?limit={N}"
        found = placed(ids(await get(client, path)))
        assert gone not in found.values()
        assert PLACES[0] in found
        api.world.hidden.note(user, hidden=[then])
        found = placed(ids(await get(client, path)))
        assert not {gone, then} & set(found.values())
        assert PLACES[0] in found
        with released.published.stores.warehouse.connect() as connection:
            connection.execute("UPDATE tracks SET withdrawn_at = NULL WHERE id = %s", (gone,))
        api.refresher.from_postgres()
        api.world.hidden.note(user, shown=[then])
        assert placed(ids(await get(client, path))) == before

    released.ask(ask)


def test_an_api_that_never_found_redis_makes_the_lists_that_are_published_there(
    released: Released, valkey: redis.Redis
) -> None:
    generation = released.publish(valkey, LIST_LENGTH)
    lists = {user: held(valkey, generation, user) for user in USERS}
    gone = replace(released.published.stores, cache=Cache(url="redis://127.0.0.1:1"))

    async def ask(client: httpx.AsyncClient, _: Api) -> None:
        for user, tracks in lists.items():
            answer = await get(client, f"/users/{user}/recommendations?limit={len(tracks)}")
            assert answer["degraded"] == ["redis"]
            assert ids(answer) == tracks

    def ready(api: Api) -> None:
        api.refresher.from_postgres()

    with_client(gone, released.published.home, ask, ready=ready)


def test_a_ranking_that_is_not_waited_for_leaves_the_answer_to_the_next_tier(
    released: Released, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    released.publish(valkey)

    async def ask(client: httpx.AsyncClient, _: Api) -> None:
        monkeypatch.setattr(beside, "WITHIN", 0.0)
        answer = await get(client, "/users/5/recommendations?limit=30")
        assert tiers(answer) == ["cached top-N", "popular"]
        assert len(set(ids(answer))) == 30

    released.ask(ask)


def test_what_was_heard_since_the_matrix_has_no_place_with_repeats_either(
    released: Released, valkey: redis.Redis
) -> None:
    generation = released.publish(valkey)
    user = next(user for user in USERS if placed(held(valkey, generation, user)))
    first = placed(held(valkey, generation, user))[PLACES[0]]

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        heard = {
            "user_id": user,
            "items": [first],
            "created_at": "2026-11-23T09:00:00",
            "updated_at": "2026-11-23T09:00:00",
        }
        assert (await client.post("/listens", json=heard)).status_code == 202
        await asyncio.to_thread(api.freshener.work)
        both: list[tuple[Kind, str]] = [("u", ""), ("r", "&repeats=true")]
        for kind, query in both:
            valkey.delete(key_of(NAMESPACE, generation.name, kind, user))
            answer = await get(client, f"/users/{user}/recommendations?limit={N}{query}")
            assert tiers(answer) == ["live fold-in"]
            assert first not in placed(ids(answer)).values()

    released.ask(ask)


def test_tracks_that_came_before_a_generation_on_the_same_matrix_have_places_too(
    released: Released, valkey: redis.Redis
) -> None:
    with released.published.stores.warehouse.connect() as connection:
        connection.execute("UPDATE tracks SET created_at = '2026-01-01' WHERE id = 149")
    released.publish(valkey)

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        live = api.world.live
        assert live is not None
        assert live.releases is not None
        assert World.NEVER_HEARD not in live.releases.tracks
        with released.published.stores.warehouse.connect() as connection:
            connection.execute("UPDATE tracks SET created_at = '2026-11-10' WHERE id = 149")
        generation = released.publish(valkey)
        lists = {user: held(valkey, generation, user) for user in USERS}
        assert any(World.NEVER_HEARD in tracks for tracks in lists.values())
        api.refresher.from_redis()
        api.refresher.from_postgres()
        assert api.world.live is not None
        assert api.world.live.matrix is live.matrix  # nothing else was loaded again
        valkey.flushall()
        for user, tracks in lists.items():
            answer = await get(client, f"/users/{user}/recommendations?limit={N}")
            assert ids(answer) == tracks

    released.ask(ask)


def test_without_places_that_a_version_keeps_there_is_nothing_to_place(
    released: Released, valkey: redis.Redis
) -> None:
    generation = released.publish(valkey)
    with_places = {user: held(valkey, generation, user) for user in USERS}
    released.set_parameters({})
    plain = released.publish(valkey)
    without = {user: held(valkey, plain, user) for user in USERS}
    assert not any(placed(tracks) for tracks in without.values())
    assert with_places != without

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        assert api.world.live is not None
        assert api.world.live.releases is None
        valkey.flushall()
        for user, tracks in without.items():
            answer = await get(client, f"/users/{user}/recommendations?limit={N}")
            assert ids(answer) == tracks

    released.ask(ask)


def test_the_setting_that_keeps_no_place_is_the_live_tiers_too(
    released: Released, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOOVITAMIX_NEW_RELEASES", "false")
    generation = released.publish(valkey)
    tracks = held(valkey, generation, 5)

    async def ask(client: httpx.AsyncClient, _: Api) -> None:
        valkey.flushall()
        assert ids(await get(client, f"/users/5/recommendations?limit={N}")) == tracks
        assert not placed(tracks)

    released.ask(ask)


def test_in_an_experiment_the_challenger_places_by_its_own_factors_and_share(
    released: Released, valkey: redis.Redis
) -> None:
    stores = released.published.stores
    challenger = released.published.world.champion.version + 1
    released.set_parameters({"releases": {"first": 6, "every": 4}}, challenger)
    released.publish(valkey)
    _, generation = start(stores.warehouse, stores.lake, valkey, challenger)
    lists = {user: held(valkey, generation, user) for user in USERS if arm(user) == "challenger"}

    async def ask(client: httpx.AsyncClient, _: Api) -> None:
        with_any = 0
        for user, tracks in lists.items():
            valkey.delete(key_of(NAMESPACE, generation.name, "u", user))
            answer = await get(client, f"/users/{user}/recommendations?limit={len(tracks)}")
            assert tiers(answer) == ["live fold-in"]
            assert "degraded" not in answer
            assert ids(answer) == tracks
            if World.NEVER_HEARD in tracks:  # what else is young, this version knows
                assert tracks.index(World.NEVER_HEARD) in range(5, 100, 4)
                with_any += 1
        assert with_any > len(lists) / 2

    released.ask(ask)


def test_what_is_similar_to_a_new_release_is_found_without_redis_too(
    released: Released, valkey: redis.Redis
) -> None:
    released.publish(valkey)

    async def ask(client: httpx.AsyncClient, _: Api) -> None:
        path = f"/tracks/{World.NEVER_HEARD}/similar?limit={N}"
        cached = await get(client, path)
        assert tiers(cached) == ["cached similar"]
        valkey.flushall()
        live = await get(client, path)
        assert tiers(live) == ["live factors"]
        assert ids(live) == ids(cached)

    released.ask(ask)
