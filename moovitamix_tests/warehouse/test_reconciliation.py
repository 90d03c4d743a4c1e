"""Nothing is dropped in silence: what cannot be loaded waits, and the counts add up."""

from __future__ import annotations

from datetime import timedelta

import pytest

from moovitamix.errors import MoovitaMixError
from moovitamix.ingest.lake import LakeStore
from moovitamix.resources import Warehouse
from moovitamix.warehouse import statements as module
from moovitamix_tests.ingest.pulling import (
    NOON,
    ONE_DAY,
    a_listen,
    a_track,
    a_user,
    at,
    pull_at,
)
from moovitamix_tests.reference_source import ReferenceSource
from moovitamix_tests.warehouse.loading import (
    contents,
    load,
    rows_of,
)


def test_listens_of_the_unknown_wait_in_quarantine_until_they_arrive(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    small.listens = [a_listen(1, [1, 9], at(12)), a_listen(8, [1], at(12))]
    pull_at(lake, small)
    outcome = load(warehouse, lake, 12)
    assert (outcome.staged_listens, outcome.quarantined_listens) == (3, 2)
    assert contents(warehouse)["listen_history"] == [(1, 1, at(12), at(12), 1)]
    waiting = "SELECT endpoint, reason, field FROM quarantine WHERE resolved_at IS NULL"
    assert rows_of(warehouse, waiting) == [
        ("listens", "Unknown track", "track_id"),
        ("listens", "Unknown user", "user_id"),
    ]
    assert load(warehouse, lake, 12).quarantined_listens == 2, "tried again, and kept once"
    assert len(rows_of(warehouse, waiting)) == 2

    small.users.append(a_user(8, at(21, 9)))
    pull_at(lake, small, at(22))
    replayed = load(warehouse, lake, 21)
    assert (replayed.replayed_listens, replayed.inserted["listen_history"]) == (1, 1)
    assert (8, 1, at(12), at(12), 1) in contents(warehouse)["listen_history"]
    assert rows_of(warehouse, waiting) == [("listens", "Unknown track", "track_id")]
    assert load(warehouse, lake, 12, 21).replayed_listens == 0


def test_rejected_records_are_in_quarantine_once_and_as_they_were_sent(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    small.listens += [a_listen(None, [1], at(12)), a_listen(1, None, at(12))]
    small.tracks.append(a_track(3, at(5), duration="3.5", name="Rejected ø"))
    pull_at(lake, small)
    assert load(warehouse, lake, 12).rejected == 0, "they belong to the pull's last day"
    assert load(warehouse, lake, 20).rejected == 3
    pull_at(lake, small, NOON + timedelta(hours=1))
    load(warehouse, lake, 20)
    pull_at(lake, small, NOON + ONE_DAY)
    load(warehouse, lake, 20, 21)
    found = rows_of(warehouse, "SELECT endpoint, field, payload FROM quarantine")
    assert [(endpoint, field) for endpoint, field, _ in found] == [
        ("listen_history", "items"),
        ("listen_history", "user_id"),
        ("tracks", "duration"),
    ]
    assert "Rejected ø".encode() in bytes(found[2][2])


# A statement that loses rows, one that loads what was not asked for, one that counts wrong.
LEAKS = [
    ("LISTENS", "ON CONFLICT", "AND l.nth = 1 ON CONFLICT"),
    ("UNRESOLVED_LISTENS", "AND (u.id IS NULL", "AND (false AND u.id IS NULL"),
    ("KNOWN_LISTENS", "count(*)", "count(*) + 1"),
]


@pytest.mark.parametrize(("statement", "whole", "leaking"), LEAKS)
def test_counts_that_do_not_add_up_publish_nothing(
    warehouse: Warehouse,
    lake: LakeStore,
    small: ReferenceSource,
    monkeypatch: pytest.MonkeyPatch,
    statement: str,
    whole: str,
    leaking: str,
) -> None:
    small.listens.append(a_listen(8, [1], at(12)))
    pull_at(lake, small)
    broken = getattr(module, statement).replace(whole, leaking)
    assert broken != getattr(module, statement)
    with monkeypatch.context() as patch:
        patch.setattr(module, statement, broken)
        with pytest.raises(MoovitaMixError, match="do not add up"):
            load(warehouse, lake, 12)
    assert set(map(len, contents(warehouse).values())) == {0}
    assert load(warehouse, lake, 12).reconciles()
