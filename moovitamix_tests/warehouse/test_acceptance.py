"""A blocked day is published when its verdict was accepted, and only what was accepted is."""

from __future__ import annotations

from datetime import date

import pytest

from moovitamix.errors import NothingToDo
from moovitamix.ingest.lake import LakeStore
from moovitamix.resources import Warehouse
from moovitamix.warehouse.acceptance import accept, awaited_days, broken_rules
from moovitamix.warehouse.collapse import WHOLENESS_RULES
from moovitamix.warehouse.days import blocked_days, published_days
from moovitamix.warehouse.expectations import STAGED_EXPECTATIONS
from moovitamix_tests.ingest.pulling import a_track, a_user, at, pull_at
from moovitamix_tests.reference_source import ReferenceSource
from moovitamix_tests.warehouse.loading import contents, load, november, rows_of


def accept_day(warehouse: Warehouse, day: int) -> list[tuple[str, str]]:
    with warehouse.connect() as connection:
        return accept(connection, november(day), "Zoë")


def awaited(warehouse: Warehouse) -> set[date]:
    with warehouse.connect() as connection:
        return awaited_days(connection)


def test_every_rule_has_a_meaning_to_tell(warehouse: Warehouse) -> None:
    with warehouse.connect() as connection:
        meanings = {(rule.table, rule.name): rule.why for rule in STAGED_EXPECTATIONS}
        meanings |= {(rule.asset, rule.name): rule.why for rule in WHOLENESS_RULES}
        for table, rule in meanings:
            connection.execute(
                "INSERT INTO blocked_days (day, endpoint, check_name, pull) "
                "VALUES ('2026-11-06', %s, %s, 'p')",
                (table, rule),
            )
        found = broken_rules(connection)
    assert {(one.table, one.rule): one.why for one in found} == meanings


def test_an_accepted_day_is_published_and_who_accepted_it_stays_on_record(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    pull_at(lake, small)
    load(warehouse, lake, *range(1, 21), bad=[6])
    assert contents(warehouse)["user_favorite_genres"] == [(1, "r&b")], "brought by a listen"
    assert awaited(warehouse) == set()
    assert accept_day(warehouse, 6) == [("staged_users", "email_like")]
    assert awaited(warehouse) == {november(6)}

    outcome = load(warehouse, lake, 6, bad=[6])
    assert (outcome.published, outcome.accepted) == ([november(6)], [november(6)])
    assert [row[0] for row in contents(warehouse)["users"]] == [1, 2]
    assert awaited(warehouse) == set()
    recorded = rows_of(warehouse, "SELECT day, check_name, accepted_by FROM blocked_days")
    assert recorded == [(november(6), "email_like", "Zoë")]
    with warehouse.connect() as connection:
        assert broken_rules(connection) == []
        assert blocked_days(connection) == {}
    assert load(warehouse, lake, 5, 6, bad=[6]).withheld == [], "the same content stays accepted"


def test_an_acceptance_ends_with_the_content_that_it_was_for(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    pull_at(lake, small)
    load(warehouse, lake, *range(1, 21), bad=[6])
    accept_day(warehouse, 6)
    small.users[0] = a_user(1, at(6), at(21), first_name="Moved to another day")
    pull_at(lake, small, at(22))
    assert load(warehouse, lake, 6, bad=[6]).withheld == [november(6)]
    assert rows_of(warehouse, "SELECT accepted_by, accepted_at FROM blocked_days") == [(None, None)]
    with warehouse.connect() as connection:
        assert november(6) not in published_days(connection)


def test_a_newer_pull_of_the_same_day_leaves_the_acceptance(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    pull_at(lake, small)
    load(warehouse, lake, *range(1, 21), bad=[6])
    accept_day(warehouse, 6)
    small.tracks.append(a_track(3, at(21)))
    pull_at(lake, small, at(22))
    assert load(warehouse, lake, 6, bad=[6]).published == [november(6)]


def test_another_broken_rule_blocks_an_accepted_day_again(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    pull_at(lake, small)
    load(warehouse, lake, *range(1, 21), bad=[6])
    with warehouse.connect() as connection:
        connection.execute("UPDATE blocked_days SET check_name = 'id_unique'")
    accept_day(warehouse, 6)
    assert load(warehouse, lake, 6, bad=[6]).withheld == [november(6)]
    with warehouse.connect() as connection:
        assert blocked_days(connection) == {november(6): ["staged_users.email_like"]}


def test_a_rule_that_is_kept_again_is_forgotten(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    pull_at(lake, small)
    load(warehouse, lake, *range(1, 21), bad=[6])
    accept_day(warehouse, 6)
    load(warehouse, lake, 6)
    assert rows_of(warehouse, "SELECT * FROM blocked_days") == []


def test_a_published_day_that_a_newer_pull_has_blocked_awaits_its_publication_when_accepted(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    pull_at(lake, small)
    load(warehouse, lake, *range(1, 21))
    load(warehouse, lake, 6, bad=[6])
    assert awaited(warehouse) == set()
    accept_day(warehouse, 6)
    assert awaited(warehouse) == {november(6)}


def test_there_is_nothing_to_accept_of_a_good_day(warehouse: Warehouse) -> None:
    with pytest.raises(NothingToDo, match="days blocked"):
        accept_day(warehouse, 6)
