"""How each stage is doing, and what needs somebody: from what the stores tell. Pure.

What is wrong is judged by the rules that alerts are judged by (`observe/standing.py`), so that the
console and the alerts say the same, and this works where no daemon looks around.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Literal

from moovitamix.observe import standing
from moovitamix.observe.conditions import RULES, Condition, Kind
from moovitamix.observe.failed_runs import job_of
from moovitamix.observe.failed_ticks import instigator_of
from moovitamix.serve.http.console import checked
from moovitamix.serve.http.console.books import Books
from moovitamix.serve.http.console.checked import Checks, Process
from moovitamix.serve.http.console.lists import Lists

State = Literal["well", "look", "wrong", "not known"]

# Whom a condition is about. Failed runs are told by their job, failed looks by who looked.
_OF_KIND: dict[Kind, tuple[str, ...]] = {
    "day_blocked": ("warehouse",),
    "day_late": ("warehouse",),
    "source_gone": ("ingest",),
    "source_anew": ("ingest",),
    "quarantine_growing": ("warehouse",),
    "lists_expiring": ("serve",),
    "nothing_served": ("serve",),
    "redis_down": ("serve",),
    "drift": ("observe",),
    "drift_unknown": ("observe",),
    "experiment_over": ("recommend",),
}
_OF_JOB = {
    "ingest_day": ("ingest", "warehouse"),
    "retrain": ("recommend",),
    "refresh_serving": ("recommend", "serve"),
    "renew_serving": ("serve",),
    "observe_day": ("observe",),
    "report_day": ("observe",),
    "count_feedback": ("observe",),
    "housekeeping": ("warehouse",),
}
_OF_INSTIGATOR = {
    "ingest_daily": ("ingest", "warehouse"),
    "load_missing_days": ("ingest", "warehouse"),
    "housekeeping_daily": ("warehouse",),
    "keep_champion": ("recommend",),
    "keep_serving": ("serve",),
    "watch_days": ("observe",),
    "count_feedback_daily": ("observe",),
    "write_report": ("observe",),
    "send_report": ("observe",),
    "alerts": ("observe",),
}

# What is asked here, now; of the other kinds, the book of alerts is taken at its word.
_ASKED: frozenset[Kind] = frozenset(
    {
        "day_blocked",
        "day_late",
        "quarantine_growing",
        "drift",
        "redis_down",
    }
)
# The same, where Redis answers.
_ASKED_OF_REDIS: frozenset[Kind] = frozenset({"lists_expiring", "nothing_served"})


@dataclass(frozen=True)
class Stage:
    """How a stage is doing.

    Attributes:
        name: As in the graph.
        state: In a word.
        last: The last day it has got to.
        at: When it got there, UTC.
        what: What happened then, before "at".
        checks: What was checked last; None: not known.
    """

    name: str
    state: State
    last: date | None
    at: datetime | None
    what: str
    checks: Checks | None


def needs(
    books: Books | None,
    lists: Lists | None,
    *,
    now: datetime,
    present: datetime,
    late_after: timedelta,
) -> list[Condition]:
    """What is wrong now, the worst first.

    Args:
        books: What Postgres tells; None: it does not.
        lists: What Redis tells; None: it does not.
        now: UTC.
        present: The same, or the simulated present, by which days are late.
        late_after: How long after its end a day is expected.
    """
    if books is None:
        return []
    found = [
        *standing.blocked(books.blocked),
        *standing.late(books.published, books.blocked, present, late_after),
        *(standing.quarantine(*books.levels) if books.levels else ()),
        *standing.drift(books.drifted),
    ]
    asked_for = _ASKED
    if lists is None:
        found.append(standing.REDIS_DOWN)
    else:
        asked_for |= _ASKED_OF_REDIS
        champion = books.champion
        version, promoted = (champion.version, champion.promoted_at) if champion else (None, None)
        found += standing.served(standing.Served(lists.current, version, promoted), now)
    booked = {one.key: one for one in books.alerts}
    asked = [
        replace(one, since=booked[one.key].since) if one.key in booked else one for one in found
    ]
    others = [one for one in books.alerts if one.kind not in asked_for]
    severities = list(dict.fromkeys(rule.severity for rule in RULES.values()))
    return sorted([*asked, *others], key=lambda one: severities.index(one.severity))


def stages(
    books: Books | None, lists: Lists | None, process: Process, found: Sequence[Condition]
) -> list[Stage]:
    """All stages in flow order.

    Args:
        books: What Postgres tells; None: it does not.
        lists: What Redis tells; None: it does not.
        process: What this process knows.
        found: What is wrong.
    """
    current = lists.current if lists else None
    serve = Stage(
        "serve",
        _state("serve", found, known=lists is not None and process.removals_known),
        current.as_of if current else None,
        current.published_at if current else None,
        "published",
        checked.of_serving(lists, process),
    )
    if books is None:
        unknown = [
            Stage(name, "not known", None, None, "", None)
            for name in ("ingest", "warehouse", "recommend", "observe")
        ]
        return [*unknown[:3], serve, unknown[3]]
    pulled = began_of(books.pull)
    day, published_at = books.newest or (None, None)
    champion = books.champion
    read = books.readings[0] if books.readings else None
    return [
        Stage(
            "ingest",
            _state("ingest", found, known=books.pull is not None),
            pulled.date() - timedelta(days=1) if pulled else None,
            pulled,
            "pulled",
            checked.of_pulls(books),
        ),
        Stage(
            "warehouse",
            _state("warehouse", found, known=bool(books.published or books.blocked)),
            day,
            published_at,
            "published",
            checked.of_slices(books),
        ),
        Stage(
            "recommend",
            _state("recommend", found, known=champion is not None),
            champion.as_of if champion else None,
            champion.promoted_at if champion else None,
            "promoted",
            checked.of_versions(books),
        ),
        serve,
        Stage(
            "observe",
            _state(
                "observe", found, known=any(one.verdict != "cannot tell" for one in books.readings)
            ),
            read.day if read else None,
            read.at if read else None,
            "read",
            checked.of_readings(books),
        ),
    ]


def stages_of(condition: Condition) -> tuple[str, ...]:
    """The stages that a condition is about."""
    if condition.kind in {"run_failed", "check_failed"}:
        return _OF_JOB.get(job_of(condition.key), ())
    if condition.kind == "tick_failed":
        return _OF_INSTIGATOR.get(instigator_of(condition.key), ())
    return _OF_KIND.get(condition.kind, ())


def began_of(pull: str | None) -> datetime | None:
    """When a pull began, by its name; None where that does not tell."""
    try:
        return datetime.strptime(pull or "", "%Y%m%dT%H%M%S%fZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def _state(stage: str, found: Sequence[Condition], *, known: bool) -> State:
    theirs = {one.severity for one in found if stage in stages_of(one)}
    if "critical" in theirs:
        return "wrong"
    if not known:
        return "not known"
    return "look" if "warning" in theirs else "well"
