"""What the stage reads from Postgres: the catalogue and names."""

from __future__ import annotations

from polars.testing import assert_frame_equal

from moovitamix.resources import Warehouse
from moovitamix.serve.catalogue import read_catalogue
from moovitamix.serve.names import TrackName, track_names
from moovitamix_tests.serve.world import World, load_catalogue


def test_the_catalogue_is_read_as_it_was_loaded(warehouse: Warehouse, world: World) -> None:
    load_catalogue(warehouse, world.catalogue)
    found = read_catalogue(warehouse)
    assert found.tracks.tolist() == world.catalogue.tracks.tolist()
    assert found.withdrawn.tolist() == list(World.WITHDRAWN)
    assert_frame_equal(found.track_genres, world.catalogue.track_genres)
    assert_frame_equal(found.favorite_genres, world.catalogue.favorite_genres)


def test_an_empty_warehouse_has_an_empty_catalogue(warehouse: Warehouse) -> None:
    found = read_catalogue(warehouse)
    assert (len(found.tracks), len(found.withdrawn)) == (0, 0)
    assert found.track_genres.is_empty()
    assert found.favorite_genres.is_empty()


def test_names_are_found_by_id_and_unknown_ids_left_out(warehouse: Warehouse, world: World) -> None:
    load_catalogue(warehouse, world.catalogue)
    assert track_names(warehouse, [141, 100, 99_999]) == {
        100: TrackName("Track 100", "Artist 2"),
        141: TrackName("Track 141", "Artist 1"),
    }
    assert track_names(warehouse, []) == {}
