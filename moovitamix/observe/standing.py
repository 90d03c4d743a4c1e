"""What is wrong for as long as it lasts, and what was decided: from figures of the stores.

Pure: who reads the figures is `facts.py`. Failed runs are the business of `failed_runs.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from statistics import median

from moovitamix.observe.conditions import Condition
from moovitamix.serve.generations import Generation
from moovitamix.serve.life import RENEW_BELOW
from moovitamix.warehouse.days import days_between

# The sensor `keep_serving` and each worker of the API renew at `RENEW_BELOW`. A quarter of that
# later they have failed for two hours, and there are six left to do something.
EXPIRES_SOON = RENEW_BELOW * 0.75

# What was promoted is scored and published by the next run, which takes its time.
PUBLISHED_WITHIN = timedelta(hours=1)

# A few records that wait are bad luck, and a small number doubles by chance.
MORE_THAN_USUAL = 2.0
AND_SO_MANY = 20
# With fewer days there is no usual level yet.
LEAST_DAYS_BEFORE = 3

# Of an experiment whose end was not said: users hardly change their ways within a month.
ENOUGH_DAYS = 28

_ONE_DAY = timedelta(days=1)

REDIS_DOWN = Condition(
    key="redis_down",
    kind="redis_down",
    title="Redis does not answer",
    text="No list is read, and none is published or renewed: the app gets what is worked out live, "
    "or what is popular. `moovitamix doctor` tells more.",
)


@dataclass(frozen=True)
class Served:
    """What is served, and whether anything could be.

    Attributes:
        current: The generation; None where there is none.
        champion: The registry's version; None before the first training.
        promoted: When it became that.
    """

    current: Generation | None
    champion: int | None
    promoted: datetime | None


@dataclass(frozen=True)
class DriftReading:
    """One feature of the newest day that was compared with the champion's data."""

    day: date
    feature: str
    model_version: int | None
    value: float | None
    alarm: float | None


@dataclass(frozen=True)
class RunningExperiment:
    """An experiment that nobody has stopped.

    Attributes:
        id: In the table `experiments`.
        challenger: The version that is tried.
        started: UTC.
        ends: When it was to be judged; None where that was not said.
    """

    id: int
    challenger: int
    started: datetime
    ends: datetime | None


@dataclass(frozen=True)
class ModelNews:
    """A version that was promoted, or judged and not promoted.

    Attributes:
        key: The same for the same decision.
        version: The version.
        action: `promote`, `rollback`, or `keep`.
        predecessor: The champion before it; of `keep`, the one that stays.
        by_hand: Whether somebody, not the gate, decided.
        verdict: In a word or two.
        reason: With the figures.
    """

    key: str
    version: int
    action: str
    predecessor: int | None
    by_hand: bool
    verdict: str | None
    reason: str | None


def blocked(days: Mapping[date, Sequence[str]]) -> list[Condition]:
    """A condition for each day that is held back, with the `table.check` names that do it."""
    return [
        Condition(
            key=f"day_blocked:{day}",
            kind="day_blocked",
            title=f"{day} is blocked",
            text=f"Held back are all rows of {day}, by {', '.join(checks)}. The last good lists "
            "stay, and other days go on. `moovitamix days blocked` tells why.",
        )
        for day, checks in sorted(days.items())
    ]


def late(
    published: Collection[date], held_back: Collection[date], present: datetime, after: timedelta
) -> list[Condition]:
    """A condition for each day since the first published one that should be there by now.

    Args:
        published: The days that are in the tables; where there is none, nobody waits for any.
        held_back: Blocked days: they have an alert of their own.
        present: UTC.
        after: How long after its end a day is expected.
    """
    if not published:
        return []
    last = (present - after).date() - _ONE_DAY
    missing = set(days_between(min(published), last)) - set(published) - set(held_back)
    return [
        Condition(
            key=f"day_late:{day}",
            kind="day_late",
            title=f"{day} is late",
            text=f"It ended {_hours(present - _end(day))} ago and is not published. What was "
            "heard on it is not considered. `moovitamix run` takes all that is missing.",
        )
        for day in sorted(missing)
    ]


def _end(day: date) -> datetime:
    return datetime.combine(day + _ONE_DAY, time(), UTC)


def _hours(stretch: timedelta) -> str:
    return f"{stretch / timedelta(hours=1):.0f} h"


