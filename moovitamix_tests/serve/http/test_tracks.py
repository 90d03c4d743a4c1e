"""The name table tells each track as it is called, and finds genres by any spelling."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moovitamix.serve.http import snapshot
from moovitamix.serve.http.tracks import NO_TRACKS, Tracks, tell_tracks
from moovitamix.serve.http.world import Counts, World

IDS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def told(tracks: Tracks, ids: list[int]) -> list[dict[str, object]]:
    return [json.loads(b"{%b}" % members) for members in tracks.members(np.array(ids, np.int64))]


@given(st.dictionaries(IDS, st.tuples(TEXTS, TEXTS), max_size=20), st.lists(IDS, max_size=5))
def test_every_track_is_told_by_its_own_names_and_others_by_null(
    catalogue: dict[int, tuple[str, str]], others: list[int]
) -> None:
    rows = [(track, *names) for track, names in sorted(catalogue.items())]
    tracks = tell_tracks(rows, [], np.empty((0, 2), np.int64))
    asked = [*catalogue, *others]
    none = (None, None)
    expected = [
        {"track_id": track, "name": names[0], "artist": names[1]}
        for track, names in ((track, catalogue.get(track, none)) for track in asked)
    ]
    assert told(tracks, asked) == expected


@given(
    st.sets(st.integers(0, 15), max_size=10),
    st.sets(st.tuples(st.integers(0, 5), st.integers(0, 15)), max_size=40),
    st.lists(st.integers(0, 4), min_size=1, max_size=3),
)
def test_tracks_are_in_any_or_every_genre(
    known: set[int], pairs: set[tuple[int, int]], asked: list[int]
) -> None:
    genres = [(genre, f"genre {genre}") for genre in range(5)]
    rows = [(track, "", "") for track in sorted(known)]
    tracks = tell_tracks(rows, genres, np.array(sorted(pairs), np.int64).reshape(-1, 2))
    of = {genre: {track for g, track in pairs if g == genre} & known for genre in range(6)}
    found = [tracks.genre(str(genre)) for genre in asked]
    assert found == asked
    for every, join in ((False, set.union), (True, set.intersection)):
        expected = join(*(of[genre] for genre in asked))
        assert set(tracks.ids[tracks.in_genres(asked, every=every)].tolist()) == expected
    for place, track in enumerate(sorted(known)):
        assert set(tracks.genres_of(place)) == {g for g in range(5) if track in of[g]}


@pytest.mark.parametrize("wanted", ["hip hop", " Hip  HOP\t", "7"])
def test_a_genre_is_found_by_name_or_id(wanted: str) -> None:
    tracks = tell_tracks([], [(3, "rock"), (7, "hip hop")], np.empty((0, 2), np.int64))
    assert tracks.genre(wanted) == 1
    assert tracks.genre("jazz") is None
    assert tracks.genre("8") is None
    assert tracks.genre("9" * 30) is None


def test_artists_are_one_whatever_their_case() -> None:
    rows = [(1, "a", "Bao Oliveira"), (2, "b", "bao  oliveira "), (3, "c", "Bao")]
    artists = tell_tracks(rows, [], np.empty((0, 2), np.int64)).artists.tolist()
    assert artists[0] == artists[1] != artists[2]


def test_a_world_comes_back_from_disk_as_it_was(tmp_path: Path) -> None:
    world = World()
    world.tracks = tell_tracks(
        [(1, "eins", "x"), (4, 'a "quote"', "y")], [(2, "rock")], np.array([[2, 4]])
    )
    world.counts = Counts(np.array([4, 9]), np.array([3, 5], np.float32))
    world.by_genre = {2: Counts(np.array([4]), np.array([3], np.float32))}
    world.removed = frozenset({1})
    world.rank()
    path = snapshot.snapshot_path(tmp_path, "mvx")
    snapshot.save(path, world)
    back = World()
    assert snapshot.load(path, back)
    assert told(back.tracks, [1, 4]) == told(world.tracks, [1, 4])
    assert back.ranking.ids.tolist() == world.ranking.ids.tolist() == [9, 4, 1]
    assert back.by_genre[2].ids.tolist() == [4]
    assert back.removed == {1}
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04"])
def test_a_damaged_snapshot_is_as_none(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "mvx.snapshot.npz"
    if content is not None:
        path.write_bytes(content)
    world = World()
    assert not snapshot.load(path, world)
    assert world.tracks is NO_TRACKS
