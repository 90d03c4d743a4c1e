"""Days are read for drift: from the stores, and the readings back into them.

What is measured is told in `drift.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import polars as pl

from moovitamix.observe import drift, drift_null, drift_store
from moovitamix.observe.drift import Reading, Seen
from moovitamix.observe.drift_model import JudgedDay, days_with_hindsight, judge_day
from moovitamix.observe.drift_null import Null
from moovitamix.observe.drift_plan import CannotTell, DriftRules, Plan, plan
from moovitamix.observe.drift_store import Against
from moovitamix.observe.drift_windows import History, day_number, history_of
from moovitamix.recommend import archive, artifacts, registry
from moovitamix.recommend.interactions import read_interactions

if TYPE_CHECKING:
    from moovitamix.ingest.lake import LakeStore
    from moovitamix.recommend.als import AlsModel
    from moovitamix.recommend.registry import ModelVersion
    from moovitamix.resources import Warehouse

_GENRES = """
SELECT track_genres.track_id, genres.name
FROM track_genres JOIN genres ON genres.id = track_genres.genre_id
"""


@dataclass(frozen=True, eq=False, slots=True)
class DayRead:
    """A day that was read.

    Attributes:
        day: Which.
        readings: One of each feature.
        against: The champion.
        seen: What they were taken from; None where it could not be told.
        null: What they were judged by; None where it could not be told.
        judged: What the champion made of the day; None where it was not asked.
    """

    day: date
    readings: list[Reading]
    against: Against
    seen: Seen | None = None
    null: Null | None = None
    judged: JudgedDay | None = None

    @property
    def verdict(self) -> drift.Verdict:
        """On the day."""
        return drift.worst(self.readings)


def configured_rules() -> DriftRules:
    """The rules that the settings ask for."""
    from moovitamix.settings import get_settings

    return DriftRules(days=get_settings().drift_days)


def read_days(
    warehouse: Warehouse,
    lake: LakeStore,
    days: Sequence[date],
    rules: DriftRules,
    tell: Callable[[str], object] = lambda _: None,
) -> Iterator[DayRead]:
    """Read days for drift against the champion, and keep the readings. Again, they are the same.

    Plays are read once for all days. The champion is calibrated when a calibration for a day of
    such an age is missing: that fits its configuration three times.

    Args:
        warehouse: Holds the plays and the registry; gets the readings.
        lake: Holds the champion's model; gets calibrations.
        days: Which, ascending.
        rules: How.
        tell: Takes lines of progress.
    """
    with warehouse.connect() as connection:
        champion = registry.champion(connection)
    reader = _Reader(warehouse, lake, champion, days[-1], rules, tell)
    for day in days:
        with warehouse.connect() as connection:
            row = connection.execute(
                "SELECT pull FROM published_days WHERE day = %s", (day,)
            ).fetchone()
        read = reader.read(day, row[0] if row else None)
        with warehouse.connect() as connection:
            drift_store.write_readings(connection, day, read.readings, read.against)
        yield read


class _Reader:
    """One champion and the plays, read when first asked for."""

    def __init__(
        self,
        warehouse: Warehouse,
        lake: LakeStore,
        champion: ModelVersion | None,
        last: date,
        rules: DriftRules,
        tell: Callable[[str], object],
    ) -> None:
        self._warehouse, self._lake = warehouse, lake
        self._champion, self._last = champion, last
        self._rules, self._tell = rules, tell
        self._why_not = ""
        self._loaded: tuple[pl.DataFrame, History, AlsModel | None] | None = None

    def read(self, day: date, pull: str | None) -> DayRead:
        """The readings of a day; `pull` is None where it is not published."""
        champion = self._champion
        if champion is None:
            told = drift.nothing_told("there is no champion yet: `moovitamix run` trains one")
            return DayRead(day, told, Against(pull=pull))
        against = Against(champion.version, champion.as_of, pull)
        try:
            gap = drift.gap_of(champion.as_of, day, self._rules.days)
            if pull is None:
                raise CannotTell("the day is not published")  # noqa: TRY301 - told as the others
            plays, history, model = self._load(champion)
            planned = plan(history, day_number(champion.as_of), self._rules, gap)
            null = self._calibrated(champion, planned, plays, history, model)
        except CannotTell as error:
            return DayRead(day, drift.nothing_told(str(error)), against)
        readings, seen = drift.read_shape(history, planned, null, day, self._rules)
        judged = None if model is None else judge_day(model, plays, day)
        readings += drift.read_model(judged, null, self._rules, self._why_not)
        return DayRead(day, readings, against, seen, null, judged)

    def _load(self, champion: ModelVersion) -> tuple[pl.DataFrame, History, AlsModel | None]:
        if self._loaded is None:
            plays = read_interactions(self._warehouse, self._last)
            genres = self._warehouse.read(
                _GENRES, schema={"track_id": pl.Int64, "genre": pl.String}
            )
            self._loaded = (plays, history_of(plays, genres), self._model(champion))
        return self._loaded

    def _model(self, champion: ModelVersion) -> AlsModel | None:
        if champion.algorithm != "als":
            self._why_not = "lists are by popularity: the champion's factors are not served"
            return None
        try:
            return artifacts.load_model(self._lake, champion.artifact)
        except archive.DamagedArtifact as error:  # the check on champion_model is about that
            self._why_not = f"the champion cannot be loaded: {error}"
            return None

    def _calibrated(
        self,
        champion: ModelVersion,
        planned: Plan,
        plays: pl.DataFrame,
        history: History,
        model: AlsModel | None,
    ) -> Null:
        known = drift_store.load_null(self._lake, champion.artifact, planned.gap, self._rules)
        if known is not None:
            return known
        self._tell(f"version {champion.version} is calibrated: what is usual is read from its data")
        judged = (
            []
            if model is None
            else list(days_with_hindsight(model, plays, days=self._rules.days, gap=planned.gap))
        )
        null = drift_null.calibrate(history, planned, judged, self._rules)
        if model is None:  # it would hide the model when that is served, or mended
            return null
        drift_store.store_null(self._lake, champion.artifact, null, self._rules)
        return null