def served(found: Served, now: datetime) -> list[Condition]:
    """Whether lists are served, and for how long still.

    Args:
        found: What is in the cache and in the registry.
        now: UTC.
    """
    if found.champion is None:
        return []
    if found.current is None:
        if found.promoted is not None and now - found.promoted < PUBLISHED_WITHIN:
            return []
        return [
            Condition(
                key="nothing_served",
                kind="nothing_served",
                title="Nothing is served",
                text=f"Model version {found.champion} is the champion, and there are no lists of "
                "it or any other in Redis. `moovitamix run` publishes them.",
            )
        ]
    left = found.current.expires_at - now
    if left >= EXPIRES_SOON:
        return []
    return [
        Condition(
            key="lists_expiring",
            kind="lists_expiring",
            title="The lists are about to expire",
            text=f"{found.current.name} has {max(left, timedelta(0)) / timedelta(hours=1):.1f} h "
            "left, no newer generation came, and it was not renewed. `moovitamix generations "
            "renew` does it by hand.",
        )
    ]


def quarantine(waiting: int, before: Sequence[int]) -> list[Condition]:
    """Whether more waits in quarantine than usual.

    Args:
        waiting: Rows that are not resolved.
        before: How many there were at this hour of each of the last days.
    """
    if len(before) < LEAST_DAYS_BEFORE:
        return []
    usual = median(before)
    if waiting <= MORE_THAN_USUAL * usual + AND_SO_MANY:
        return []
    return [
        Condition(
            key="quarantine_growing",
            kind="quarantine_growing",
            title="Quarantine grows",
            text=f"{waiting:,} records wait; in the last {len(before)} days it was {usual:,.0f}. "
            "The rest is loaded. `moovitamix quarantine list` counts them by reason.",
        )
    ]


def drift(readings: Sequence[DriftReading]) -> list[Condition]:
    """One condition for all features that have drifted on the newest day, a champion's own.

    Args:
        readings: Those with an alarm.
    """
    if not readings:
        return []
    first = readings[0]
    found = ", ".join(
        f"{one.feature} {_figure(one.value)} (alarm from {_figure(one.alarm)})"
        for one in sorted(readings, key=lambda one: one.feature)
    )
    return [
        Condition(
            key=f"drift:v{first.model_version}",
            kind="drift",
            title=f"The data has drifted from that of version {first.model_version}",
            text=f"By {first.day}: {found}.",
        )
    ]


def experiment(running: RunningExperiment | None, now: datetime) -> list[Condition]:
    """Whether an experiment waits for its verdict, and keeps the champion from being retrained."""
    if running is None:
        return []
    ends = running.ends or running.started + timedelta(days=ENOUGH_DAYS)
    if now < ends:
        return []
    days = "The days it was given" if running.ends else f"{ENOUGH_DAYS} days"
    return [
        Condition(
            key=f"experiment_over:{running.id}",
            kind="experiment_over",
            title=f"Experiment {running.id} waits for its verdict",
            text=f"{days} were over on {ends:%Y-%m-%d}. Version {running.challenger} still answers "
            "a part of the users, and no training is asked for while it does. `moovitamix "
            "experiment stop` makes the verdict; with `--promote` a better one stays.",
        )
    ]


def _figure(value: float | None) -> str:
    return "?" if value is None else f"{value:.3g}"


def model_news(news: Sequence[ModelNews]) -> list[Condition]:
    """What was promoted and what was not, with the figures. Names of people are left out."""
    return [_of_model(one) for one in news]


def _of_model(one: ModelNews) -> Condition:
    figures = f"{one.verdict or 'no verdict'}: {one.reason or 'no reason recorded'}"
    show = f"`moovitamix models show {one.version}` tells more."
    if one.action == "keep":
        champion = f"version {one.predecessor}" if one.predecessor is not None else "none"
        return Condition(
            key=one.key,
            kind="model_kept",
            title=f"Version {one.version} is not promoted",
            text=f"The champion stays ({champion}). {figures} {show}",
        )
    before = f", after version {one.predecessor}" if one.predecessor is not None else ""
    how = "rolled back to by hand" if one.action == "rollback" else "promoted"
    if one.by_hand:
        how = "rolled back to by hand" if one.action == "rollback" else "promoted by hand"
        figures = "Who and why is in the registry."
    return Condition(
        key=one.key,
        kind="model_promoted",
        title=f"Version {one.version} is the champion",
        text=f"It was {how}{before}. {figures} {show}",
    )
