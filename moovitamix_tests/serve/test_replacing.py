"""Lists that replace others: never an older one a newer, and the generation stays whole."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from moovitamix.errors import StoreUnavailable
from moovitamix.serve import replacing
from moovitamix.serve.codec import decode_list, encode_list, mark_of, with_mark
from moovitamix.serve.generations import Generation, added_key, key_of, read_current
from moovitamix.serve.life import living, renew, switch_to
from moovitamix.serve.replacing import NewList, Replaced, known_marks, replace_lists
from moovitamix_tests.serve.test_generations import PREFIX, publish


def new(user: int, mark: int, track: int = 7, kind: str = "u") -> NewList:
    return NewList(kind, user, encode_list(np.array([track]), np.array([0.5])), mark)  # type: ignore[arg-type]  # a kind


def tracks_of(client: redis.Redis, generation: Generation, user: int) -> list[int]:
    value = client.get(key_of(PREFIX, generation.name, "u", user))
    assert isinstance(value, bytes)
    return [int(track) for track in decode_list(value).ids]


@given(st.integers(0, 2**53 - 1), st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20))
def test_a_mark_changes_nothing_of_a_list(mark: int, ids: list[int]) -> None:
    value = encode_list(np.array(ids, dtype=np.int64), np.zeros(len(ids)))
    marked = with_mark(value, mark)
    np.testing.assert_array_equal(decode_list(marked).ids, ids)
    assert (mark_of(marked), mark_of(value)) == (mark, 0)


@pytest.mark.parametrize("marks", [(1, 2), (255, 256), (2**32 - 1, 2**32), (2**53 - 2, 2**53 - 1)])
def test_a_list_that_knows_less_replaces_none_that_knows_more(
    valkey: redis.Redis, marks: tuple[int, int]
) -> None:
    generation = publish(valkey, 1)
    less, more = marks
    assert replace_lists(valkey, PREFIX, generation, [new(1, more, 8)]) == Replaced(1, 0)
    assert replace_lists(valkey, PREFIX, generation, [new(1, less, 9)]) == Replaced(0, 1)
    assert tracks_of(valkey, generation, 1) == [8]
    assert replace_lists(valkey, PREFIX, generation, [new(1, more, 9)]) == Replaced(1, 0)
    assert known_marks(valkey, PREFIX, generation, [1, 2, 4_711]) == {1: more, 2: 0}


@pytest.mark.parametrize("calls", [0, 1, 2, 3])
def test_a_list_tells_of_what_is_known_when_all_others_of_its_user_know_it(
    valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    generation = publish(valkey, 1)
    monkeypatch.setattr(replacing, "_AT_ONCE", 2)
    run, done = replacing._run, 0

    def cut(*arguments: Any) -> list[int]:
        nonlocal done
        done += 1
        if done > calls:
            raise redis.ConnectionError
        return run(*arguments)

    monkeypatch.setattr(replacing, "_run", cut)
    lists = [new(user, 9, kind=kind) for user in (1, 2) for kind in ("u", "r", "h")]
    complete = calls == 3
    with nullcontext() if complete else pytest.raises(StoreUnavailable):
        replace_lists(valkey, PREFIX, generation, lists)
    assert set(known_marks(valkey, PREFIX, generation, [1, 2]).values()) == {9 if complete else 0}
    heads = [valkey.get(key_of(PREFIX, generation.name, kind, 1)) for kind in ("u", "r", "h")]
    assert not complete or [mark_of(head) for head in heads if isinstance(head, bytes)] == [9] * 3


def test_a_replaced_list_expires_with_its_generation_and_a_new_one_not_long_after(
    valkey: redis.Redis,
) -> None:
    generation = publish(valkey, 1)
    replace_lists(valkey, PREFIX, generation, [new(1, 1), new(4_711, 1), new(1, 1, kind="x")])
    for kind, user, hours in (("u", 1, 24), ("u", 4_711, 48), ("x", 1, 48)):
        left = valkey.ttl(key_of(PREFIX, generation.name, kind, user))  # type: ignore[arg-type]  # a kind
        assert 0 < int(left) <= timedelta(hours=hours).total_seconds()
    assert int(valkey.ttl(added_key(PREFIX, generation.name))) > 0


def test_a_generation_to_which_lists_came_can_be_renewed_and_served_again(
    valkey: redis.Redis,
) -> None:
    first = publish(valkey, 1)
    replace_lists(valkey, PREFIX, first, [new(4_711, 1), new(4_711, 1, kind="x"), new(4_712, 1)])
    publish(valkey, 2)
    assert switch_to(valkey, PREFIX, first).name == first.name
    renewed = renew(valkey, PREFIX, below=timedelta(days=2))
    assert (renewed.renewed, renewed.missing) == (True, 0)
    current = read_current(valkey, PREFIX)
    assert current is not None
    left = int(valkey.ttl(key_of(PREFIX, first.name, "x", 4_711)))
    assert left > timedelta(hours=25).total_seconds()


def test_a_list_that_came_and_was_lost_is_missed(valkey: redis.Redis) -> None:
    first = publish(valkey, 1)
    replace_lists(valkey, PREFIX, first, [new(4_711, 1)])
    valkey.delete(key_of(PREFIX, first.name, "u", 4_711))
    assert renew(valkey, PREFIX, below=timedelta(days=2)).missing == 1
    assert [one.name for one in living(valkey, PREFIX)] == [first.name]


def test_a_list_that_comes_after_a_renewal_it_does_not_know_of_lives_as_long_as_the_others(
    valkey: redis.Redis,
) -> None:
    known = publish(valkey, 1)
    renew(valkey, PREFIX, below=timedelta(hours=48))
    replace_lists(valkey, PREFIX, known, [new(4_711, 1)])
    renewed = read_current(valkey, PREFIX)
    assert renewed is not None
    assert renewed.expires_at > known.expires_at
    left = int(valkey.expiretime(key_of(PREFIX, known.name, "u", 4_711)))  # type: ignore[arg-type]  # theirs take bytes
    assert left >= int(renewed.expires_at.timestamp())
    assert int(valkey.expiretime(added_key(PREFIX, known.name))) >= left
