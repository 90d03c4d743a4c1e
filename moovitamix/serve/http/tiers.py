"""Who answers a request: the cached list, the factors, what is popular; never nobody.

How Redis is read is told in `reads.py`, how factors rank in `live.py`, what is popular in
`world.py`, and how an answer is put into JSON in `rendering.py`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moovitamix.serve.codec import TopN
from moovitamix.serve.generations import Generation
from moovitamix.serve.hides import hidden_ids
from moovitamix.serve.http.answer import (
    Lack,
    Picker,
    render_uniform,
)
from moovitamix.serve.http.asking import Ask
from moovitamix.serve.http.beside import Beside
from moovitamix.serve.http.listed import Listed
from moovitamix.serve.http.lists_read import Lists, Reads
from moovitamix.serve.http.live import Ranked, best_of
from moovitamix.serve.http.live_ranking import LiveRanking, LiveRequest
from moovitamix.serve.http.popular_tiers import take_favourites, take_popular
from moovitamix.serve.http.problems import ProblemError
from moovitamix.serve.http.reads import ListReader, Outcome, Wanted
from moovitamix.serve.http.rendering import Answer, Rendering
from moovitamix.serve.http.serving import Found, Told
from moovitamix.serve.http.world import World

# How many listens are told of each track.
BECAUSE = 3


class Noted(NamedTuple):
    """What is noted of a user beside their lists.

    Attributes:
        hidden: Tracks that no answer to them may hold.
        heard: Tracks heard since the matrix of the day.
        genres: That they have stated; asked for only where they have no list.
    """

    hidden: frozenset[int]
    heard: frozenset[int]
    genres: list[int]


class Tiers:
    """Answers requests for lists.

    Args:
        reader: Of Redis.
        world: Names, removals, what is popular, the factors.
        observer: Told of hits and misses.

    Attributes:
        lists: Reads what was published.
    """

    def __init__(self, reader: ListReader, world: World, observer: Reads | None = None) -> None:
        self._world = world
        self._observer = observer or Reads()
        self.lists = Lists(reader, world, self._observer)
        self._beside = Beside()
        self._live = LiveRanking()
        self._rendering = Rendering(world)
        self._listed = Listed(world, self._rendering)

    def close(self) -> None:
        """End the threads."""
        self._beside.close()

    async def recommend(self, user: int, ask: Ask) -> Answer:
        """What to play to a user next; the tiers are in `docs/serving.md`.

        Raises:
            ProblemError: When a genre is asked for that the catalogue does not have.
        """
        wanted: list[Wanted] = [("u", user), ("r", user)] if ask.repeats else [("u", user)]
        return await self.from_read(user, ask, await self.lists.outcome(wanted, user))

    def plain(self, user: int, limit: int, outcome: Outcome) -> Answer | None:
        """The answer that is the beginning of the user's list as it was published.

        Args:
            user: Whose list was read.
            limit: How many tracks.
            outcome: What was read, of one list.

        Returns:
            None where it takes more: see `from_read`.
        """
        if not isinstance(outcome, Found) or self._is_gone(user):
            return None
        (value,) = outcome.values
        if not value:
            return None
        lacks = self.lists.lacks(outcome)
        answer = self._listed.answer(user, limit, outcome.generation, value, lacks, outcome.told)
        if answer is not None:
            self._observer.read(hits=1)
        return answer

    async def from_read(self, user: int, ask: Ask, outcome: Outcome) -> Answer:
        """The same as `recommend`, from what was read of the lists that it takes.

        Raises:
            ProblemError: When a genre is asked for that the catalogue does not have.
        """
        if ask.plain and not ask.repeats:
            answer = self.plain(user, ask.limit, outcome)
            if answer is not None:
                return answer
        generation, values, lacks, told = self.lists.of(outcome)
        lists = [self.lists.decoded(value) for value in values]
        own = next((found for found in reversed(lists) if found is not None), None)
        if self._is_gone(user):  # a list is made of what they have heard
            own = None
        if ask.plain and generation is not None and own is not None and len(own.ids) >= ask.limit:
            ids = own.ids[: ask.limit].tolist()
            if self._listed.may_be_told(user, ids):
                body = render_uniform(
                    b'"user_id":%d' % user,
                    self._world.tracks.members_of(ids),
                    own.scores[: ask.limit].tolist(),
                    b"cached top-N",
                    self._rendering.cached_end(generation, lacks, told),
                )
                return Answer(body, "cached top-N", generation.name)
        return await self._assemble(user, ask, own, generation, lacks, told)

    def _is_gone(self, user: int) -> bool:
        return user in self._world.withdrawn_users or user in self._world.erased_users

    async def similar(self, track: int, limit: int) -> Answer:
        """The tracks most like one: cached, then by the factors, then popular in its genres."""
        world = self._world
        generation, values, lacks, _ = self.lists.of(await self.lists.outcome([("t", track)]))
        found = self.lists.decoded(values[0]) if values else None
        picker = self._picker(Ask(limit=limit, exclude=frozenset((track,))), None)
        if found is not None:
            picker.take(found.ids, found.scores, "cached similar")
        live = world.live
        if picker.wanting and live is not None:
            cosines = await self._beside.run(live.similarity, track)
            if cosines is not None:
                more = limit + len(world.removed) + len(picker.ids)
                picker.take(*best_of(live.tracks, cosines, None, more), "live factors")
        place = int(world.tracks.places(np.array([track]))[0])
        if picker.wanting and place >= 0 and (genres := world.tracks.genres_of(place)):
            in_genres = world.tracks.in_genres(genres, every=False)
            take_popular(self._world, picker, in_genres, "popular in genre")
        take_popular(self._world, picker, None, "popular")
        return self._rendering.rendered(b'"track_id":%d' % track, picker, generation, lacks)

    async def popular(self, ask: Ask) -> Answer:
        """What most users heard, in some genres or over all; from this process alone.

        Raises:
            ProblemError: When a genre is asked for that the catalogue does not have.
        """
        allowed, lacks = self._allowed(ask)
        picker = self._picker(ask, allowed)
        self._take_asked(picker, ask, allowed)
        return self._rendering.rendered(b"", picker, None, [*lacks, *self.lists.removal_lacks()])

    async def _assemble(
        self,
        user: int,
        ask: Ask,
        own: TopN | None,
        generation: Generation | None,
        lacks: list[Lack],
        told: Told | None,
    ) -> Answer:
        world = self._world
        allowed, more_lacks = self._allowed(ask)
        lacks = [*lacks, *more_lacks]
        noted = await self._noted_of(user, generation, cold=own is None)
        since = frozenset() if ask.repeats else noted.heard
        never = world.hidden.of(user) | noted.hidden | since
        excluded, ask = ask.exclude, ask._replace(exclude=ask.exclude | never)
        live, is_of_arm = (None, True) if user in world.withdrawn_users else world.live_for(told)
        known = live is not None and user not in world.erased_users
        heard = live.heard(user) if live and known else np.empty(0, dtype=np.int64)
        picker = self._picker(ask, allowed, frozenset() if ask.repeats else heard.tolist())
        if own is not None:
            picker.take(own.ids, own.scores, "cached top-N")
        if picker.wanting and live and known and live.champion.algorithm == "als":
            request = LiveRequest(
                user=user,
                repeats=ask.repeats,
                listed=None if own is None else own.ids,
                never=never | world.removed,
                heard=noted.heard,
                exclude=excluded,
                allowed=allowed,
                per_artist=ask.per_artist is not None,
            )
            # A copy: who is not waited for any longer may still be picking.
            picked = await self._beside.run(
                self._live.pick, live, picker.copy(), world.tracks, request
            )
            if picked is not None and not is_of_arm:
                lacks.append("challenger")
            picker = picker if picked is None else picked
        if picker.wanting and own is None and not len(heard) and not ask.genres:
            take_favourites(self._world, picker, noted.genres)
        self._take_asked(picker, ask, allowed)
        because = None
        if ask.explain:
            if live is None or live.champion.algorithm != "als":
                lacks.append("model")
            else:
                ids = np.array(picker.ids, np.int64)
                adds = await self._beside.run(live.explain, user, ids) if known else None
                because = {
                    track: Ranked(listens.ids[:BECAUSE], listens.scores[:BECAUSE])
                    for track, listens in (adds or {}).items()
                }
        return self._rendering.rendered(
            b'"user_id":%d' % user, picker, generation, lacks, because, told
        )

    async def _noted_of(self, user: int, generation: Generation | None, *, cold: bool) -> Noted:
        """What is noted of a user beside the lists."""
        hidden, heard, stated = frozenset[int](), frozenset[int](), None
        if generation is not None:
            wanted: list[Wanted] = [("x", user), ("h", user)]
            if cold:
                wanted.append(("g", user))
            values = self.lists.of(await self.lists.outcome(wanted, user)).values
            if values:
                hidden, heard = hidden_ids(values[0]), hidden_ids(values[1])
                stated = self.lists.decoded(values[2]) if cold else None
        if stated is not None and user not in self._world.erased_users:
            return Noted(hidden, heard, stated.ids.tolist())
        known = cold and user not in self._world.erased_users
        return Noted(hidden, heard, self._world.favourites.of(user) if known else [])

    def _take_asked(self, picker: Picker, ask: Ask, allowed: NDArray[np.bool_] | None) -> None:
        if ask.genres and allowed is None:  # no name table: what was published by genre
            ids = [int(genre) for genre in ask.genres if genre.strip().isdecimal()]
            for found in filter(None, map(self._world.by_genre.get, ids)):
                picker.take(found.ids, found.listeners, "popular in genre")
        take_popular(self._world, picker, allowed, "popular in genre" if ask.genres else "popular")

    def _allowed(self, ask: Ask) -> tuple[NDArray[np.bool_] | None, list[Lack]]:
        if not ask.genres:
            return None, []
        tracks = self._world.tracks
        if not len(tracks):
            return None, ["names"]
        places = []
        for genre in ask.genres:
            place = tracks.genre(genre)
            if place is None:
                raise ProblemError(
                    404,
                    "There is no such genre in the catalogue. Ask for one that its tracks have.",
                    errors=[{"parameter": "genre", "detail": f"unknown: {genre}"}],
                )
            places.append(place)
        return tracks.in_genres(places, every=ask.every_genre), []

    def _picker(
        self, ask: Ask, allowed: NDArray[np.bool_] | None, left_out: Any = frozenset()
    ) -> Picker:
        return Picker(
            self._world.tracks,
            ask.limit,
            ask.exclude.union(left_out),
            self._world.removed,
            allowed,
            ask.per_artist,
        )
