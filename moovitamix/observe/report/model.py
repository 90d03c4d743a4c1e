"""What a report says, as data: its JSON is this, field by field, and docs/report.md describes it.

How the figures come about is told in `collect.py`, how they look in `page.py`. All moments are UTC,
all sizes bytes, all stretches of time seconds; None is "not known", never zero. There is no
personal value in it, and none can be put into it: names here are those of tables, checks, jobs,
features and genres, and texts are such as alerts have.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from moovitamix.due import Outcome
from moovitamix.observe.report.of_data import BlockedRule, Drift, QuarantineGroup, Store, Volume
from moovitamix.observe.report.of_runs import Work
from moovitamix.observe.report.of_service import Model, Online, Serving, Verdict

# Of the JSON. A field that comes leaves it as it is; one that goes, or changes its meaning, not.
SHAPE = 1

Severity = Literal["critical", "warning", "info"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """Something that a person has to see to, as of the writing.

    Attributes:
        severity: How much it hurries.
        title: In a few words.
        text: In a sentence or two.
        runbook: The anchor of its entry in the runbook.
        since: Since when, where that is known.
        link: Where more is to be seen.
    """

    severity: Severity
    title: str
    text: str
    runbook: str
    since: datetime | None = None
    link: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """All of it.

    Attributes:
        shape: Of this JSON.
        day: Which day it is about.
        written_at: When it was written; what is "as of the writing" is of this moment.
        namespace: Of which installation.
        outcome: What became of the day.
        needs: What a person has to see to, the most urgent first.
        work: What ran, and what its checks found.
        volumes: What came in.
        quarantine: What could not be loaded.
        blocked: Which days are held back.
        drift: None: the day was not read.
        model: None: there is no champion.
        verdicts: What was decided lately.
        serving: None: nothing is served, or the cache does not answer: then `needs` says so.
        online: What became of what was shown.
        storage: What is kept.
    """

    shape: int
    day: date
    written_at: datetime
    namespace: str
    outcome: Outcome
    needs: tuple[Need, ...]
    work: Work
    volumes: tuple[Volume, ...]
    quarantine: tuple[QuarantineGroup, ...]
    blocked: tuple[BlockedRule, ...]
    drift: Drift | None
    model: Model | None
    verdicts: tuple[Verdict, ...]
    serving: Serving | None
    online: Online
    storage: tuple[Store, ...]
