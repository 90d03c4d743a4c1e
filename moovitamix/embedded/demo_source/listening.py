"""The sessions of one day: who listened, when, and what was heard in which order.

A day is a pure function of the world's seed and the day's number: no day needs another one, which
is what lets the world serve any page without holding the rest.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import numpy as np

from moovitamix.embedded.demo_source.arrivals import DAY_MICROSECONDS, Moments
from moovitamix.embedded.demo_source.catalogue import Catalogue, Edition
from moovitamix.embedded.demo_source.chance import Chance, Floats, Integers
from moovitamix.embedded.demo_source.people import People
from moovitamix.embedded.demo_source.records import ListenRecord, timestamps

_LENGTH_WEIGHTS: Final = (10, 10, 12, 13, 12, 10, 8, 7, 6, 5, 4, 3)  # of sessions of 1 to 12 tracks
_HOUR_WEIGHTS: Final = (
    5, 3, 2, 1, 1, 2, 4, 8, 10, 9, 8, 8, 9, 9, 8, 9, 10, 12, 13, 13, 14, 14, 11, 8,
)  # fmt: skip
_GROWING_SHARE: Final = 0.06
_GROWS_WITHIN_HOURS: Final = (0.2, 6.0)
_FAVOURITES: Final = 12
_FAVOURITE_FOR_DAYS: Final = 40
_PREFERRED_ARTISTS: Final = 6
_EDITION_DAYS: Final = 28
_KEPT_EDITIONS: Final = 6

# How a track comes to be heard that is no favourite: shares of the artist's, the new, the any.
_OF_ARTIST: Final = 0.30
_FRESH: Final = 0.06
_ANYTHING: Final = 0.05


def mean_session_length() -> float:
    """Return how many tracks a session has on average, once it has grown."""
    weights = np.array(_LENGTH_WEIGHTS, dtype=np.float64)
    return float((weights * np.arange(1, len(weights) + 1)).sum() / weights.sum())


@dataclass(frozen=True)
class Sessions:
    """The sessions of one day, oldest first, as columns of `n` rows.

    Attributes:
        users: Numbers of users, int64.
        created: When they began, datetime64[us], UTC, strictly rising.
        grown: When those that grow did so, datetime64[us]; NaT for the others.
        first_lengths: How many tracks they hold before they grow, int64.
        bounds: Where each one's tracks begin in `tracks`, shape `(n + 1,)`, int64.
        tracks: Numbers of tracks in the order heard, int64.
    """

    users: Integers
    created: Moments
    grown: Moments
    first_lengths: Integers
    bounds: Integers
    tracks: Integers


class Listening:
    """What the people hear of the catalogue, day by day.

    Args:
        chance: The world's chance.
        people: Who listens.
        catalogue: What there is to hear.
        first_day: The start of day 0, UTC.
    """

    def __init__(
        self, chance: Chance, people: People, catalogue: Catalogue, first_day: np.datetime64
    ) -> None:
        self._chance = chance
        self._people = people
        self._catalogue = catalogue
        self._first_day = first_day
        self._editions: OrderedDict[int, Edition] = OrderedDict()

    def sessions(self, day: int, count: int) -> Sessions:
        """Return the sessions of day `day`, which has `count` of them."""
        draw = self._chance.of_day(day)
        start = self._first_day + np.timedelta64(day, "D")
        listeners = max(1, self._people.arrivals.count(start))
        users = self._people.draw_listeners(draw.random(count), listeners)
        since_midnight = self._times(users, draw.random(count))
        order = np.argsort(since_midnight, kind="stable")
        users, since_midnight = users[order], since_midnight[order]
        # One microsecond apart at least: a record is known by its user and its time.
        ranks = np.arange(count, dtype=np.int64)
        since_midnight = np.maximum.accumulate(since_midnight - ranks) + ranks
        created = start + since_midnight.astype("timedelta64[us]")

        shares = np.cumsum(_LENGTH_WEIGHTS) / sum(_LENGTH_WEIGHTS)
        lengths = 1 + np.searchsorted(shares[:-1], draw.random(count), side="right")
        bounds = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(lengths)))
        least, most = _GROWS_WITHIN_HOURS
        wait = (least + (most - least) * draw.random(count)) * (DAY_MICROSECONDS / 24)
        grows = (draw.random(count) < _GROWING_SHARE) & (lengths > 1)
        grown = created + wait.astype("timedelta64[us]")
        grown[~grows] = np.datetime64("NaT")
        first = 1 + (draw.random(count) * (lengths - 1)).astype(np.int64)
        tracks = self._heard(day, users, lengths, bounds, draw)
        return Sessions(users, created, grown, np.where(grows, first, lengths), bounds, tracks)

    def records(
        self, sessions: Sessions, start: int, stop: int, now: np.datetime64
    ) -> list[ListenRecord]:
        """Return the records of the day's sessions `start` to `stop` as they are at `now`, UTC."""
        part = slice(start, stop)
        created, grown = sessions.created[part], sessions.grown[part]
        has_grown = grown <= now
        begin = sessions.bounds[start : stop + 1]
        lengths = np.where(has_grown, np.diff(begin), sessions.first_lengths[part])
        items = self._catalogue.ids(sessions.tracks[begin[0] : begin[-1]]).tolist()
        return [
            ListenRecord(user_id, items[at : at + length], created_at, updated_at)
            for user_id, at, length, created_at, updated_at in zip(
                self._people.ids(sessions.users[part]).tolist(),
                (begin[:-1] - begin[0]).tolist(),
                lengths.tolist(),
                timestamps(created),
                timestamps(np.where(has_grown, grown, created)),
                strict=True,
            )
        ]

    def _times(self, users: Integers, unit: Floats) -> Integers:
        """Return microseconds since midnight: the hours' shape, shifted by each user's habit."""
        limits = np.concatenate((np.zeros(1), np.cumsum(_HOUR_WEIGHTS) / sum(_HOUR_WEIGHTS)))
        habit = 5 * (self._chance.uniform("hour habit", users) - 0.5)
        hours = (np.interp(unit, limits, np.arange(25)) + habit) % 24
        # The last second stays free for those that are set apart from each other.
        return (hours / 24 * (DAY_MICROSECONDS - 1_000_000)).astype(np.int64)

    def _heard(
        self,
        day: int,
        users: Integers,
        lengths: Integers,
        bounds: Integers,
        draw: np.random.Generator,
    ) -> Integers:
        """Return the tracks of all sessions of a day, shape `(sum(lengths),)`."""
        moods = self._people.mood(users, draw.random(len(users)))
        first_slots = (_FAVOURITES * draw.random(len(users)) ** 2).astype(np.int64)
        session = np.repeat(np.arange(len(users)), lengths)
        total = len(session)
        listeners, tastes = users[session], moods[session]

        position = np.arange(total) - bounds[session]
        slots = (first_slots[session] + position) % _FAVOURITES
        loyalty = 0.2 + 0.4 * self._chance.uniform("loyalty", listeners)
        way, unit, which = draw.random(total), draw.random(total), draw.random(total)

        now = self._edition(max(0, day) // _EDITION_DAYS)
        heard = now.of_taste(tastes, unit)

        chosen = way < _OF_ARTIST
        numbers = (_PREFERRED_ARTISTS * which[chosen] ** 1.5).astype(np.int64)
        artists = self._preferred_artists(listeners[chosen], numbers)
        heard[chosen] = now.of_artist(artists, unit[chosen])

        fresh = self._fresh(day)
        if fresh.size:
            chosen = (way >= _OF_ARTIST) & (way < _OF_ARTIST + _FRESH)
            heard[chosen] = fresh.of_taste(tastes[chosen], unit[chosen])

        chosen = way >= 1 - _ANYTHING
        heard[chosen] = now.of_any_kind(unit[chosen])

        chosen = draw.random(total) < loyalty
        heard[chosen] = self._favourites(day, listeners[chosen], slots[chosen])
        return heard

    def _preferred_artists(self, users: Integers, numbers: Integers) -> Integers:
        """Return a user's n-th preferred artist, from the user's first taste or the second."""
        of_first = self._chance.uniform("artist is of the first taste", users, numbers) < 0.7
        tastes = np.where(
            of_first, self._people.first_taste(users), self._people.second_taste(users)
        )
        unit = self._chance.uniform("preferred artist", users, numbers)
        return self._catalogue.artists(self._edition(0).of_taste(tastes, unit))

    def _favourites(self, day: int, users: Integers, slots: Integers) -> Integers:
        """Return what is in each user's slots of favourites on that day.

        A slot keeps its track for some weeks; every user and slot changes on a day of its own.
        """
        shift = self._chance.below(_FAVOURITE_FOR_DAYS, "favourite change", users, slots)
        turns = (day + shift) // _FAVOURITE_FOR_DAYS
        begun = turns * _FAVOURITE_FOR_DAYS - shift
        editions = np.maximum(begun, 0) // _EDITION_DAYS
        unit = self._chance.uniform("favourite", users, slots, turns)
        numbers = self._chance.below(_PREFERRED_ARTISTS, "favourite's artist", users, slots, turns)
        of_artist = self._chance.uniform("favourite of an artist", users, slots, turns) < _OF_ARTIST
        mood = self._people.mood(
            users, self._chance.uniform("favourite's taste", users, slots, turns)
        )
        artists = self._preferred_artists(users, numbers)
        tracks = np.empty(len(users), dtype=np.int64)
        for number in np.unique(editions).tolist():
            edition = self._edition(number)
            for chosen, source, groups in (
                ((editions == number) & of_artist, edition.of_artist, artists),
                ((editions == number) & ~of_artist, edition.of_taste, mood),
            ):
                tracks[chosen] = source(groups[chosen], unit[chosen])
        return tracks

    def _edition(self, number: int) -> Edition:
        """Return the catalogue as it was on day `number * 28`."""
        edition = self._editions.get(number)
        if edition is None:
            moment = self._first_day + np.timedelta64(number * _EDITION_DAYS, "D")
            edition = Edition(self._catalogue, 0, max(1, self._catalogue.arrivals.count(moment)))
            self._editions[number] = edition
            if len(self._editions) > _KEPT_EDITIONS:
                self._editions.popitem(last=False)
        self._editions.move_to_end(number)
        return edition

    def _fresh(self, day: int) -> Edition:
        """Return what was released in the four weeks before that day."""
        stop = self._first_day + np.timedelta64(day, "D")
        count = self._catalogue.arrivals.count
        return Edition(
            self._catalogue, count(stop - np.timedelta64(_EDITION_DAYS, "D")), count(stop)
        )
