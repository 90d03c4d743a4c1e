"""What can be wrong, kind by kind: how severe it is, how it ends, which entry of the runbook tells.

Whether it is the case is told by `standing.py` and `failed_runs.py`, what becomes of it by
`ledger.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Kind = Literal[
    "run_failed",
    "check_failed",
    "tick_failed",
    "day_blocked",
    "day_late",
    "source_gone",
    "source_anew",
    "quarantine_growing",
    "lists_expiring",
    "nothing_served",
    "redis_down",
    "drift",
    "drift_unknown",
    "experiment_over",
    "model_promoted",
    "model_kept",
]
Severity = Literal["critical", "warning", "info"]

# How it ends. What lasts is open for as long as it is found, and may come again under the same key.
# What happens is told once for each key, and is open until it is made good. What is announced is
# told once, and over at once.
Nature = Literal["lasts", "happens", "announced"]


@dataclass(frozen=True)
class Rule:
    """What all alerts of a kind have in common."""

    severity: Severity
    nature: Nature
    runbook: str


RULES: dict[Kind, Rule] = {
    "run_failed": Rule("critical", "happens", "a-run-has-failed"),
    "check_failed": Rule("critical", "happens", "a-run-has-failed"),
    "tick_failed": Rule("critical", "lasts", "a-sensor-or-schedule-fails"),
    "day_blocked": Rule("critical", "lasts", "a-day-is-blocked"),
    "day_late": Rule("warning", "lasts", "a-day-is-late"),
    "source_gone": Rule("critical", "lasts", "the-source-is-unavailable"),
    "source_anew": Rule("critical", "lasts", "the-source-has-started-anew"),
    "quarantine_growing": Rule("warning", "lasts", "quarantine-grows"),
    "lists_expiring": Rule("critical", "lasts", "lists-are-about-to-expire"),
    "nothing_served": Rule("critical", "lasts", "nothing-is-served"),
    "redis_down": Rule("critical", "lasts", "redis-is-down-or-full"),
    "drift": Rule("warning", "lasts", "the-data-has-drifted"),
    "drift_unknown": Rule("warning", "lasts", "drift-cannot-be-told"),
    "experiment_over": Rule("warning", "lasts", "an-experiment-does-not-go-on"),
    "model_promoted": Rule("info", "announced", "the-champion-has-changed"),
    "model_kept": Rule("info", "announced", "no-candidate-is-promoted"),
}


@dataclass(frozen=True, kw_only=True)
class Condition:
    """Something that people have to know. It holds no personal value.

    Attributes:
        key: Tells it from others: of what lasts and comes again, the same.
        kind: What it is.
        title: In a few words.
        text: In a sentence or two: what, why, and what is held back by it.
        since: When it happened, where that is not the moment of the look; UTC.
        link: Where more is to be seen.
        runbook: The entry that tells more, where it is not that of the kind.
    """

    key: str
    kind: Kind
    title: str
    text: str
    since: datetime | None = None
    link: str | None = None
    runbook: str | None = None

    @property
    def severity(self) -> Severity:
        """How much it hurries."""
        return RULES[self.kind].severity

    @property
    def nature(self) -> Nature:
        """How it ends."""
        return RULES[self.kind].nature

    @property
    def entry(self) -> str:
        """The anchor in `docs/runbook.md`."""
        return self.runbook or RULES[self.kind].runbook
