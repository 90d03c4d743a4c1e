"""The demonstration world: what its source holds at a moment, as a pure function of parameters.

Pages and HTTP do not belong here; who hears what is `listening`'s job.
"""

from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

import numpy as np

from moovitamix.embedded.demo_source.arrivals import Arrivals
from moovitamix.embedded.demo_source.catalogue import Catalogue
from moovitamix.embedded.demo_source.chance import Chance
from moovitamix.embedded.demo_source.listening import Listening, Sessions, mean_session_length
from moovitamix.embedded.demo_source.people import People
from moovitamix.embedded.demo_source.records import ListenRecord, TrackRecord, UserRecord
from moovitamix.errors import SettingsError

_USER_GROWTH: Final = 0.003  # per day, of those there on the first day: 9 % a month
_TRACK_GROWTH: Final = 0.0015
_WEEKDAY_WEIGHTS: Final = (0.93, 0.94, 0.96, 1.0, 1.12, 1.08, 0.97)  # Monday first
_DAILY_NOISE: Final = 0.2  # at most, in either direction, of a mean day; below the weekday weights
_KEPT_DAYS: Final = 12


@dataclass(frozen=True, kw_only=True)
class DemoParameters:
    """What a demonstration world is made from; equal parameters make equal worlds.

    Attributes:
        seed: Any number from 0.
        first_day: The first day with listens, UTC.
        days: The days over which the sizes below are meant. The world goes on after them.
        users: Users after `days` days, most of them older than `first_day`.
        tracks: Tracks after `days` days, most of them older than `first_day`.
        listens: Tracks heard (items of listen records) in the first `days` days, about; later
            days bring as many each as these.
    """

    seed: int = 20
    first_day: date
    days: int = 60
    users: int = 3_000
    tracks: int = 4_000
    listens: int = 100_000

    def __post_init__(self) -> None:
        """Check the sizes.

        Raises:
            SettingsError: A size is below 1, or the seed below 0.
        """
        for name in ("days", "users", "tracks", "listens"):
            if getattr(self, name) < 1:
                raise SettingsError(
                    f"The demonstration world's {name} is {getattr(self, name)}: give at least 1."
                )
        if self.seed < 0:
            raise SettingsError(
                f"The demonstration world's seed is {self.seed}: give 0 or a number above."
            )


class DemoWorld:
    """The records of the source at any moment, oldest first, by position.

    As time goes on, records are added at the end only; an edited or growing record changes in its
    place. A few days of listens are kept, everything else is made when asked for.

    Args:
        parameters: What the world is made from.
    """

    def __init__(self, parameters: DemoParameters) -> None:
        chance = Chance(parameters.seed)
        self._chance = chance
        self._first_date = parameters.first_day
        self._first_day = np.datetime64(parameters.first_day, "us")
        self._people = People(
            chance,
            Arrivals.reaching(
                parameters.users,
                days=parameters.days,
                chance=chance,
                purpose="user",
                first_day=self._first_day,
                growth=_USER_GROWTH,
            ),
        )
        self._catalogue = Catalogue(
            chance,
            Arrivals.reaching(
                parameters.tracks,
                days=parameters.days,
                chance=chance,
                purpose="track",
                first_day=self._first_day,
                growth=_TRACK_GROWTH,
            ),
        )
        self._listening = Listening(chance, self._people, self._catalogue, self._first_day)
        sessions = parameters.listens / mean_session_length()
        self._sessions_per_day = sessions / self._mean_days_before(parameters.days)
        self._kept: OrderedDict[int, Sessions] = OrderedDict()

    def count_tracks(self, now: datetime) -> int:
        """Return how many tracks there are at `now` (naive, UTC)."""
        return self._catalogue.arrivals.count(np.datetime64(now, "us"))

    def count_users(self, now: datetime) -> int:
        """Return how many users there are at `now` (naive, UTC)."""
        return self._people.arrivals.count(np.datetime64(now, "us"))

    def count_listens(self, now: datetime) -> int:
        """Return how many listen records there are at `now` (naive, UTC)."""
        today = (now.date() - self._first_date).days
        if today < 0:
            return 0
        created = self._sessions(today).created
        so_far = np.searchsorted(created, np.datetime64(now, "us"), side="right")
        return self._sessions_before(today) + int(so_far)

    def tracks(self, start: int, stop: int, now: datetime) -> list[TrackRecord]:
        """Return the tracks at positions `start` to `stop` as they are at `now` (naive, UTC)."""
        return self._catalogue.records(start, stop, np.datetime64(now, "us"))

    def users(self, start: int, stop: int, now: datetime) -> list[UserRecord]:
        """Return the users at positions `start` to `stop` as they are at `now` (naive, UTC)."""
        return self._people.records(start, stop, np.datetime64(now, "us"))

    def listens(self, start: int, stop: int, now: datetime) -> list[ListenRecord]:
        """Return the listen records at positions `start` to `stop` as they are at `now`.

        Args:
            start: The first position, from 0.
            stop: The position after the last, at most `count_listens(now)`.
            now: Naive, UTC.
        """
        records: list[ListenRecord] = []
        today = (now.date() - self._first_date).days
        day = bisect_right(range(today + 1), start, key=self._sessions_before) - 1
        while start < stop:
            before, after = self._sessions_before(day), self._sessions_before(day + 1)
            end = min(stop, after)
            if end > start:
                sessions = self._sessions(day)
                records += self._listening.records(
                    sessions, start - before, end - before, np.datetime64(now, "us")
                )
                start = end
            day += 1
        return records

    def _sessions(self, day: int) -> Sessions:
        sessions = self._kept.get(day)
        if sessions is None:
            count = self._sessions_before(day + 1) - self._sessions_before(day)
            sessions = self._kept[day] = self._listening.sessions(day, count)
            if len(self._kept) > _KEPT_DAYS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(day)
        return sessions

    def _sessions_before(self, day: int) -> int:
        """Return how many sessions there are before day `day`: the position of its first."""
        return int(self._sessions_per_day * self._mean_days_before(day))

    def _mean_days_before(self, day: int) -> float:
        """Return how much is heard before day `day`, in days of mean size: a closed form."""
        weeks, rest = divmod(day, 7)
        weekday = self._first_date.weekday()
        begun = sum(_WEEKDAY_WEIGHTS[(weekday + passed) % 7] for passed in range(rest))
        first, this = self._chance.uniform("day's size", np.array([0, day], dtype=np.int64))
        return weeks * sum(_WEEKDAY_WEIGHTS) + begun + _DAILY_NOISE * float(this - first)
