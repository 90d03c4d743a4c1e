"""One message of all that a channel is to be told at once: its title and its text. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from moovitamix.observe.conditions import Severity

What = Literal["new", "reminder", "over"]

# What is more is counted: a message that nobody can read to its end is not read at all.
MOST_ITEMS = 20

_WEIGHT: dict[Severity, int] = {"critical": 0, "warning": 1, "info": 2}


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Something to be told of an alert.

    Attributes:
        id: The notice's.
        alert: The alert's id.
        what: That it is new, still there, or over.
        severity: How much it hurries.
        title: In a few words.
        text: In a sentence or two.
        runbook: The anchor of its entry.
        link: Where more is to be seen.
        since: When it began, UTC.
        over: When it ended, UTC; of an announcement, at once.
        announced: Whether it is an announcement.
    """

    id: int
    alert: int
    what: What
    severity: Severity
    title: str
    text: str
    runbook: str
    link: str | None
    since: datetime
    over: datetime | None
    announced: bool


@dataclass(frozen=True)
class Message:
    """What is sent; `severity` is None where all of it is over."""

    title: str
    body: str
    severity: Severity | None


def compose(notices: Sequence[Notice], *, namespace: str, runbook: str) -> Message:
    """All of it as one message: what is new first, then what is still there, then what is over.

    What began and ended before it could be told is told as one.

    Args:
        notices: What is to be told; at least one.
        namespace: Which installation tells it.
        runbook: Where the runbook is read.
    """
    ended = {one.alert for one in notices if one.what == "over"}
    missed = {one.alert for one in notices if one.what == "new"} & ended
    groups = {
        "New": [one for one in notices if one.what == "new" and one.alert not in missed],
        "Still open": [one for one in notices if one.what == "reminder"],
        "Over": [one for one in notices if one.what == "over"],
    }
    counts = [f"{len(group)} {name.lower()}" for name, group in groups.items() if group]
    title = f"MoovitaMix [{namespace}]: {', '.join(counts)}"
    if len(notices) == 1 or (len(missed) == 1 and len(notices) == 2):
        title = f"MoovitaMix [{namespace}]: {notices[0].title}{', over' * bool(ended)}"
    lines: list[str] = []
    room = MOST_ITEMS
    for name, group in groups.items():
        ordered = sorted(group, key=lambda one: (_WEIGHT[one.severity], one.id))
        if not ordered:
            continue
        lines += [f"{name.upper()}", ""]
        for one in ordered[:room]:
            lines += [*_item(one, runbook), ""]
        if len(ordered) > room:
            lines += [f"… and {len(ordered) - room} more: `moovitamix alerts list`.", ""]
        room -= min(room, len(ordered))
    live = [one.severity for one in notices if one.what != "over" and one.alert not in missed]
    worst = min(live, key=_WEIGHT.__getitem__, default=None)
    return Message(title, "\n".join(lines).strip(), worst)


def _item(one: Notice, runbook: str) -> list[str]:
    if one.what == "over":
        until = f" until {_moment(one.over)}" if one.over else ""
        return [f"{one.title}: from {_moment(one.since)}{until}."]
    since = "" if one.announced else f" (since {_moment(one.since)})"
    lines = [f"[{one.severity}] {one.title}{since}", one.text]
    if one.link:
        lines.append(f"See {one.link}")
    return [*lines, f"What it means and what to do: {runbook}#{one.runbook}"]


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
