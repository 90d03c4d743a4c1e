"""Puts an answer into JSON, with where it comes from: which version, generation and arm.

What is in it is picked in `tiers.py`; the JSON itself is made in `answer.py`.
"""

from __future__ import annotations

from typing import NamedTuple

from moovitamix.recommend.arms import Arm
from moovitamix.serve.generations import Generation
from moovitamix.serve.http.answer import Lack, Picker, Source, Tier, render, tail
from moovitamix.serve.http.live import Ranked
from moovitamix.serve.http.serving import Told
from moovitamix.serve.http.world import World


class Answer(NamedTuple):
    """An answer, and what is counted and logged of it."""

    body: bytes
    tier: Tier
    generation: str = ""


class Rendering:
    """Renders answers.

    Args:
        world: Names, and what answers come from where there is no generation.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._ends: dict[Arm | None, tuple[Generation, list[Lack], Told | None, bytes]] = {}

    def rendered(
        self,
        head: bytes,
        picker: Picker,
        generation: Generation | None,
        lacks: list[Lack],
        because: dict[int, Ranked] | None = None,
        told: Told | None = None,
    ) -> Answer:
        """An answer of what was picked.

        Args:
            head: What comes first, as JSON members.
            picker: What was picked.
            generation: Whose lists were read; None: none could be.
            lacks: What the answer lacks.
            because: See `answer.render`.
            told: Of the experiment that runs.
        """
        tracks = self._world.tracks
        source = self._source(generation, told)
        body = render(head, tracks, picker.ids, picker.scores, picker.tiers, source, lacks, because)
        tier = picker.tiers[0] if picker.tiers else "nothing yet"
        return Answer(body, tier, source.generation or "")

    def _source(self, generation: Generation | None, told: Told | None = None) -> Source:
        if generation is not None:
            return Source(generation.model_version, generation.name, generation.published_at, told)
        origin = self._world.origin
        if origin is not None:
            return Source(origin.model_version, origin.generation, origin.generated_at)
        live = self._world.live
        return Source(None if live is None else live.champion.version, None, None)

    def cached_end(self, generation: Generation, lacks: list[Lack], told: Told | None) -> bytes:
        """The end of an answer that holds nothing but a cached list: the same for all of an arm."""
        arm = None if told is None else told.arm
        known = self._ends.get(arm)
        if known is not None and known[:3] == (generation, lacks, told):
            return known[3]
        end = tail("cached top-N", self._source(generation, told), lacks)
        self._ends[arm] = (generation, lacks, told, end)
        return end
