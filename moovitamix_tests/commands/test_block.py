"""`block …`, as one types it, and what the lists are without from then on."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import click
import numpy as np
import pytest
import redis

from moovitamix.errors import NothingToDo
from moovitamix.main_job import MainJob
from moovitamix.resources import Warehouse
from moovitamix.serve.catalogue import read_catalogue
from moovitamix.serve.publish import publish_generation
from moovitamix.serve.recommender import Recommender
from moovitamix.settings import get_settings
from moovitamix.warehouse.blocklist import block, changed_since, unblock
from moovitamix_tests.commands.conftest import Command
from moovitamix_tests.serve.world import World, load_catalogue, make_world

MADE = datetime.now(UTC) + timedelta(days=1)  # after whatever a test enters
DAY = date(2026, 11, 20)


@pytest.fixture
def world(warehouse: Warehouse) -> World:
    """Tracks 100 to 149 of the artists 0 to 6, of which 101 and 141 are withdrawn."""
    world = make_world()
    load_catalogue(warehouse, world.catalogue)
    return world


def left_out(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, now: str) -> list[int]:
    monkeypatch.setenv("MOOVITAMIX_NOW", now)
    get_settings.cache_clear()
    return [int(track) for track in read_catalogue(warehouse).withdrawn]


@pytest.mark.parametrize("algorithm", ["als", "popularity"])
def test_blocked_tracks_and_artists_are_in_no_list_of_the_next_generation(
    command: Command, warehouse: Warehouse, valkey: redis.Redis, world: World, algorithm: str
) -> None:
    assert command("block", "track", "110", "--reason", "Claimed").exit_code == 0
    told = command("block", "artist", " aRTist   3 ")
    of_artist = {track for track in range(100, 150) if track % 7 == 3}
    assert f"{len(of_artist)} tracks of the warehouse" in told.output
    assert "moovitamix run" in told.output
    blocked = {110, *of_artist}

    catalogue = read_catalogue(warehouse)
    assert set(catalogue.withdrawn.tolist()) == blocked | set(World.WITHDRAWN)
    publish_generation(
        valkey,
        "b",
        champion=world.under(algorithm).champion,
        matrix=world.matrix,
        catalogue=catalogue,
        tell=lambda _: None,
    )
    reader = Recommender(valkey, "b")
    lists = [reader.recommend(user, 100).items for user in (1, 2, World.NEWCOMER, 70, 72, 9_999)]
    lists += [reader.similar(track, 100).items for track in world.champion.model.tracks.tolist()]
    lists += [reader.popular(genre, 100).items for genre in (None, 1, 2)]
    for items in lists:
        assert items
        assert not blocked & {item.track_id for item in items}


def test_an_entry_counts_up_to_its_last_day(
    warehouse: Warehouse, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(world.catalogue.tracks)
    with warehouse.connect() as connection:
        assert block(connection, track=110, until=DAY) == 1
    assert left_out(warehouse, monkeypatch, "2026-11-20T23:59:59") == [101, 110, 141]
    assert left_out(warehouse, monkeypatch, "2026-11-21T00:00") == [101, 141]


def test_what_was_removed_does_not_count_and_can_be_blocked_again(
    command: Command, warehouse: Warehouse, world: World
) -> None:
    assert np.isin(110, world.catalogue.tracks)
    assert isinstance(command("block", "remove", "track", "110").exception, NothingToDo)
    assert "Nothing is blocked" in command("block", "list").output
    command("block", "track", "110")
    command("block", "track", "110", "--reason", "[i]Twice[/i]", "--until", "2100-01-01")
    command("block", "artist", "Nobody")
    shown = " ".join(command("block", "list").output.split())
    assert shown.count("track 110") == 1
    assert "artist nobody 0" in shown
    assert "2100-01-01 [i]Twice[/i]" in shown
    assert command("block", "remove", "track", "110").exit_code == 0
    assert command("block", "remove", "artist", "NOBODY").exit_code == 0
    assert "Nothing is blocked" in command("block", "list").output
    assert read_catalogue(warehouse).withdrawn.tolist() == [101, 141]
    assert command("block", "track", "110").exit_code == 0
    assert read_catalogue(warehouse).withdrawn.tolist() == [101, 110, 141]


def test_an_entry_that_could_not_count_is_refused(command: Command) -> None:
    assert isinstance(
        command("block", "track", "1", "--until", "2000-01-01").exception, NothingToDo
    )
    assert command("block", "artist", "  ").exit_code == click.UsageError.exit_code
    assert "Nothing is blocked" in command("block", "list").output


def changed(warehouse: Warehouse, moment: datetime, *, day: date = DAY, today: date = DAY) -> bool:
    with warehouse.connect() as connection:
        return changed_since(connection, moment, day=day, today=today)


def test_lists_are_made_again_when_an_entry_comes_goes_or_runs_out(warehouse: Warehouse) -> None:
    before = datetime.now(UTC) - timedelta(hours=1)
    assert not changed(warehouse, before)
    with warehouse.connect() as connection:
        block(connection, track=110, until=DAY)
    assert changed(warehouse, before)
    assert not changed(warehouse, MADE)
    assert changed(warehouse, MADE, today=DAY + timedelta(days=1))
    assert not changed(warehouse, MADE, day=DAY + timedelta(days=1), today=DAY + timedelta(days=2))
    with warehouse.connect() as connection:
        unblock(connection, track=110)
        connection.execute("UPDATE blocklist SET blocked_at = '2020-01-01'")
    assert changed(warehouse, before)
    assert not changed(warehouse, MADE, today=DAY + timedelta(days=1))


def test_a_run_takes_lists_from_before_a_change_for_outdated(
    command: Command, warehouse: Warehouse, valkey: redis.Redis, world: World
) -> None:
    publish_generation(
        valkey,
        warehouse.schema_name,
        champion=world.champion,
        matrix=world.matrix,
        catalogue=world.catalogue,
        tell=lambda _: None,
    )
    with warehouse.connect() as connection:
        connection.execute(
            "INSERT INTO published_days (day, pull, run_id, published_at) "
            "VALUES (%s, 'p', 'r', '2020-01-01')",
            (world.matrix.as_of,),
        )
    assert command("block", "list").exit_code == 0
    job = MainJob.__new__(MainJob)  # without Dagster, of which this decision needs nothing
    assert job._is_served(world.champion.version)
    command("block", "track", "110")
    assert not job._is_served(world.champion.version)
