"""A pull that misses a large part of a table withdraws nothing until somebody says that it may."""

from __future__ import annotations

import pytest

from moovitamix.ingest.contract import TRACKS
from moovitamix.ingest.lake import LakeStore
from moovitamix.ingest.pulls import gone_keys, newest_pull
from moovitamix.resources import Warehouse
from moovitamix.warehouse.acceptance import accept, note_missing
from moovitamix.warehouse.collapse import WHOLENESS_RULES, Missing, compare
from moovitamix.warehouse.days import blocked_days
from moovitamix.warehouse.judge import blocked_on
from moovitamix_tests.ingest.pulling import a_track, at, pull_at
from moovitamix_tests.reference_source import Record, ReferenceSource
from moovitamix_tests.warehouse.loading import load, november, rows_of

RULE = WHOLENESS_RULES[0]
WITHDRAWN = "SELECT id FROM tracks WHERE withdrawn_at IS NOT NULL"
BLOCKED = [f"{RULE.asset}.{RULE.name}"]


@pytest.fixture
def lost(warehouse: Warehouse, lake: LakeStore, small: ReferenceSource) -> list[Record]:
    """The 21 of sixty loaded tracks that the pull of the 22nd misses."""
    small.tracks = [a_track(number, at(5)) for number in range(1, 61)]
    pull_at(lake, small)
    load(warehouse, lake, *range(1, 21))
    missing, small.tracks = small.tracks[39:], small.tracks[:39]
    pull_at(lake, small, at(22))
    return missing


def may_go_on(warehouse: Warehouse, lake: LakeStore) -> bool:
    """The check's verdict on the newest pull, written down as it does."""
    newest = newest_pull(lake)
    assert newest is not None
    with warehouse.connect() as connection:
        missing = compare(connection, RULE.table, gone_keys(lake, TRACKS, newest))
        return note_missing(connection, RULE, missing, day=newest.over, pull=newest.name)


def blocked(warehouse: Warehouse) -> dict[int, list[str]]:
    with warehouse.connect() as connection:
        return {day.day: rules for day, rules in blocked_days(connection).items()}


@pytest.mark.parametrize(
    ("present", "missing", "collapsed"),
    [(10, 10, False), (100, 20, False), (100, 21, True), (900, 90, False), (900, 91, True)],
)
def test_more_than_a_tenth_and_more_than_a_few_are_a_collapse(
    present: int, missing: int, collapsed: bool
) -> None:
    assert Missing(present, missing, "").collapsed == collapsed


def test_whatever_publishes_refuses_to_withdraw_so_much(
    warehouse: Warehouse, lake: LakeStore, lost: list[Record]
) -> None:
    outcome = load(warehouse, lake, 21)
    assert (outcome.published, outcome.withheld) == ([november(21)], [])
    assert outcome.spared == {"tracks": len(lost), "users": 0}
    assert outcome.withdrawals == {"tracks": 0, "users": 0}
    assert rows_of(warehouse, WITHDRAWN) == []


def test_the_last_day_of_the_pull_is_blocked_until_a_whole_pull_comes(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource, lost: list[Record]
) -> None:
    assert not may_go_on(warehouse, lake)
    assert blocked(warehouse) == {21: BLOCKED}
    load(warehouse, lake, 21)
    assert blocked(warehouse) == {21: BLOCKED}, "that its day is published does not mend the pull"
    newest = newest_pull(lake)
    assert newest is not None
    with warehouse.connect() as connection:
        assert blocked_on(connection, newest.name, [november(3)]), "any day takes another pull"

    pull_at(lake, small, at(23))
    assert not may_go_on(warehouse, lake), "what the pull before it missed as well is missing still"
    assert blocked(warehouse) == {22: BLOCKED}, "one entry, that of the newest pull"

    small.tracks += lost[1:]
    pull_at(lake, small, at(24))
    assert may_go_on(warehouse, lake)
    assert blocked(warehouse) == {}
    assert load(warehouse, lake, 23).withdrawals["tracks"] == 1


def test_what_was_accepted_is_withdrawn_by_a_later_pull_too_and_nothing_more_is(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource, lost: list[Record]
) -> None:
    assert not may_go_on(warehouse, lake)
    with warehouse.connect() as connection:
        assert accept(connection, november(21), "Zoë") == [(RULE.asset, RULE.name)]
    assert may_go_on(warehouse, lake)
    one_more = small.tracks.pop()
    pull_at(lake, small, at(23))
    assert not may_go_on(warehouse, lake)
    assert load(warehouse, lake, 22).spared["tracks"] == len(lost) + 1
    small.tracks.append(one_more)
    pull_at(lake, small, at(24))
    assert may_go_on(warehouse, lake)
    assert load(warehouse, lake, 23).withdrawals["tracks"] == len(lost)
    assert len(rows_of(warehouse, WITHDRAWN)) == len(lost)
    assert may_go_on(warehouse, lake), "what is withdrawn is not missing any more"


def test_a_first_load_withdraws_whatever_has_gone_before_it(
    warehouse: Warehouse, lake: LakeStore, lost: list[Record]
) -> None:
    with warehouse.connect() as connection:
        connection.execute("TRUNCATE tracks, published_days CASCADE")
    assert may_go_on(warehouse, lake)
    assert load(warehouse, lake, *range(1, 22)).withdrawals["tracks"] == len(lost)
