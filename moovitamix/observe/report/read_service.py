"""Reads who is the champion, what is served, and what became of what was shown."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from moovitamix.observe import facts, online
from moovitamix.observe.report.of_service import (
    Interval,
    Measure,
    Model,
    Online,
    OnlineFigure,
    Rate,
    Serving,
    Verdict,
)
from moovitamix.recommend import experiments, registry, succession
from moovitamix.recommend.metrics import Figure
from moovitamix.recommend.recorded_figures import side_by_side
from moovitamix.serve.generations import Generation

if TYPE_CHECKING:
    import psycopg

_WEEK = timedelta(days=6)
_FOUR_WEEKS = timedelta(days=27)

_TITLES = {"ndcg": "NDCG", "map": "MAP"}
_UNITS = {"novelty": "bits"}
_BECAME = {"promote": "promoted", "rollback": "rolled back to", "keep": "kept out"}

_SERVABLE = """
SELECT (SELECT count(*) FROM users WHERE withdrawn_at IS NULL),
       (SELECT count(*) FROM tracks WHERE withdrawn_at IS NULL)
"""


def read_model(connection: psycopg.Connection, day: date) -> Model | None:
    """The champion, and what its evaluation had found; None before the first."""
    found = registry.champion(connection)
    if found is None:
        return None
    trial = experiments.running(connection)
    discovery = side_by_side(found.metrics).get("discovery", {})
    length = found.metrics.get("rules", {}).get("k")
    at = f"@{length}" if length is not None else ""
    return Model(
        version=found.version,
        algorithm=found.algorithm,
        provisional=found.provisional,
        as_of=found.as_of,
        age_days=(day - found.as_of).days,
        promoted_at=found.promoted_at,
        pinned=succession.pin(connection) is not None,
        challenger=trial.challenger if trial is not None else None,
        measures=tuple(
            Measure(
                name=f"{_TITLES.get(measure, measure)}{at}",
                unit=_UNITS.get(measure, ""),
                champion=_interval(rankers["candidate"]),
                popularity=_interval(rankers["popularity"]) if "popularity" in rankers else None,
            )
            for measure, rankers in discovery.items()
            if measure != "less" and "candidate" in rankers
        ),
    )


def _interval(figure: Figure) -> Interval:
    return Interval(value=figure.value, low=figure.low, high=figure.high)


def read_verdicts(connection: psycopg.Connection, now: datetime) -> tuple[Verdict, ...]:
    """What was decided in the last three days; the words of people are left out."""
    return tuple(
        Verdict(
            version=one.version,
            became=_BECAME[one.action],  # type: ignore[arg-type]  # by the literals of both
            by_hand=one.by_hand,
            verdict=None if one.by_hand else one.verdict,
            reason=None if one.by_hand else one.reason,
        )
        for one in facts.model_news(connection, now)
    )


def read_serving(
    connection: psycopg.Connection, current: Generation | None, now: datetime
) -> Serving | None:
    """What is served, beside what could be; None where nothing is."""
    if current is None:
        return None
    row = connection.execute(_SERVABLE).fetchone()
    users, tracks = row or (0, 0)
    lists = current.keys
    return Serving(
        generation=current.name,
        model_version=current.model_version,
        as_of=current.as_of,
        age_seconds=(now - current.published_at).total_seconds(),
        expires_seconds=(current.expires_at - now).total_seconds(),
        lists=dict(lists),
        users=users,
        # Who went since the publication still has a list, and who stated genres and has got a
        # list since counts by both until the next one.
        users_covered=min(users, lists.get("u", 0) + lists.get("g", 0)),
        tracks=tracks,
        tracks_covered=min(tracks, lists.get("t", 0)),
    )


def read_online(connection: psycopg.Connection, day: date) -> Online:
    """What became of the impressions of a day and of the days before, as far as counted."""
    first = day - _WEEK
    by_day = {
        one.by[0]: _rate(one.click_through)
        for one in online.online_figures(connection, day - _FOUR_WEEKS, day, ("day",))
    }
    return Online(
        day=_all(connection, day, day, "the day"),
        week=_all(connection, first, day, "seven days"),
        apart=tuple(
            _online(one, words.format(one.by[0] or "not told"))
            for by, words in (("tier", "tier {}"), ("model_version", "model version {}"))
            for one in online.online_figures(connection, first, day, (by,))  # type: ignore[arg-type]  # by its literals
        ),
        click_through=tuple(
            by_day.get(day - _FOUR_WEEKS + timedelta(days=number))
            for number in range(_FOUR_WEEKS.days + 1)
        ),
    )


def _all(connection: psycopg.Connection, first: date, last: date, what: str) -> OnlineFigure | None:
    found = online.online_figures(connection, first, last, ())
    return _online(found[0], what) if found else None


def _online(one: online.OnlineFigures, what: str) -> OnlineFigure:
    return OnlineFigure(
        what=what,
        impressions=one.impressions,
        clicks=_rate(one.click_through),
        skips=_rate(one.skip_rate),
        hides=_rate(one.hide_rate),
        listens=_rate(one.listening),
    )


def _rate(share: online.Share) -> Rate:
    return Rate(count=share.count, of=share.of, low=share.low, high=share.high)
