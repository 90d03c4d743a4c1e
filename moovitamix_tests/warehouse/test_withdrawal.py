"""What is gone from a complete pull is withdrawn, and back when a later pull sees it again."""

from __future__ import annotations

from moovitamix.errors import SourceContractError
from moovitamix.ingest.lake import LakeStore
from moovitamix.resources import Warehouse
from moovitamix.serve.catalogue import read_catalogue
from moovitamix_tests.ingest.pulling import a_track, a_user, at, pull_at
from moovitamix_tests.reference_source import ReferenceSource
from moovitamix_tests.warehouse.loading import (
    give_verdicts,
    load,
    november,
    publish_days,
    rows_of,
    stage_days,
)

TRACKS = "SELECT id, withdrawn_at FROM tracks WHERE withdrawn_at IS NOT NULL"
USERS = "SELECT id, withdrawn_at FROM users WHERE withdrawn_at IS NOT NULL"


def test_the_publication_after_a_pull_withdraws_what_is_gone_and_brings_back_what_returned(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    pull_at(lake, small)
    load(warehouse, lake, *range(1, 21))
    assert rows_of(warehouse, TRACKS) == rows_of(warehouse, USERS) == []
    track, user = small.tracks.pop(1), small.users.pop(1)
    pull_at(lake, small, at(22))
    outcome = load(warehouse, lake, 21)
    assert outcome.withdrawals == {"tracks": 1, "users": 1}
    assert rows_of(warehouse, TRACKS) == rows_of(warehouse, USERS) == [(2, at(22))]
    assert read_catalogue(warehouse).withdrawn.tolist() == [2]
    assert read_catalogue(warehouse).withdrawn_users.tolist() == [2]

    pull_at(lake, small, at(23))
    assert load(warehouse, lake, 22).withdrawals == {"tracks": 0, "users": 0}
    assert rows_of(warehouse, TRACKS) == [(2, at(22))], "since the first pull that missed it"

    small.tracks.append(track)
    small.users.append(user)
    pull_at(lake, small, at(24))
    load(warehouse, lake, 23)
    assert rows_of(warehouse, TRACKS) == rows_of(warehouse, USERS) == []


def test_what_is_loaded_after_it_has_gone_is_withdrawn_at_once(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    pull_at(lake, small)
    small.tracks.pop(1)
    pull_at(lake, small, at(22))
    load(warehouse, lake, 12)
    assert rows_of(warehouse, TRACKS) == [(2, at(22))], "its listens name it still"


def test_a_publication_that_comes_late_does_not_bring_back_what_a_newer_pull_misses(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    pull_at(lake, small)
    days = [november(12)]
    stage_days(warehouse, lake, days, "slow")
    give_verdicts(warehouse, days, "slow")
    small.tracks.pop(1)
    newer = LakeStore(lake.url + "-newer")
    for name in [*lake.names("raw"), *lake.names("pulls")]:
        newer.write_bytes(name, lake.read_bytes(name))
    pull_at(newer, small, at(22))
    load(warehouse, newer, *range(1, 22))
    publish_days(warehouse, lake, days, "slow")
    assert rows_of(warehouse, TRACKS) == [(2, at(22))]


def test_when_every_day_is_blocked_nothing_is_withdrawn(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    pull_at(lake, small)
    load(warehouse, lake, *range(1, 21))
    small.tracks.pop(1)
    pull_at(lake, small, at(22))
    load(warehouse, lake, 21, bad=[21])
    assert rows_of(warehouse, TRACKS) == []


def test_another_world_withdraws_nobody(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    pull_at(lake, small)
    load(warehouse, lake, *range(1, 21))
    small.tracks = [a_track(11, at(5)), a_track(12, at(5))]
    small.users = [a_user(11, at(6))]
    try:
        pull_at(lake, small, at(22))
    except SourceContractError:
        load(warehouse, lake, *range(1, 21))
    assert rows_of(warehouse, TRACKS) == rows_of(warehouse, USERS) == []
