"""The users of the demonstration world: what they like, how active they are, their records.

What they hear on a day is `listening`'s job.
"""

from itertools import accumulate
from typing import Final

import numpy as np

from moovitamix.embedded.demo_source.arrivals import Arrivals
from moovitamix.embedded.demo_source.chance import Chance, Floats, Integers
from moovitamix.embedded.demo_source.names import email, person
from moovitamix.embedded.demo_source.records import (
    UserRecord,
    edit_moments,
    sparse_ids,
    timestamps,
)
from moovitamix.embedded.demo_source.vocabulary import GENDERS, TASTES

_ACTIVITY_SHAPE: Final = 1.6  # of the Pareto tail: a tenth of the users does 40 % of the listening
_ACTIVITY_LIMIT: Final = 60.0  # times the least active user, so that no one listens all day
_EDITED_SHARE: Final = 0.3
_EDITED_AFTER_DAYS: Final = 300
_TASTE_LIMITS: Final = tuple(accumulate(taste.share for taste in TASTES))


def tastes_at(unit: Floats) -> Integers:
    """Return the taste at each place of [0, 1), by the tastes' shares; shape as given, int64."""
    limits = np.array(_TASTE_LIMITS[:-1])
    return np.searchsorted(limits, unit, side="right").astype(np.int64)


class People:
    """The users by number, in the order they signed up.

    Args:
        chance: The world's chance.
        arrivals: When they signed up.
    """

    def __init__(self, chance: Chance, arrivals: Arrivals) -> None:
        self._chance = chance
        self.arrivals = arrivals
        self._activity = np.zeros(1)

    def ids(self, index: Integers) -> Integers:
        """Return the source's ids of the users, shape `(n,)`."""
        return sparse_ids(self._chance, "user", index)

    def first_taste(self, index: Integers) -> Integers:
        """Return the taste each user likes best, shape `(n,)`, an index into `TASTES`."""
        return tastes_at(self._chance.uniform("first taste", index))

    def second_taste(self, index: Integers) -> Integers:
        """Return the taste each user likes next, shape `(n,)`, an index into `TASTES`."""
        return tastes_at(self._chance.uniform("second taste", index))

    def mood(self, index: Integers, unit: Floats) -> Integers:
        """Draw the taste of one session from each user's mixture of tastes.

        The first taste weighs 0.6 to 0.95, the second four fifths of the rest, and what is left is
        any taste by its share.

        Args:
            index: Numbers of users, shape `(n,)`.
            unit: Numbers in [0, 1), shape `(n,)`.
        """
        first = 0.6 + 0.35 * self._chance.uniform("weight of the first taste", index)
        second = first + 0.8 * (1 - first)
        any_taste = tastes_at((unit - second) / (1 - second))
        other = np.where(unit < second, self.second_taste(index), any_taste)
        tastes: Integers = np.where(unit < first, self.first_taste(index), other)
        return tastes

    def draw_listeners(self, unit: Floats, count: int) -> Integers:
        """Draw users by their activity, which is heavy-tailed.

        Args:
            unit: Numbers in [0, 1), shape `(n,)`.
            count: Only the first `count` users are drawn.

        Returns:
            Numbers of users, shape `(n,)`, int64.
        """
        known = len(self._activity) - 1
        if known < count:
            index = np.arange(known, count + count // 4 + 64, dtype=np.int64)
            tail = (1 - self._chance.uniform("activity", index)) ** (-1 / _ACTIVITY_SHAPE)
            more = np.minimum(tail, _ACTIVITY_LIMIT)
            # The sum goes on where it stopped, so it does not depend on when it was extended.
            added = np.cumsum(np.concatenate((self._activity[-1:], more)))
            self._activity = np.concatenate((self._activity, added[1:]))
        limits = self._activity[1:count]
        drawn: Integers = np.searchsorted(limits, unit * self._activity[count], side="right")
        return drawn

    def records(self, start: int, stop: int, now: np.datetime64) -> list[UserRecord]:
        """Return the records of the users `start` to `stop` as they are at `now`, UTC."""
        index = np.arange(start, stop, dtype=np.int64)
        created = self.arrivals.moments(index)
        edits = edit_moments(
            self._chance,
            "user",
            index,
            created,
            share=_EDITED_SHARE,
            mean_days=_EDITED_AFTER_DAYS,
        )
        edited = edits <= now
        moved = np.where(edited, 1, 0).astype(np.int64)
        return [
            UserRecord(
                id=user_id,
                first_name=(name := person(name_bits))[0],
                last_name=name[1],
                email=email(*name, mail_bits),
                gender=GENDERS[gender],
                favorite_genres=_stated_genres(first, second, genre_bits),
                created_at=created_at,
                updated_at=updated_at,
            )
            for user_id, name_bits, mail_bits, gender, first, second, genre_bits, created_at, (
                updated_at
            ) in zip(
                self.ids(index).tolist(),
                self._chance.bits("user name", index).tolist(),
                self._chance.bits("user mail", index, moved).tolist(),
                self._chance.below(len(GENDERS), "user gender", index).tolist(),
                self.first_taste(index).tolist(),
                self.second_taste(index).tolist(),
                self._chance.bits("user genres", index).tolist(),
                timestamps(created),
                timestamps(np.where(edited, edits, created)),
                strict=True,
            )
        ]


def _stated_genres(first: int, second: int, bits: int) -> str:
    """Return what a user says to like: mostly the first taste, often with what lies near."""
    genres = [TASTES[first].genre]
    if bits % 3 == 0:
        genres.append(TASTES[second].genre)
    if bits % 5 == 0:
        genres.append(TASTES[first].neighbour)
    return ", ".join(dict.fromkeys(genres))
