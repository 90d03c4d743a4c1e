"""What is right and wrong about a published generation: pure judgements on what was read from it.

Reading a sample and telling Dagster are the business of `checks.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from moovitamix.serve.codec import TopN

Lists = Mapping[int, TopN]

# Twice what a float16 may be off by.
_THREE_DIGITS = 2e-3
# By how much single precision may tell equals apart.
_EQUAL = 1e-5


@dataclass(frozen=True)
class Judgement:
    """Whether all is well, and the figures that show it: counts, never whose lists they are."""

    passed: bool
    figures: dict[str, int | str] = field(default_factory=dict)


def every_owner_has_a_list(owners: int, lists: int) -> Judgement:
    """Whether there are as many lists as users with listens, or tracks, or genres."""
    return Judgement(lists == owners, {"owners": owners, "lists": lists})


def no_list_is_short_without_reason(
    lists: Lists, unheard: Mapping[int, int], list_length: int
) -> Judgement:
    """Whether each list has N entries, or as many as there are tracks to choose from.

    Args:
        lists: By user.
        unheard: By user: how many tracks could be in the list, and were not heard yet; who is not
            in it is not looked at.
        list_length: N.
    """
    looked_at = [(lists[user], count) for user, count in unheard.items() if user in lists]
    short = sum(len(found.ids) < min(list_length, count) for found, count in looked_at)
    return Judgement(short == 0, {"lists looked at": len(looked_at), "short": short})


def no_list_holds_what_was_heard(lists: Lists, heard: Mapping[int, NDArray[np.int64]]) -> Judgement:
    """Whether all that is recommended is new to its user."""
    wrong = sum(bool(np.isin(found.ids, heard[user]).any()) for user, found in lists.items())
    return Judgement(wrong == 0, {"lists looked at": len(lists), "with heard tracks": wrong})


def no_list_holds_what_was_hidden(
    lists: Iterable[tuple[int, TopN]], hidden: Mapping[int, NDArray[np.int64]]
) -> Judgement:
    """Whether nobody is recommended what they do not want to be.

    Args:
        lists: Of the users who have hidden something, of all kinds.
        hidden: By user: the tracks.
    """
    held = [bool(np.isin(found.ids, hidden[user]).any()) for user, found in lists]
    return Judgement(not any(held), {"lists looked at": len(held), "with hidden tracks": sum(held)})


def no_list_holds_a_withdrawn_track(lists: Lists, withdrawn: NDArray[np.int64]) -> Judgement:
    """Whether every track in the lists can be played."""
    wrong = sum(bool(np.isin(found.ids, withdrawn).any()) for found in lists.values())
    return Judgement(wrong == 0, {"lists looked at": len(lists), "with withdrawn tracks": wrong})


def no_track_is_similar_to_itself(lists: Lists) -> Judgement:
    """Whether a track's list is about other tracks."""
    wrong = sum(track in found.ids for track, found in lists.items())
    return Judgement(wrong == 0, {"lists looked at": len(lists), "with their own track": wrong})


def every_list_is_ranked(lists: Lists) -> Judgement:
    """Whether scores fall from first to last, and no track is in a list twice."""
    wrong = sum(
        bool((np.diff(found.scores) > 0).any()) or len(np.unique(found.ids)) < len(found.ids)
        for found in lists.values()
    )
    return Judgement(wrong == 0, {"lists looked at": len(lists), "out of order": wrong})


def lists_agree(lists: Lists, fresh: Lists) -> Judgement:
    """Whether lists are those that the same rule gives now.

    Scores are compared place by place, as far as the cache's three digits tell them apart. Which of
    two equal tracks comes first, or is the last to be in, may depend on how many users are ranked
    at once: a track has to be at its place when it stands alone and clear of the end.

    Args:
        lists: By owner.
        fresh: The same, newly computed, of some of them.
    """
    compared = [(lists[owner], found) for owner, found in fresh.items() if owner in lists]
    other = sum(not _agree(found, wanted) for found, wanted in compared)
    return Judgement(other == 0, {"lists looked at": len(compared), "others": other})


def _agree(found: TopN, wanted: TopN) -> bool:
    if len(found.ids) != len(wanted.ids) or not np.allclose(
        found.scores, wanted.scores, rtol=_THREE_DIGITS, atol=_THREE_DIGITS
    ):
        return False
    # New releases have the score of their neighbour, so they do not stand alone.
    scores = wanted.scores
    margins = _EQUAL * (1 + np.abs(scores))
    falls = scores[:-1] - scores[1:] > margins[:-1]
    alone = np.append(True, falls) & np.append(falls, False) & (scores - scores[-1:] > margins)
    return bool((wanted.ids[alone] == found.ids[alone]).all())


def the_popular_list_is_full(entries: int, tracks: int, list_length: int) -> Judgement:
    """Whether the list over all holds N tracks, or all that there are, and at least one."""
    return Judgement(
        0 < entries == min(list_length, tracks), {"entries": entries, "tracks": tracks}
    )


def the_newest_generation_is_current(current: str | None, written: str | None) -> Judgement:
    """Whether what is served is what was written last."""
    return Judgement(
        current is not None and current == written,
        {"current": current or "none", "written": written or "none"},
    )
