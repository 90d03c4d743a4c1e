"""Users are divided evenly, always the same way, and anew by another salt."""

from __future__ import annotations

from math import sqrt

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from moovitamix.recommend.arms import arm_of, place_of

USERS = 4_000
SALTS = st.text(min_size=1, max_size=16)
# One run in 10^9 is further off than this many standard deviations.
FAR = 6.1


def in_challenger(salt: str, share: float) -> set[int]:
    return {user for user in range(USERS) if arm_of(user, salt, share) == "challenger"}


@settings(max_examples=50)
@given(SALTS, st.floats(0.05, 0.95))
def test_as_many_users_as_asked_for_are_in_the_challengers_arm(salt: str, share: float) -> None:
    deviation = abs(len(in_challenger(salt, share)) - USERS * share)
    assert deviation < FAR * sqrt(USERS * share * (1 - share))


@given(st.integers(-(2**70), 2**70), SALTS, st.floats(0, 1), st.floats(0, 1))
def test_a_user_stays_where_they_are_and_a_larger_share_takes_nobody_out(
    user: int, salt: str, one: float, other: float
) -> None:
    assert arm_of(user, salt, one) == arm_of(user, salt, one)
    smaller, larger = sorted((one, other))
    if arm_of(user, salt, smaller) == "challenger":
        assert arm_of(user, salt, larger) == "challenger"


@settings(max_examples=50)
@given(SALTS, SALTS)
def test_another_salt_divides_users_without_regard_to_the_first(one: str, other: str) -> None:
    if one == other:
        return
    both = len(in_challenger(one, 0.5) & in_challenger(other, 0.5))
    assert abs(both - USERS / 4) < FAR * sqrt(USERS * 3 / 16)


def test_nobody_or_everybody_at_the_ends() -> None:
    assert in_challenger("s", 0.0) == set()
    assert in_challenger("s", 1.0) == set(range(USERS))


def test_places_are_uniform() -> None:
    places = np.array([place_of(user, "uniform?") for user in range(USERS)])
    counts, _ = np.histogram(places, bins=20, range=(0, 1))
    expected = USERS / 20
    # Chi-square with 19 degrees of freedom: above 60 three times in a million.
    assert ((counts - expected) ** 2 / expected).sum() < 60


def test_the_division_is_that_of_yesterday() -> None:
    """Another hash would move users between arms in the middle of an experiment."""
    challengers = [user for user in range(8) if arm_of(user, "salt", 0.5) == "challenger"]
    assert challengers == [0, 1, 2, 6]
