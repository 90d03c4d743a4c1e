"""A process knows what users have hidden: what it took in itself, and what others did."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moovitamix.resources import Warehouse
from moovitamix.serve.http import hidden
from moovitamix.serve.http.hidden import Hidden
from moovitamix.warehouse.feedback import read_hides


def hide(warehouse: Warehouse, user: int, *tracks: int, kind: str = "hide") -> None:
    """As another process has it committed."""
    with warehouse.connect() as connection:
        for track in tracks:
            connection.execute(
                "INSERT INTO feedback (user_id, track_id, kind, at, day) "
                "VALUES (%s, %s, %s, clock_timestamp()::timestamp, '2026-11-22')",
                (user, track, kind),
            )
            if kind == "hide":
                connection.execute("INSERT INTO hides VALUES (%s, %s, now())", (user, track))
            else:
                connection.execute(
                    "DELETE FROM hides WHERE (user_id, track_id) = (%s, %s)", (user, track)
                )


def look(warehouse: Warehouse, known: Hidden) -> None:
    with warehouse.connect() as connection:
        known.refresh(connection)


def of(known: Hidden, users: Iterable[int]) -> dict[int, set[int]]:
    return {user: set(known.of(user)) for user in users if known.of(user)}


def test_what_others_took_in_is_known_after_the_next_look(warehouse: Warehouse) -> None:
    known, users = Hidden(), range(1, 9)
    hide(warehouse, 3, 10, 11)
    hide(warehouse, 7, 10)
    look(warehouse, known)
    assert of(known, users) == {3: {10, 11}, 7: {10}}
    hide(warehouse, 5, 12)
    hide(warehouse, 3, 11, kind="unhide")
    look(warehouse, known)
    assert of(known, users) == {3: {10}, 5: {12}, 7: {10}}
    hide(warehouse, 7, 10, kind="unhide")
    look(warehouse, known)
    assert of(known, users) == {3: {10}, 5: {12}}


def test_everything_is_read_again_now_and_then(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what no event tells of: the rows of somebody erased."""
    known = Hidden()
    hide(warehouse, 3, 10)
    hide(warehouse, 4, 10)
    look(warehouse, known)
    with warehouse.connect() as connection:
        connection.execute("DELETE FROM hides WHERE user_id = 3")
        connection.execute("DELETE FROM feedback WHERE user_id = 3")
    look(warehouse, known)
    assert of(known, (3, 4)) == {3: {10}, 4: {10}}
    monkeypatch.setattr(hidden, "READ_ALL_EVERY", -1.0)
    look(warehouse, known)
    assert of(known, (3, 4)) == {4: {10}}
    assert known._changed == {}


def test_what_comes_in_while_everything_is_read_is_not_lost(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Hidden()
    hide(warehouse, 3, 10)
    look(warehouse, known)
    read = read_hides

    def read_and_take_in(connection: object) -> object:
        found = read(connection)  # type: ignore[arg-type]  # passed on as it came
        known.note(3, hidden=[12], shown=[10])
        return found

    monkeypatch.setattr(hidden, "read_hides", read_and_take_in)
    monkeypatch.setattr(hidden, "READ_ALL_EVERY", -1.0)
    look(warehouse, known)
    assert of(known, (3,)) == {3: {12}}


_IDS = st.integers(-(1 << 63) + 1, (1 << 63) - 2)


@given(st.lists(st.tuples(_IDS | st.integers(0, 5), st.integers(0, 9)), max_size=40, unique=True))
def test_a_user_is_found_among_any_others(pairs: list[tuple[int, int]]) -> None:
    known = Hidden()
    ordered = sorted(pairs)
    known._read = (
        array("q", [user for user, _ in ordered]),
        array("q", [track for _, track in ordered]),
    )
    for user in {user for user, _ in pairs} | {0, 3, 1 << 62}:
        assert known.of(user) == {track for one, track in pairs if one == user}
