"""The reference source has the traps it is there for."""

from collections.abc import Iterator
from datetime import datetime

import httpx
import pytest

from moovitamix_tests.reference_source import FAVORITE_GENRES, ReferenceSource

NOW = datetime.fromisoformat("2026-11-23T12:00:00")


@pytest.fixture(scope="module")
def source() -> Iterator[ReferenceSource]:
    with ReferenceSource(seed=1, now=NOW) as running:
        yield running


def read_all(source: ReferenceSource, endpoint: str) -> list[dict[str, object]]:
    items: list[dict[str, object]] = []
    with httpx.Client(base_url=source.url) as client:
        page = 1
        while True:
            answer = client.get(f"/{endpoint}", params={"page": page}).json()
            assert answer["total"] == 1000
            items += answer["items"]
            if page == answer["pages"]:
                return items
            page += 1


def test_every_endpoint_serves_its_thousand_records_over_http(source: ReferenceSource) -> None:
    assert read_all(source, "tracks") == source.tracks
    assert read_all(source, "users") == source.users
    assert read_all(source, "listen_history") == source.listens


def test_a_quarter_of_tracks_and_users_was_updated_before_it_was_created(
    source: ReferenceSource,
) -> None:
    for records in (source.tracks, source.users):
        backdated = sum(record["updated_at"] < record["created_at"] for record in records)
        assert backdated == 260


def test_emails_and_track_names_repeat(source: ReferenceSource) -> None:
    assert len({user["email"] for user in source.users}) == 997
    assert len({track["name"] for track in source.tracks}) == 626


def test_about_half_of_the_listens_come_before_the_account(source: ReferenceSource) -> None:
    since = {user["id"]: user["created_at"] for user in source.users}
    known = [listen for listen in source.listens if listen["user_id"] is not None]
    early = sum(listen["created_at"] < since[listen["user_id"]] for listen in known)
    assert 0.42 < early / len(known) < 0.58


def test_favourite_genres_are_seventeen_names_that_track_genres_do_not_meet(
    source: ReferenceSource,
) -> None:
    favourites = {user["favorite_genres"] for user in source.users}
    assert favourites == set(FAVORITE_GENRES)
    assert len(favourites) == 17
    assert {"Hip Hop", "R&B"} < favourites
    assert not favourites & {track["genres"] for track in source.tracks}


def test_every_user_has_one_record_of_five_known_tracks_but_for_a_few_nulls(
    source: ReferenceSource,
) -> None:
    user_ids = [listen["user_id"] for listen in source.listens]
    assert user_ids.count(None) == 3
    assert len(set(user_ids)) == 998
    without_items = [listen for listen in source.listens if listen["items"] is None]
    assert len(without_items) == 4
    tracks = {track["id"] for track in source.tracks}
    for listen in source.listens:
        assert listen["items"] is None or (len(listen["items"]) == 5)
        assert tracks.issuperset(listen["items"] or ())


def test_ids_are_sparse_and_times_lie_in_the_measured_range(source: ReferenceSource) -> None:
    for records in (source.tracks, source.users):
        ids = [record["id"] for record in records]
        assert len(set(ids)) == 1000
        assert ids != sorted(ids)
        assert min(ids) >= 1
        assert 90_000 < max(ids) <= 100_000
    for record in (*source.tracks, *source.users, *source.listens):
        for field in ("created_at", "updated_at"):
            assert "2025-04-01" <= record[field] <= NOW.isoformat()


def test_bad_pages_and_sizes_are_refused_and_the_page_past_the_end_is_empty(
    source: ReferenceSource,
) -> None:
    with httpx.Client(base_url=source.url) as client:
        for query in ("page=0", "size=0", "size=101", "page=x"):
            assert client.get(f"/users?{query}").status_code == 422
        past = client.get("/users?page=11")
    assert past.status_code == 200
    assert past.json() == {"items": [], "total": 1000, "page": 11, "size": 100, "pages": 10}


def test_equal_seeds_make_equal_data_and_others_do_not() -> None:
    first, same, other = (ReferenceSource(seed, now=NOW) for seed in (5, 5, 6))
    assert (first.tracks, first.users, first.listens) == (same.tracks, same.users, same.listens)
    assert first.tracks != other.tracks


def test_a_restart_keeps_the_totals_and_hardly_any_id() -> None:
    source = ReferenceSource(seed=3, now=NOW)
    before = {track["id"] for track in source.tracks}
    source.restart()
    assert len(source.tracks) == len(source.users) == len(source.listens) == 1000
    assert len(before & {track["id"] for track in source.tracks}) < 50


def test_edits_between_pulls_are_served_and_requests_are_counted() -> None:
    with ReferenceSource(seed=4, records=20, now=NOW) as source:
        source.users[0]["email"] = "new@example.org"
        del source.listens[10:]
        users = httpx.get(f"{source.url}/users").json()
        listens = httpx.get(f"{source.url}/listen_history?size=5").json()
        assert users["items"][0]["email"] == "new@example.org"
        assert (listens["total"], listens["pages"]) == (10, 2)
        assert source.requests == {"users": 1, "listen_history": 1}


def test_a_restart_in_the_middle_of_a_pull_gives_a_mix_of_both_worlds() -> None:
    with ReferenceSource(seed=4, records=200, now=NOW) as source:
        old = {user["id"] for user in source.users}
        source.on_request = lambda _, page: source.restart() if page == 2 else None
        with httpx.Client(base_url=source.url) as client:
            ids = [
                u["id"]
                for page in (1, 2)
                for u in client.get(f"/users?page={page}").json()["items"]
            ]
        assert old.issuperset(ids[:100])
        assert len(old.intersection(ids[100:])) < 10


def test_a_stopped_source_accepts_no_connection_and_may_start_again() -> None:
    source = ReferenceSource(records=20, now=NOW).start()
    url = source.url
    source.stop()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/tracks")
    with source:
        assert httpx.get(f"{source.url}/tracks").json()["total"] == 20
