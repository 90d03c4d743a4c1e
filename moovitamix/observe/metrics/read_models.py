"""Figures of models and of what became of what they chose: registry, drift, online figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from moovitamix.observe.drift_store import read_of_champion
from moovitamix.observe.metrics import model_families as families
from moovitamix.observe.metrics.samples import Read, Sample, end_of
from moovitamix.observe.online import OnlineFigures, Share, online_figures

if TYPE_CHECKING:
    import psycopg

# The champion first; the other is the newest that was judged, promoted once or never.
_VERSIONS = """
(SELECT 'champion', as_of, promoted_at, metrics FROM model_versions WHERE status = 'champion')
UNION ALL
(SELECT 'challenger', as_of, NULL, metrics FROM model_versions
 WHERE status <> 'champion' AND verdict IS NOT NULL ORDER BY version DESC LIMIT 1)
"""

_NEWEST_COUNTED = "SELECT max(day) FROM online_figures"

_NEWEST_READ = "SELECT max(day) FROM drift_readings"

_ONLINE_DAYS = 7

_VERDICTS = families.DRIFT_VERDICT.labels[0].values


def read_models(connection: psycopg.Connection) -> Iterator[Read]:
    """How good versions are, how old, whether the world has moved on, what people made of lists."""
    for role, as_of, promoted_at, metrics in connection.execute(_VERSIONS).fetchall():
        yield Sample(families.MODEL_DATA, (role,), end_of(as_of))
        if promoted_at is not None:
            yield Sample(families.MODEL_PROMOTED, (), promoted_at.timestamp())
        yield from quality_of(role, metrics)
    yield from _drift(connection)
    yield from _online(connection)


def quality_of(role: str, metrics: Mapping[str, Any]) -> Iterator[Sample]:
    """The figures of an evaluation at k, as the registry holds them; of before, none."""
    for task in families.MODEL_QUALITY.labels[2].values:
        by_ranker = metrics.get("figures", {}).get(task, {})
        for ranker in families.MODEL_QUALITY.labels[1].values:
            for measure, figure in by_ranker.get(ranker, {}).items():
                if "@" not in measure and isinstance(figure, Mapping):
                    labels = (role, ranker, task, measure)
                    yield Sample(families.MODEL_QUALITY, labels, float(figure["value"]))


def _drift(connection: psycopg.Connection) -> Iterator[Sample]:
    newest = connection.execute(_NEWEST_READ).fetchone()
    if newest is not None and newest[0] is not None:
        yield Sample(families.DRIFT_DAY, (), end_of(newest[0]))
    readings = read_of_champion(connection)
    if not readings:
        return
    verdicts = Counter[str](one.verdict for one in readings)
    for verdict in _VERDICTS:
        yield Sample(families.DRIFT_VERDICT, (verdict,), verdicts[verdict])
    for one in readings:
        if one.value is not None:
            yield Sample(families.DRIFT, (one.feature,), one.value)
        if one.bound is not None:
            for level, value in (("warning", one.bound.warning), ("drifted", one.bound.alarm)):
                yield Sample(families.DRIFT_THRESHOLD, (one.feature, level), value)


def _online(connection: psycopg.Connection) -> Iterator[Sample]:
    newest = connection.execute(_NEWEST_COUNTED).fetchone()
    last: date | None = newest[0] if newest else None
    if last is None:
        return
    first = last - timedelta(days=_ONLINE_DAYS - 1)
    shown: Counter[tuple[str, str]] = Counter()
    reacted: Counter[tuple[str, str, str]] = Counter()
    for figures in online_figures(connection, first, last, ("arm", "tier")):
        arm, tier = (
            _known(str(value), label.values)
            for value, label in zip(figures.by, families.ONLINE_IMPRESSIONS.labels, strict=True)
        )
        shown[arm, tier] += figures.impressions
        for reaction, share in _reactions(figures).items():
            reacted[arm, tier, reaction] += share.count
    for (arm, tier), impressions in shown.items():
        yield Sample(families.ONLINE_IMPRESSIONS, (arm, tier), impressions)
        for reaction in families.ONLINE.labels[2].values:
            count = reacted[arm, tier, reaction]
            yield Sample(families.ONLINE, (arm, tier, reaction), count / impressions)


def _reactions(figures: OnlineFigures) -> dict[str, Share]:
    return {
        "click": figures.click_through,
        "skip": figures.skip_rate,
        "hide": figures.hide_rate,
        "listen": figures.listening,
    }


def _known(value: str, values: tuple[str, ...]) -> str:
    """A value of a label, or `other`: apps tell arms and tiers, and may make them up."""
    return value if value in values else "other"
