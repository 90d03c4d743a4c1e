"""A champion of a made-up world, and readings of days against it, without any store."""

from __future__ import annotations

from datetime import date

import polars as pl

from moovitamix.observe import drift
from moovitamix.observe.drift import Reading
from moovitamix.observe.drift_model import days_with_hindsight, judge_day
from moovitamix.observe.drift_null import Null, calibrate
from moovitamix.observe.drift_plan import DriftRules, plan
from moovitamix.observe.drift_windows import day_number, history_of
from moovitamix.recommend.als import AlsModel, AlsParameters, bound_regularization, fit_als
from moovitamix.recommend.matrix import MatrixParameters
from moovitamix.recommend.matrix_building import build_matrix
from moovitamix_tests.observe.shifts import Listened


def fitted(plays: pl.DataFrame, as_of: date, factors: int = AlsParameters().factors) -> AlsModel:
    """A model of what was heard up to a day."""
    matrix = build_matrix(plays, MatrixParameters(), as_of)
    return fit_als(matrix, bound_regularization(AlsParameters(factors=factors), matrix))


class Reader:
    """A champion, and its calibrations by the age of the day that is read.

    Args:
        listened: The world as it is without any shift.
        model: Fitted to a part of it.
        rules: How drift is read.
    """

    def __init__(self, listened: Listened, model: AlsModel, rules: DriftRules) -> None:
        self._listened, self._model, self._rules = listened, model, rules
        self._nulls: dict[int, Null] = {}

    def read(self, plays: pl.DataFrame, day: date) -> list[Reading]:
        """The readings of a day, of these plays; all but the days since the champion's are as is.

        Args:
            plays: Of the world, with or without a shift in the days since.
            day: After the champion's last.
        """
        rules, as_of = self._rules, self._model.as_of
        history = history_of(plays, self._listened.genres)
        planned = plan(history, day_number(as_of), rules, drift.gap_of(as_of, day, rules.days))
        if planned.gap not in self._nulls:
            judged = list(days_with_hindsight(self._model, plays, days=rules.days, gap=planned.gap))
            self._nulls[planned.gap] = calibrate(history, planned, judged, rules)
        null = self._nulls[planned.gap]
        readings, _ = drift.read_shape(history, planned, null, day, rules)
        return readings + drift.read_model(judge_day(self._model, plays, day), null, rules)
