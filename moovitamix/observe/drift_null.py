"""What the features are while nothing happens: past windows compared with what was before them.

From that the thresholds follow, for all features together. Pure; kept by `drift_store.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from moovitamix.observe import drift_measures as measures
from moovitamix.observe.drift_features import BY_NAME, OF_MODEL, OF_SHAPE, bounded
from moovitamix.observe.drift_model import JudgedDay
from moovitamix.observe.drift_shape import Base, base_of, shape_values
from moovitamix.observe.drift_windows import History, Values, Window


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftRules:
    """How drift is read.

    Attributes:
        days: Length of the windows that are compared. Whole weeks: days of the week differ.
        reference_windows: So many windows before the champion's last day are the reference.
        base_windows: So many of them, the newest, a window is compared with at most.
        past_windows: So many past windows tell what is usual, at most; they may overlap.
        resamples: Of the users of each of them.
        least_users: Fewer listeners in a window, or judged users in a day, cannot tell.
        least_days: Fewer days judged with hindsight do not tell how days differ.
        false_warnings: Share of undrifted readings in which chance alone, by this calibration,
            takes one feature or more over its threshold for a warning.
        false_alarms: The same of the threshold for an alarm.
        seed: Of the resampling.
    """

    days: int = 7
    reference_windows: int = 12
    base_windows: int = 4
    past_windows: int = 12
    resamples: int = 100
    least_users: int = 50
    least_days: int = 5
    false_warnings: float = 0.05
    false_alarms: float = 0.01
    seed: int = 20260901


class CannotTell(Exception):
    """There is too little to compare; the message says of what. Not for people to act on."""


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
        score_shares: [len(SCORES)]: scores of what was played on those days; empty without any.
    """

    gap: int
    bounds: dict[str, Bound]
    reasons: dict[str, str] = field(default_factory=dict)
    past_windows: int = 0
    past_days: int = 0
    score_shares: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Plan:
    """Which windows are compared with which, as first days.

    Attributes:
        base: Of the windows that the present is compared with.
        past: Of each window that tells what is usual: its own, then those of its base.
        gap: Windows between each and its base.
    """

    base: tuple[int, ...]
    past: tuple[tuple[int, tuple[int, ...]], ...]
    gap: int


def plan(history: History, as_of: int, rules: DriftRules, gap: int) -> Plan:
    """Choose the windows of the reference, which ends with the champion's last day.

    Each past window is compared with as many windows, as long before it, as the present is. A
    window with a day without plays is used for nothing. Where the reference is too short for the
    gap, a smaller gap is taken.

    Raises:
        CannotTell: When the reference has fewer than three windows, or none is whole.
    """
    days, end = rules.days, as_of + 1
    earliest = int(history.day[0]) if len(history.day) else end
    windows = min((end - earliest) // days, rules.reference_windows)
    if windows < 3:
        raise CannotTell(
            f"the champion's data has {max(windows, 0)} windows of {days} days, of 3 that it takes"
        )
    gap = min(gap, windows - 3)
    size = min(rules.base_windows, windows - gap - 2)
    start = end - windows * days
    last, first = end - days, start + (size + gap) * days
    stride = max(1, -(-(last - first) // (rules.past_windows - 1)))
    base = _before(end, size, days)
    past = []
    for begin in range(last, first - 1, -stride):
        before = _before(begin - gap * days, size, days)
        if all(history.is_whole(day, days) for day in (begin, *before)):
            past.append((begin, before))
    if not past or not all(history.is_whole(day, days) for day in base):
        raise CannotTell("there are days without plays in the champion's data")
    return Plan(base, tuple(past), gap)


def _before(end: int, windows: int, days: int) -> tuple[int, ...]:
    return tuple(end - (back + 1) * days for back in range(windows))


def base_before(history: History, starts: Sequence[int], rules: DriftRules) -> Base:
    """The base of some windows, the newest first; what comes after them is cold.

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
    return base_of(windows, starts[0] + rules.days)


def shape_draws(history: History, planned: Plan, rules: DriftRules) -> Values:
    """The features of past windows with their users drawn anew, [draws, len(OF_SHAPE)].

    A sample with repeats is farther from everything than a fresh window is, so the draws of a
    window are moved to have its own value as their mean.

    Raises:
        CannotTell: When too few users listened.
    """
    chance = np.random.default_rng(rules.seed)
    draws = []
    for start, before in planned.past:
        window, base = history.window(start, rules.days), base_before(history, before, rules)
        if len(window.users) < rules.least_users:
            raise CannotTell(f"{len(window.users)} users listened in a window of the reference")
        weights = user_weights(len(window.users), rules.resamples, chance)
        draws.append(_centred(shape_values(window, base, weights), shape_values(window, base)))
    return np.concatenate(draws)


def model_draws(judged: Sequence[JudgedDay], rules: DriftRules) -> tuple[Values, Values]:
    """The same of the features of the model, and the distribution of scores in all these days.

    Returns:
        [draws, len(OF_MODEL)], and [len(SCORES)].

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
    shares = [day.score_shares()[:, 0] for day in told]
    whole = np.sum(shares, axis=0)
    draws = []
    for day, own in zip(told, shares, strict=True):
        others = (whole - own) / (len(told) - 1)
        weights = user_weights(day.listeners, rules.resamples, chance)
        scores = measures.wasserstein(day.score_shares(weights), others, measures.SCORES)
        itself = measures.wasserstein(own[:, None], others, measures.SCORES)
        weights = user_weights(len(day.ndcg), rules.resamples, chance)
        quality = day.ndcg @ weights / len(day.ndcg)
        drawn = np.column_stack([scores, quality])
        draws.append(_centred(drawn, np.array([[itself[0], day.ndcg.mean()]])))
    return np.concatenate(draws), whole / len(told)


def _centred(draws: Values, own: Values) -> Values:
    moved: Values = draws - draws.mean(axis=0) + own
    return moved


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
    return Null(
        gap=planned.gap,
        bounds=bounds_of(draws, rules),
        reasons=reasons,
        past_windows=len(planned.past),
        past_days=len(judged),
        score_shares=shares,
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
