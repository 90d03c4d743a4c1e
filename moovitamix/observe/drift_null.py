"""What the features are while nothing happens: past windows compared with what was before them.

From that the thresholds follow, for all features together. Pure; kept by `drift_store.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from moovitamix.observe import drift_measures as measures
from moovitamix.observe.drift_features import BY_NAME, OF_MODEL, OF_SHAPE, bounded, can_be_crossed
from moovitamix.observe.drift_model import JudgedDay
from moovitamix.observe.drift_plan import CannotTell, DriftRules, Plan
from moovitamix.observe.drift_shape import Base, base_of, shape_values
from moovitamix.observe.drift_windows import History, Values, Window


@dataclass(frozen=True, slots=True)
class Bound:
    """What is usual of a feature, and from where on it is not.

    Attributes:
        usual: The mean while nothing happens.
        warning: From here on, a warning.
        alarm: From here on, an alarm.
    """

    usual: float
    warning: float
    alarm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Null:
    """The calibration of one champion, for windows of one length and age.

    Attributes:
        gap: Windows between the champion's last day and the days that are judged.
        bounds: By feature; those that could not be calibrated are missing.
        reasons: By feature that is missing: why.
        past_windows: How many past windows it rests on.
        past_days: How many days, judged with hindsight, it rests on.
        rank_shares: [len(LOG_RANKS)]: ranks of what was played on those days; empty without any.
    """

    gap: int
    bounds: dict[str, Bound]
    reasons: dict[str, str] = field(default_factory=dict)
    past_windows: int = 0
    past_days: int = 0
    rank_shares: list[float] = field(default_factory=list)


def base_before(history: History, end: int, starts: Sequence[int], rules: DriftRules) -> Base:
    """The base of some windows before a day; what was first heard from that day on is cold.

    Raises:
        CannotTell: When too few users listened in one of them.
    """
    windows = [history.window(start, rules.days) for start in starts]
    fewest = min(len(window.users) for window in windows)
    if fewest < rules.least_users:
        raise CannotTell(
            f"{fewest} users listened in a window of the champion's data, of "
            f"{rules.least_users} that it takes"
        )
    return base_of(windows, end)


def shape_draws(history: History, planned: Plan, rules: DriftRules) -> Values:
    """The features as chance makes them, [draws, len(OF_SHAPE)]; see `drawn_around`.

    Raises:
        CannotTell: When too few users listened in all of them.
    """
    chance = np.random.default_rng(rules.seed)
    begun, own, draws = [], [], []
    too_few = CannotTell("there is no past window")
    for start, before in planned.past:
        window = history.window(start, rules.days)
        try:
            is_listened_to(window, rules)
            base = base_before(history, start - planned.gap * rules.days, before, rules)
        except CannotTell as error:  # of a young platform the later windows still tell
            too_few = error
            continue
        begun.append(start)
        weights = user_weights(len(window.users), rules.resamples, chance)
        own.append(shape_values(window, base)[0])
        draws.append(shape_values(window, base, weights))
    if not begun:
        raise too_few
    apart = 1 + (max(begun) - min(begun)) // rules.days
    return drawn_around(np.array(own), draws, apart)


def model_draws(judged: Sequence[JudgedDay], rules: DriftRules) -> tuple[Values, Values]:
    """The same of the features of the model, and the distribution of ranks in all these days.

    Returns:
        [draws, len(OF_MODEL)], and [len(LOG_RANKS)].

    Raises:
        CannotTell: When too few days have enough users.
    """
    told = [
        day
        for day in judged
        if len(day.ndcg) >= rules.least_users and day.listeners >= rules.least_users
    ]
    if len(told) < rules.least_days:
        raise CannotTell(
            f"{len(told)} days of the champion's data have {rules.least_users} users to judge a "
            f"model by, of {rules.least_days} that it takes"
        )
    chance = np.random.default_rng(rules.seed + 1)
    shares = [day.rank_shares()[:, 0] for day in told]
    whole = np.sum(shares, axis=0)
    own, draws = [], []
    for day, of_day in zip(told, shares, strict=True):
        others = (whole - of_day) / (len(told) - 1)
        weights = user_weights(day.listeners, rules.resamples, chance)
        ranks = measures.wasserstein(day.rank_shares(weights), others, measures.LOG_RANKS)
        itself = measures.wasserstein(of_day[:, None], others, measures.LOG_RANKS)
        weights = user_weights(len(day.ndcg), rules.resamples, chance)
        draws.append(np.column_stack([ranks, day.ndcg @ weights / len(day.ndcg)]))
        own.append(np.array([itself[0], day.ndcg.mean()]))
    return drawn_around(np.array(own), draws, len(told)), whole / len(told)


def drawn_around(own: Values, draws: Sequence[Values], apart: int) -> Values:
    """Around what past windows were, as far apart as chance puts them.

    Who listens is drawn anew; a sample with repeats is farther from everything than a fresh one,
    so of the draws only the deviations from their mean count. Where the windows themselves differ
    by more than that, the deviations are stretched to differ as much; and a little more, for the
    mean of a few windows is uncertain itself (the variance of a prediction is 1 + 1/n of that of
    a value).

    Args:
        own: [windows, features]: what they were.
        draws: Of each window: [resamples, features].
        apart: How many of the windows do not overlap.
    """
    deviations = np.concatenate([drawn - drawn.mean(axis=0) for drawn in draws])
    by_users = np.maximum(deviations.std(axis=0), 1e-12)
    by_windows = own.std(axis=0, ddof=1) if len(own) > 1 else np.zeros(own.shape[1])
    stretch = np.maximum(by_windows / by_users, 1) * np.sqrt(1 + 1 / apart)
    found: Values = own.mean(axis=0) + deviations * stretch
    return found


def user_weights(users: int, resamples: int, chance: np.random.Generator) -> Values:
    """How often each user is in each resample, [users, resamples]."""
    drawn = chance.multinomial(users, np.full(users, 1 / users), size=resamples)
    return drawn.T.astype(np.float64)


def bounds_of(draws: dict[str, Values], rules: DriftRules) -> dict[str, Bound]:
    """Thresholds that chance seldom crosses in any feature at once.

    Each feature is measured in standard deviations from its mean, towards what is bad; the
    thresholds are a quantile of the largest of them (Westfall & Young, "Resampling-Based Multiple
    Testing", 1993, section 2.3: the max-T method), so many deviations for all features alike.

    Args:
        draws: By feature; those of one kind (shape, model) are from the same draws, row by row.
        rules: Which quantiles.
    """
    usual = {name: float(values.mean()) for name, values in draws.items()}
    spread = {name: max(float(values.std()), 1e-12) for name, values in draws.items()}
    chance = np.random.default_rng(rules.seed + 2)
    size = max(len(values) for values in draws.values())
    largest = np.full(size, -np.inf)
    for kind in (OF_SHAPE, OF_MODEL):
        names = [name for name in kind if name in draws]
        if not names:
            continue
        # The kinds are drawn apart: any draw of one goes with any of the other.
        rows = chance.integers(0, len(draws[names[0]]), size)
        for name in names:
            bad = 1 if BY_NAME[name].worse == "up" else -1
            deviations = bad * (draws[name][rows] - usual[name]) / spread[name]
            largest = np.maximum(largest, deviations)
    warning, alarm = (
        float(np.quantile(largest, 1 - share))
        for share in (rules.false_warnings, rules.false_alarms)
    )
    found = {}
    for name in draws:
        feature = BY_NAME[name]
        step = spread[name] if feature.worse == "up" else -spread[name]
        found[name] = Bound(
            usual[name],
            bounded(feature, usual[name], usual[name] + warning * step, feature.least_warning),
            bounded(feature, usual[name], usual[name] + alarm * step, feature.least_alarm),
        )
    return found


def calibrate(
    history: History, planned: Plan, judged: Sequence[JudgedDay], rules: DriftRules
) -> Null:
    """The thresholds of a champion.

    Args:
        history: All plays up to its last day, or more.
        planned: The windows.
        judged: Days judged with hindsight; none where there is no model to be judged.
        rules: How.

    Raises:
        CannotTell: When too few users listened in the champion's data.
    """
    shape = shape_draws(history, planned, rules)
    draws = dict(zip(OF_SHAPE, shape.T, strict=True))
    reasons: dict[str, str] = {}
    shares: list[float] = []
    try:
        of_model, found = model_draws(judged, rules)
        draws |= dict(zip(OF_MODEL, of_model.T, strict=True))
        shares = [float(share) for share in found]
    except CannotTell as error:
        reasons = dict.fromkeys(OF_MODEL, str(error))
    bounds = bounds_of(draws, rules)
    for name in [*bounds]:
        if not can_be_crossed(BY_NAME[name], bounds[name].alarm):
            del bounds[name]
            reasons[name] = "chance alone moves it by as much as it could move"
    return Null(
        gap=planned.gap,
        bounds=bounds,
        reasons=reasons,
        past_windows=len(planned.past),
        past_days=len(judged),
        rank_shares=shares,
    )


def is_listened_to(window: Window, rules: DriftRules) -> None:
    """Refuse a present in which too few listened.

    Raises:
        CannotTell: With how many did.
    """
    if len(window.users) < rules.least_users:
        raise CannotTell(
            f"{len(window.users)} users listened in these {rules.days} days, of "
            f"{rules.least_users} that it takes"
        )
