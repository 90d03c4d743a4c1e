"""Every table rule is broken by its fault and by no other."""

from __future__ import annotations

from typing import LiteralString

import psycopg
import pytest

from moovitamix.ingest.lake import LakeStore
from moovitamix.resources import Warehouse
from moovitamix.warehouse.table_rules import TABLE_RULES, count_broken
from moovitamix_tests.ingest.pulling import a_listen, a_track, a_user, at, empty, pull_at
from moovitamix_tests.reference_source import ReferenceSource
from moovitamix_tests.warehouse.loading import load

FAULTS: dict[tuple[str, str], tuple[LiteralString, ...]] = {
    ("tracks", "not_empty"): (
        "DELETE FROM listen_history",
        "DELETE FROM track_genres",
        "DELETE FROM tracks",
    ),
    ("users", "not_empty"): (
        "DELETE FROM listen_history",
        "DELETE FROM user_favorite_genres",
        "DELETE FROM users",
    ),
    ("genres", "names_folded"): ("UPDATE genres SET name = name || ' ' WHERE name = 'jazz'",),
    ("track_genres", "tracks_have_genres"): ("DELETE FROM track_genres WHERE track_id < 3",),
    ("user_favorite_genres", "users_have_favorites"): (
        "DELETE FROM user_favorite_genres WHERE user_id < 6",
    ),
    ("listen_history", "few_in_quarantine"): (
        (
            "INSERT INTO quarantine (endpoint, sha256, payload, day, pull, reason) "
            "SELECT 'listens', sha256(n::text::bytea), '', now(), 'p', '' "
            "FROM generate_series(1, 3) AS n"
        ),
    ),
}


@pytest.fixture
def loaded(warehouse: Warehouse, lake: LakeStore, source: ReferenceSource) -> Warehouse:
    """Twenty tracks and users, and twenty listens."""
    empty(source)
    source.tracks = [a_track(number, at(5), genres="Jazz,Hip Hop") for number in range(1, 21)]
    source.users = [a_user(number, at(6)) for number in range(1, 21)]
    source.listens = [a_listen(number, [number], at(12)) for number in range(1, 21)]
    pull_at(lake, source)
    load(warehouse, lake, *range(1, 21))
    return warehouse


def broken_rules(connection: psycopg.Connection) -> set[tuple[str, str]]:
    return {
        (rule.table, rule.name)
        for rule in TABLE_RULES
        if not rule.holds(*count_broken(connection, rule))
    }


def test_each_fault_breaks_its_rule_and_no_other(loaded: Warehouse) -> None:
    assert set(FAULTS) == {(rule.table, rule.name) for rule in TABLE_RULES}
    with loaded.connect() as connection:
        assert broken_rules(connection) == set(), "what was just loaded breaks none"
        for rule, statements in FAULTS.items():
            with connection.transaction(force_rollback=True):
                for statement in statements:
                    connection.execute(statement)
                assert broken_rules(connection) == {rule}


def test_a_share_that_is_allowed_breaks_no_rule(loaded: Warehouse) -> None:
    with loaded.connect() as connection:
        connection.execute("DELETE FROM track_genres WHERE track_id = 1")
        connection.execute("DELETE FROM user_favorite_genres WHERE user_id < 5")
        assert broken_rules(connection) == set()
