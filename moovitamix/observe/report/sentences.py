"""What a report comes to, a sentence or two for each part: for page, terminal and chat. Pure.

Where there is nothing to tell, that is said: an empty part looks like a part that failed.
"""

from __future__ import annotations

from moovitamix.due import Outcome
from moovitamix.observe.report.model import Report
from moovitamix.observe.report.of_data import Volume
from moovitamix.observe.report.words import (
    change,
    many,
    moment,
    number,
    percent,
    rate,
    size,
    stretch,
    weekday,
)

_OUTCOMES: dict[Outcome, str] = {
    "published": "published",
    "blocked": "blocked: its checks hold it back",
    "missing": "without data: nothing of it was loaded yet",
}


def title(report: Report) -> str:
    """The report in a line, for a subject or a heading."""
    where = f"MoovitaMix [{report.namespace}] {weekday(report.day)}"
    return f"{where}: {report.outcome}, {urgency(report)}"


def urgency(report: Report) -> str:
    """How much there is to see to."""
    if not report.needs:
        return "nothing needs a person"
    critical = sum(one.severity == "critical" for one in report.needs)
    things = many(len(report.needs), "thing needs a person", "things need a person")
    return f"{things}, {critical} of them critical" if critical else things


def of_day(report: Report) -> str:
    """What became of the day."""
    return f"{report.day} is {_OUTCOMES[report.outcome]}."


def of_volumes(report: Report) -> str:
    """How much came in."""
    listens = next((one for one in report.volumes if one.name == "listens"), None)
    if listens is None or listens.count is None:
        return "No figures: the day is not in the tables."
    users = next((one for one in report.volumes if one.name == "listening users"), None)
    by = f" by {many(users.count, 'user')}" if users is not None and users.count is not None else ""
    return f"{many(listens.count, 'listen')}{by}: {_compared(listens)}."


def _compared(found: Volume) -> str:
    parts = []
    if found.week_before is not None:
        parts.append(f"{change(found.count, found.week_before)} on the same weekday of last week")
    if found.usual is not None:
        parts.append(f"{change(found.count, found.usual)} on the mean of the seven days before")
    return ", ".join(parts) or "nothing to compare with yet"


def of_checks(report: Report) -> str:
    """What the checks found."""
    found = report.work.checks
    looked = found.passed + found.warning + found.failed
    if not looked:
        return "No check ran in this time."
    if looked == found.passed:
        return f"All {many(looked, 'check')} passed." if looked > 1 else "The one check passed."
    return (
        f"Of {many(looked, 'check')}, {number(found.passed)} passed, "
        f"{number(found.warning)} warn, {number(found.failed)} failed."
    )


def of_quarantine(report: Report) -> str:
    """What could not be loaded."""
    if not report.quarantine:
        return "Nothing waits in quarantine."
    waiting = sum(one.waiting for one in report.quarantine)
    fresh = sum(one.of_the_day for one in report.quarantine)
    told = many(waiting, "record waits", "records wait")
    return f"{told} in quarantine, {number(fresh) if fresh else 'none'} of this day."


def of_blocked(report: Report) -> str:
    """Which days are held back."""
    days = sorted({one.day for one in report.blocked})
    if not days:
        return "No day is blocked."
    waiting = {one.day for one in report.blocked if one.accepted}
    accepted = f"; accepted and to be published: {len(waiting)}" if waiting else ""
    return (
        f"{many(len(days), 'day is', 'days are')} blocked: {', '.join(map(str, days))}{accepted}."
    )


def of_drift(report: Report) -> str:
    """Whether the present looks like the champion's data."""
    found = report.drift
    if found is None:
        return "The day was not read for drift."
    if found.model_version is None:
        return "Cannot tell: there was no champion to compare with."
    against = f"version {found.model_version}, trained on data up to {found.as_of}"
    if found.verdict == "cannot tell":
        reason = next((one.reason for one in found.figures if one.reason), "")
        return f"Cannot tell against {against}{': ' + reason if reason else ''}."
    beyond = [one.feature for one in found.figures if one.verdict == found.verdict != "steady"]
    named = f": {', '.join(beyond)}" if beyond else ""
    unknown = sum(one.verdict == "cannot tell" for one in found.figures)
    blind = f" {many(unknown, 'figure')} cannot be told." if unknown else ""
    words = {"steady": "Steady", "warning": "A warning", "drifted": "Drifted"}[found.verdict]
    return f"{words} against {against}{named}.{blind}"


