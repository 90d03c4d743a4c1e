"""Each judgement passes what is right, and finds its own fault."""

from __future__ import annotations

import numpy as np
import pytest

from moovitamix.serve import judgements
from moovitamix.serve.codec import TopN
from moovitamix.serve.judgements import Lists


def listing(*tracks: int, scores: tuple[float, ...] | None = None) -> TopN:
    ranked = scores or tuple(1.0 / (place + 1) for place in range(len(tracks)))
    return TopN(np.array(tracks, dtype=np.int64), np.array(ranked, dtype=np.float32))


LISTS: Lists = {1: listing(10, 11, 12), 2: listing(11, 10, 13)}
HEARD = {1: np.array([13, 14]), 2: np.array([12])}


def test_as_many_lists_as_owners_pass_and_a_missing_one_does_not() -> None:
    assert judgements.every_owner_has_a_list(5, 5).passed
    assert not judgements.every_owner_has_a_list(5, 4).passed


@pytest.mark.parametrize(("unheard", "passed"), [({1: 9, 2: 3}, True), ({1: 3, 2: 4}, False)])
def test_a_list_is_short_when_more_could_have_been_in_it(
    unheard: dict[int, int], passed: bool
) -> None:
    lists = {1: listing(10, 11, 12, 13), 2: listing(11, 10, 13)}
    found = judgements.no_list_is_short_without_reason(lists, unheard, list_length=4)
    assert found.passed == passed
    assert found.figures["short"] == (not passed)


def test_a_heard_track_in_a_list_is_found() -> None:
    assert judgements.no_list_holds_what_was_heard(LISTS, HEARD).passed
    found = judgements.no_list_holds_what_was_heard(LISTS, {**HEARD, 2: np.array([13])})
    assert not found.passed
    assert found.figures["with heard tracks"] == 1


def test_a_withdrawn_track_in_a_list_is_found() -> None:
    assert judgements.no_list_holds_a_withdrawn_track(LISTS, np.array([99])).passed
    found = judgements.no_list_holds_a_withdrawn_track(LISTS, np.array([10, 99]))
    assert not found.passed
    assert found.figures["with withdrawn tracks"] == 2


def test_a_track_similar_to_itself_is_found() -> None:
    assert judgements.no_track_is_similar_to_itself(LISTS).passed
    assert not judgements.no_track_is_similar_to_itself({10: LISTS[1]}).passed


@pytest.mark.parametrize(
    "fault",
    [listing(1, 2, scores=(0.5, 0.6)), listing(1, 2, 1, scores=(0.5, 0.4, 0.3))],
    ids=["scores rise", "a track comes twice"],
)
def test_a_list_out_of_order_is_found(fault: TopN) -> None:
    equals = listing(4, 5, scores=(0.5, 0.5))
    assert judgements.every_list_is_ranked({**LISTS, 3: equals}).passed
    assert not judgements.every_list_is_ranked({**LISTS, 3: fault}).passed


FRESH = listing(10, 11, 12, 13, scores=(0.9, 0.7, 0.7, 0.5))


@pytest.mark.parametrize(
    ("found", "agrees"),
    [
        (FRESH, True),
        (listing(10, 12, 11, 13, scores=(0.901, 0.7, 0.7, 0.5)), True),  # equals may change places
        (listing(10, 11, 12, 14, scores=(0.9, 0.7, 0.7, 0.5)), True),  # and fall out at the end
        (listing(10, 11, 12, scores=(0.9, 0.7, 0.7)), False),
        (listing(10, 11, 12, 13, scores=(0.9, 0.7, 0.7, 0.4)), False),
        (listing(14, 11, 12, 13, scores=(0.9, 0.7, 0.7, 0.5)), False),
        (listing(11, 10, 12, 13, scores=(0.9, 0.7, 0.7, 0.5)), False),  # not at its place
        (TopN(FRESH.ids[:0], FRESH.scores[:0]), False),
    ],
)
def test_a_list_agrees_with_a_fresh_one_but_for_what_equals_may_do(
    found: TopN, agrees: bool
) -> None:
    judgement = judgements.lists_agree({1: found, 2: FRESH}, {1: FRESH})
    assert judgement.passed == agrees
    assert judgement.figures == {"lists looked at": 1, "others": int(not agrees)}


def test_empty_lists_agree_and_a_missing_one_is_not_looked_at() -> None:
    nothing = TopN(np.empty(0, np.int64), np.empty(0, np.float32))
    judgement = judgements.lists_agree({1: nothing}, {1: nothing, 2: FRESH})
    assert (judgement.passed, judgement.figures["lists looked at"]) == (True, 1)


@pytest.mark.parametrize(
    ("entries", "tracks", "passed"),
    [(100, 5_000, True), (40, 40, True), (40, 41, False), (99, 5_000, False), (0, 0, False)],
)
def test_the_popular_list_is_full_when_it_holds_all_that_it_can(
    entries: int, tracks: int, passed: bool
) -> None:
    assert judgements.the_popular_list_is_full(entries, tracks, 100).passed == passed


@pytest.mark.parametrize(
    ("current", "written", "passed"),
    [("v1", "v1", True), ("v1", "v2", False), (None, "v1", False), (None, None, False)],
)
def test_only_the_generation_written_last_may_be_current(
    current: str | None, written: str | None, passed: bool
) -> None:
    assert judgements.the_newest_generation_is_current(current, written).passed == passed
