"""Whoever asks is answered with as many tracks as they asked for, by the best tier there is."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import pytest
import redis

from moovitamix.serve.codec import decode_list, encode_list
from moovitamix.serve.generations import current_key, key_of
from moovitamix.serve.http import beside
from moovitamix.serve.http.app import Api
from moovitamix.serve.recommender import Recommender
from moovitamix_tests.serve.http.serving import Published, with_client
from moovitamix_tests.serve.world import NAMESPACE, World


async def get(client: httpx.AsyncClient, path: str) -> dict[str, Any]:
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def ids(answer: dict[str, Any]) -> list[int]:
    return [item["track_id"] for item in answer["items"]]


def tiers(answer: dict[str, Any]) -> list[str]:
    """The tiers of the items, each once, in their order."""
    return list(dict.fromkeys(item["tier"] for item in answer["items"]))


def test_a_user_is_answered_as_by_the_command_line_with_names(
    published: Published, valkey: redis.Redis
) -> None:
    expected = Recommender(valkey, NAMESPACE).recommend(5, 7)

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        answer = await get(client, "/users/5/recommendations?limit=7")
        assert ids(answer) == [item.track_id for item in expected.items]
        assert [item["score"] for item in answer["items"]] == pytest.approx(
            [item.score for item in expected.items], rel=1e-5
        )
        first = answer["items"][0]
        assert first["name"] == f"Track {first['track_id']}"
        assert first["artist"] == f"Artist {first['track_id'] % 7}"
        assert answer["user_id"] == 5
        assert (answer["tier"], answer["generation"]) == ("cached top-N", expected.generation)
        assert answer["model_version"] == expected.model_version
        assert "degraded" not in answer

    with_client(published.stores, published.home, ask)


@pytest.mark.parametrize(
    ("query", "allowed"),
    [
        ("genre=1", set(range(100, 120))),
        ("genre=GENRE%20%202", set(range(120, 150))),
        ("genre=1&genre=2", set(range(100, 150))),
        ("genre=1,genre%202", set(range(100, 150))),
        ("exclude=112,113&exclude=126", set(range(100, 150)) - {112, 113, 126}),
    ],
)
def test_filters_still_return_as_many_as_there_are(
    published: Published, world: World, query: str, allowed: set[int]
) -> None:
    """First of the cached list, then live, then what is popular."""
    possible = allowed - set(World.WITHDRAWN) - world.heard_by(5)

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        answer = await get(client, f"/users/5/recommendations?limit=100&{query}")
        found = ids(answer)
        assert set(found) == possible
        assert len(found) == len(set(found))
        order = ["cached top-N", "live fold-in", "popular in genre", "popular"]
        assert tiers(answer) == [tier for tier in order if tier in tiers(answer)]
        assert tiers(answer)[0] == answer["tier"] == "cached top-N"

    with_client(published.stores, published.home, ask)


def test_a_genre_of_which_the_list_holds_too_few_is_filled_live(
    published: Published, valkey: redis.Redis
) -> None:
    recommender = Recommender(valkey, NAMESPACE)
    held = [item.track_id for item in recommender.recommend(5, 100).items]
    in_genre = [track for track in held if track < 120]
    key = key_of(NAMESPACE, recommender.recommend(5).generation, "u", 5)
    value = valkey.get(key)
    assert isinstance(value, bytes)
    whole = decode_list(value)
    valkey.set(key, encode_list(whole.ids[:8], whole.scores[:8]), keepttl=True)
    kept = len([track for track in held[:8] if track < 120])
    assert 0 < kept < len(in_genre)

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        answer = await get(client, f"/users/5/recommendations?limit={len(in_genre)}&genre=1")
        # The live ranking goes on where the list ends: it is the same rule.
        assert ids(answer) == in_genre
        cached = [item["tier"] == "cached top-N" for item in answer["items"]]
        assert cached == [place < kept for place in range(len(in_genre))]
        assert tiers(answer) == ["cached top-N", "live fold-in"]

    with_client(published.stores, published.home, ask)


def test_at_most_so_many_tracks_of_an_artist_and_still_enough(published: Published) -> None:
    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        answer = await get(client, "/users/5/recommendations?limit=14&per_artist=2")
        artists = [item["artist"] for item in answer["items"]]
        assert len(artists) == 14
        assert max(artists.count(artist) for artist in artists) == 2

    with_client(published.stores, published.home, ask)


def test_all_of_several_genres_is_narrower_than_any(fresh: Published) -> None:
    with fresh.stores.warehouse.connect() as connection:
        connection.execute(
            "INSERT INTO track_genres (genre_id, track_id) VALUES (2, 105), (2, 106)"
        )

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        query = "limit=100&genre=1&genre=2&genre_match=all"
        assert set(ids(await get(client, f"/tracks/popular?{query}"))) == {105, 106}
        assert set(ids(await get(client, f"/users/999/recommendations?{query}"))) == {105, 106}

    with_client(fresh.stores, fresh.home, ask)


def test_repeats_may_hold_what_was_heard_and_without_them_no_tier_does(
    published: Published, world: World
) -> None:
    heard = world.heard_by(5)

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        plain = await get(client, "/users/5/recommendations?limit=100")
        again = await get(client, "/users/5/recommendations?limit=100&repeats=true")
        assert not heard & set(ids(plain))
        assert heard - set(World.WITHDRAWN) <= set(ids(again))

    with_client(published.stores, published.home, ask)


def test_cold_users_get_their_stated_genres_first(published: Published) -> None:
    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        both = await get(client, "/users/70/recommendations?limit=10")
        assert tiers(both) == ["popular in favourite genres"]
        without_tracks = await get(client, "/users/71/recommendations?limit=10")
        assert tiers(without_tracks) == ["popular"]
        unknown = await get(client, "/users/-9223372036854775808/recommendations")
        assert (tiers(unknown), len(ids(unknown))) == (["popular"], 20)

    with_client(published.stores, published.home, ask)


def test_stated_genres_hold_when_redis_has_lost_everything(
    fresh: Published, valkey: redis.Redis
) -> None:
    with fresh.stores.warehouse.connect() as connection:
        connection.execute("DELETE FROM user_favorite_genres WHERE user_id = 70 AND genre_id = 1")

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        valkey.flushall()
        answer = await get(client, "/users/70/recommendations?limit=10")
        assert answer["tier"] == "popular in favourite genres"
        assert all(120 <= track < 150 for track in ids(answer))

    with_client(fresh.stores, fresh.home, ask)


def test_without_a_generation_the_live_ranking_is_the_published_one(
    published: Published, valkey: redis.Redis
) -> None:
    expected = Recommender(valkey, NAMESPACE).recommend(5, 20)
    again = Recommender(valkey, NAMESPACE).recommend(5, 20, repeats=True)

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        valkey.flushall()
        for path, listed in (("limit=20", expected), ("limit=20&repeats=1", again)):
            answer = await get(client, f"/users/5/recommendations?{path}")
            assert answer["tier"] == "live fold-in"
            scores = np.array([item["score"] for item in answer["items"]])
            cached = np.array([item.score for item in listed.items])
            assert np.allclose(scores, cached, rtol=2e-3, atol=1e-4)
            assert len(set(ids(answer)) & {item.track_id for item in listed.items}) >= 19

    with_client(published.stores, published.home, ask)


def test_removed_tracks_appear_from_no_tier(fresh: Published, valkey: redis.Redis) -> None:
    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        paths = [
            "/users/5/recommendations?limit=100",
            "/users/5/recommendations?limit=100&repeats=true&explain=true",
            "/users/70/recommendations?limit=100",
            "/users/999/recommendations?limit=100",
            "/tracks/102/similar?limit=100",
            "/tracks/popular?limit=100",
            "/tracks/popular?limit=100&genre=1",
        ]
        before = {path: set(ids(await get(client, path))) for path in paths}
        with fresh.stores.warehouse.connect() as connection:
            connection.execute("UPDATE tracks SET withdrawn_at = now() WHERE id = 116")
            connection.execute("INSERT INTO blocklist (artist) VALUES ('artist 0')")
        api.refresher.from_postgres()
        gone = {116, *World.WITHDRAWN, *(track for track in range(100, 150) if track % 7 == 0)}
        for _ in range(2):
            for path in paths:
                found = set(ids(await get(client, path)))
                assert before[path] & gone, path
                assert found, path
                assert not found & gone, path
            valkey.flushall()

    with_client(fresh.stores, fresh.home, ask)


@pytest.mark.parametrize("flushed", [False, True])
@pytest.mark.parametrize("query", ["", "?exclude=1", "?repeats=true"])
def test_a_withdrawn_users_listens_are_not_used(
    fresh: Published, valkey: redis.Redis, query: str, flushed: bool
) -> None:
    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        if flushed:
            valkey.flushall()
        path = f"/users/5/recommendations{query}"
        before = "live fold-in" if flushed else "cached top-N"
        assert (await get(client, path))["tier"] == before
        with fresh.stores.warehouse.connect() as connection:
            connection.execute("UPDATE users SET withdrawn_at = now() WHERE id = 5")
        api.refresher.from_postgres()
        assert (await get(client, path))["tier"] == "popular"

    with_client(fresh.stores, fresh.home, ask)


def test_similar_tracks_are_cached_then_of_the_factors_then_of_the_genre(
    published: Published, valkey: redis.Redis
) -> None:
    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        cached = await get(client, "/tracks/102/similar?limit=20")
        assert tiers(cached) == ["cached similar"]
        valkey.flushall()
        live = await get(client, "/tracks/102/similar?limit=20")
        assert tiers(live) == ["live factors"]
        assert len(set(ids(live)) & set(ids(cached))) >= 19
        unheard = await get(client, f"/tracks/{World.NEVER_HEARD}/similar?limit=5")
        assert tiers(unheard) == ["popular in genre"]
        assert all(120 <= track < 149 for track in ids(unheard))
        unknown = await get(client, "/tracks/5/similar?limit=5")
        assert tiers(unknown) == ["popular"]
        everything = await get(client, "/tracks/102/similar?limit=100")
        assert 102 not in ids(everything)
        assert len(ids(everything)) == 47

    with_client(published.stores, published.home, ask)


def test_a_new_generation_is_read_from_the_next_request_on(
    published: Published, valkey: redis.Redis
) -> None:
    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        first = await get(client, "/users/5/recommendations")
        name = published.publish(valkey)
        second = await get(client, "/users/5/recommendations")
        assert first["generation"] != second["generation"] == name
        assert second["tier"] == "cached top-N"

    with_client(published.stores, published.home, ask)


@pytest.mark.parametrize("value", [b"", b"\x09" * 40, b"\x01\x42"])
def test_a_damaged_or_unknown_value_is_a_miss_and_counted(
    published: Published, valkey: redis.Redis, value: bytes
) -> None:
    name = valkey.get(current_key(NAMESPACE))
    assert isinstance(name, bytes)
    valkey.set(key_of(NAMESPACE, name.decode(), "u", 5), value, keepttl=True)

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        assert api.metrics is not None
        answer = await get(client, "/users/5/recommendations")
        assert (answer["tier"], len(ids(answer))) == ("live fold-in", 20)
        read = api.metrics.registry.get_sample_value
        assert read("moovitamix_cache_reads_total", {"result": "damaged"}) == 1

    with_client(published.stores, published.home, ask)


def test_listens_that_weigh_most_are_told_and_are_the_users_own(
    published: Published, world: World
) -> None:
    heard = world.heard_by(5)

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        answer = await get(client, "/users/5/recommendations?limit=5&explain=true")
        for item in answer["items"]:
            assert 1 <= len(item["because"]) <= 3
            assert {listen["track_id"] for listen in item["because"]} <= heard
            adds = [listen["adds"] for listen in item["because"]]
            assert adds == sorted(adds, reverse=True)
            assert all(listen["name"] for listen in item["because"])
        unknown = await get(client, "/users/999/recommendations?limit=5&explain=true")
        assert all(not item.get("because") for item in unknown["items"])

    with_client(published.stores, published.home, ask)


def test_an_algorithm_of_popularity_ranks_nothing_by_factors(
    fresh: Published, valkey: redis.Redis
) -> None:
    with fresh.stores.warehouse.connect() as connection:
        connection.execute("UPDATE model_versions SET algorithm = 'popularity'")

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        valkey.flushall()
        answer = await get(client, "/users/5/recommendations?limit=10")
        assert answer["tier"] == "popular"

    with_client(fresh.stores, fresh.home, ask)


def test_with_too_much_to_rank_live_what_is_popular_answers(
    published: Published, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        valkey.flushall()
        monkeypatch.setattr(beside, "WAITING", 0)
        answer = await get(client, "/users/5/recommendations?limit=10")
        assert (answer["tier"], len(ids(answer))) == ("popular", 10)

    with_client(published.stores, published.home, ask)


def test_nothing_anywhere_is_said_clearly(published: Published, valkey: redis.Redis) -> None:
    valkey.flushall()

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        answer = await get(client, "/users/5/recommendations")
        assert (answer["items"], answer["tier"]) == ([], "nothing yet")
        ready = await client.get("/health/ready")
        assert (ready.status_code, ready.json()["status"]) == (503, "nothing to serve")

    with_client(published.stores, published.home, ask, ready=lambda _: None)