def of_model(report: Report) -> str:
    """Who is the champion."""
    found = report.model
    if found is None:
        return "There is no champion yet."
    kind = {"als": "ALS", "popularity": "popularity"}.get(found.algorithm, found.algorithm)
    told = [
        f"Version {found.version} ({kind}{', provisional' * found.provisional}) is the champion"
        + (f" since {moment(found.promoted_at)}" if found.promoted_at else ""),
        f"its data goes up to {found.as_of}, "
        + (
            f"{many(found.age_days, 'day')} before this one"
            if found.age_days > 0
            else "this day included"
        ),
    ]
    if found.pinned:
        told.append("it is pinned")
    if found.challenger is not None:
        told.append(f"version {found.challenger} is tried against it")
    return "; ".join(told) + "."


def of_verdicts(report: Report) -> str:
    """What was decided."""
    if not report.verdicts:
        return "No version was judged in the last three days."
    said = [
        f"version {one.version} was {one.became}{' by hand' * one.by_hand}"
        for one in report.verdicts
    ]
    return f"In the last three days {', '.join(said)}."


def of_serving(report: Report) -> str:
    """What is served."""
    found = report.serving
    if found is None:
        return "Nothing is served, or the cache does not answer."
    covered = percent(found.users_covered / found.users) if found.users else "none"
    return (
        f"{found.generation} is served, of data up to {found.as_of}, published "
        f"{stretch(found.age_seconds)} before this was written; {covered} of "
        f"{many(found.users, 'user')} have something of their own in it."
    )


def of_online(report: Report) -> str:
    """What became of what was shown."""
    day, week = report.online.day, report.online.week
    if day is not None:
        return (
            f"{many(day.impressions, 'track was', 'tracks were')} shown: click-through "
            f"{rate(day.clicks)}, skipped {rate(day.skips)}."
        )
    if week is not None:
        return (
            "Nothing was shown on this day, as far as the app tells; in the seven days up to it "
            f"{many(week.impressions, 'track was', 'tracks were')}, click-through "
            f"{rate(week.clicks)}."
        )
    return "The app has told nothing of what was shown (`POST /feedback`)."


def of_work(report: Report) -> str:
    """What ran."""
    work = report.work
    since = f"since {moment(work.since)}"
    if not work.runs:
        return f"Nothing ran {since}."
    count = len(work.runs) + work.left_out
    seconds = sum(one.seconds or 0.0 for one in work.runs)
    failed = sum(one.status == "failure" for one in work.runs)
    going = sum(one.seconds is None for one in work.runs)
    return (
        f"{many(count, 'run')} {since}, {stretch(seconds)} in all; "
        f"{many(failed, 'one failed', 'failed') if failed else 'none failed'}"
        f"{f', {number(going)} not over' if going else ''}."
    )


def of_storage(report: Report) -> str:
    """How much is kept."""
    parts = []
    for where in ("Postgres", "lake", "cache"):
        stores = [one for one in report.storage if one.where == where]
        if stores:
            parts.append(f"{size(sum(one.size for one in stores))} in {where}")
    return f"{', '.join(parts)}." if parts else "Nothing is told of what is kept."


PARTS = (
    ("Volume", of_volumes),
    ("Checks", of_checks),
    ("Quarantine", of_quarantine),
    ("Blocked days", of_blocked),
    ("Drift", of_drift),
    ("Model", of_model),
    ("Decisions", of_verdicts),
    ("Serving", of_serving),
    ("Shown", of_online),
    ("Runs", of_work),
    ("Storage", of_storage),
)


def in_brief(report: Report, runbook: str) -> str:
    """The whole report as plain text: what needs a person, then a line for each part.

    Args:
        report: To be told.
        runbook: Where the runbook is read.
    """
    lines = [of_day(report), ""]
    for one in report.needs:
        lines += [
            f"[{one.severity}] {one.title}",
            f"{one.text}",
            *([f"See {one.link}"] if one.link else []),
            f"What it means and what to do: {runbook}#{one.runbook}",
            "",
        ]
    if not report.needs:
        lines += ["Nothing needs a person.", ""]
    lines += [f"{name}: {sentence(report)}" for name, sentence in PARTS]
    return "\n".join(lines)
