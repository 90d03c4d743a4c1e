"""What is lost from the tables, or put into them by hand, is found by comparing with the lake."""

from __future__ import annotations

from typing import LiteralString

import pytest

from moovitamix.ingest.contract import LISTENS
from moovitamix.ingest.lake import LakeStore
from moovitamix.ingest.whose import key_text
from moovitamix.resources import Warehouse
from moovitamix.warehouse.reconcile import Reconciliation, reconcile
from moovitamix_tests.ingest.pulling import a_listen, a_user, at, pull_at
from moovitamix_tests.reference_source import ReferenceSource
from moovitamix_tests.warehouse.loading import load
from moovitamix_tests.warehouse.test_table_rules import broken_rules

CHECK = ("listen_history", "counts_reconcile")

ADD_A_ROW: LiteralString = """
INSERT INTO listen_history (user_id, track_id, listened_at, recorded_at, nth)
VALUES (2, 2, '2026-11-12 08:00', '2026-11-12 08:00', 1)"""

# What somebody does to the tables by hand, and what is found.
FAULTS: dict[str, tuple[LiteralString, dict[str, int]]] = {
    "a row is deleted": (
        "DELETE FROM listen_history WHERE user_id = 1 AND track_id = 2",
        {"loaded": 3},
    ),
    "a row is added that no pull knows": (ADD_A_ROW, {"unknown": 1}),
    "a play becomes another of its record": (
        "UPDATE listen_history SET nth = 7 WHERE user_id = 1 AND track_id = 2",
        {"loaded": 3, "unknown": 1},
    ),
    "a listen that waited is deleted": (
        "DELETE FROM quarantine WHERE endpoint = 'listens'",
        {"waiting": 0},
    ),
    "a record that broke the contract is deleted": (
        "DELETE FROM quarantine WHERE endpoint = 'listen_history'",
        {"set_aside": 0},
    ),
}
SOUND = {"dealt": 5, "loaded": 4, "waiting": 1, "rejected": 1, "set_aside": 1, "unknown": 0}


def found(warehouse: Warehouse, lake: LakeStore) -> Reconciliation:
    with warehouse.connect() as connection:
        return reconcile(connection, lake)


@pytest.fixture
def loaded(warehouse: Warehouse, lake: LakeStore, small: ReferenceSource) -> ReferenceSource:
    """Three plays of a record, one of another, one of an unknown track, a record of nobody."""
    small.listens += [a_listen(2, [1, 9], at(12)), a_listen(None, [1], at(12))]
    pull_at(lake, small)
    load(warehouse, lake, *range(1, 21))
    return small


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.usefixtures("loaded")
def test_what_is_done_to_the_tables_by_hand_is_found(
    warehouse: Warehouse, lake: LakeStore, fault: str
) -> None:
    assert found(warehouse, lake) == Reconciliation(**SOUND)
    assert found(warehouse, lake).reconciles
    statement, expected = FAULTS[fault]
    with warehouse.connect() as connection:
        broken_before = broken_rules(connection)
        connection.execute(statement)
        assert broken_rules(connection) <= broken_before, "no other check of the table finds it"
    after = found(warehouse, lake)
    assert after == Reconciliation(**(SOUND | expected))
    assert not after.reconciles


def test_late_and_grown_records_are_no_fault(
    warehouse: Warehouse, lake: LakeStore, loaded: ReferenceSource
) -> None:
    loaded.listens[0] = a_listen(1, [1, 2, 1, 2], at(12), at(21))
    loaded.listens.append(a_listen(2, [2], at(12, 9)))
    pull_at(lake, loaded, at(22))
    load(warehouse, lake, 21)
    assert found(warehouse, lake).reconciles
    # Loaded again, the day of their first contents lacks them, and has them in the tables.
    load(warehouse, lake, 12)
    again = found(warehouse, lake)
    assert (again.dealt, again.loaded, again.waiting, again.unknown) == (2, 1, 1, 0)


def test_what_a_later_pull_deals_to_the_days_is_not_missed_before_it_is_loaded(
    warehouse: Warehouse, lake: LakeStore, loaded: ReferenceSource
) -> None:
    loaded.users.append(a_user(8, at(13)))
    loaded.listens.append(a_listen(8, [1], at(13)))
    pull_at(lake, loaded, at(21, 13))
    assert found(warehouse, lake).reconciles
    assert load(warehouse, lake, 20).inserted["listen_history"] == 1
    assert found(warehouse, lake).dealt == 1


def test_before_anything_is_published_there_is_nothing_to_compare(
    warehouse: Warehouse, lake: LakeStore
) -> None:
    assert found(warehouse, lake).reconciles


@pytest.mark.usefixtures("loaded")
def test_what_a_retry_of_the_quarantine_has_loaded_is_no_fault(
    warehouse: Warehouse, lake: LakeStore
) -> None:
    sent = b'{"user_id": 2, "items": [2], "created_at": "2026-11-12T08:00:00"}'
    with warehouse.connect() as connection:
        connection.execute(ADD_A_ROW)
        connection.execute(
            "INSERT INTO quarantine "
            "(endpoint, sha256, payload, day, pull, reason, resolved_at, key) "
            "SELECT 'listen_history', sha256(%(sent)s), %(sent)s, '2026-11-20', 'p', '', now(), "
            "%(key)s",
            {"sent": sent, "key": key_text(LISTENS, sent)},
        )
    assert found(warehouse, lake).reconciles


def test_a_mended_record_that_was_no_json_for_postgres_is_no_fault(
    warehouse: Warehouse, lake: LakeStore, loaded: ReferenceSource
) -> None:
    """Whose day is loaded again beside one that has grown."""
    loaded.listens.append({**a_listen(2, [1], at(13)), "updated_at": "x\x00"})
    pull_at(lake, loaded, at(21, 13))
    load(warehouse, lake, 20)
    loaded.listens[-1] = a_listen(2, [1], at(13))
    loaded.listens[0] = a_listen(1, [1, 2, 1, 2], at(12), at(21))
    pull_at(lake, loaded, at(22))
    load(warehouse, lake, 21)
    load(warehouse, lake, 12)
    with warehouse.connect() as connection:
        resolved = "SELECT count(*) FROM quarantine WHERE endpoint = %s AND resolved_at IS NOT NULL"
        assert connection.execute(resolved, (LISTENS.name,)).fetchone() == (1,)
    assert found(warehouse, lake).reconciles
