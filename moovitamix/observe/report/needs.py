"""What a person has to see to, the most urgent first: from what is wrong, and what people left.

Pure. What is wrong for as long as it lasts is told by the alerts (`standing.py`, `failed_runs.py`):
the same sentences here, without what is only announced.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from moovitamix.observe.conditions import Condition
from moovitamix.observe.report.model import Need, Severity
from moovitamix.observe.report.of_data import BlockedRule
from moovitamix.observe.report.of_runs import NotGood
from moovitamix.observe.report.of_service import Model

_WEIGHT: dict[Severity, int] = {"critical": 0, "warning": 1, "info": 2}

# Checks that hold nothing back, and so are no alert. Those of the same matter as an alert are told
# by it; of the others, the entry of the runbook that explains them.
_TOLD_BY_ALERTS = {"drift_within_bounds"}
_ENTRIES = {
    "counts_add_up": "counts-do-not-add-up",
    "counts_reconcile": "counts-do-not-add-up",
    "few_in_quarantine": "quarantine-grows",
    "records_keep_the_contract": "quarantine-grows",
    "no_erased_user_left": "a-user-is-to-be-erased",
    "same_world": "the-source-has-started-anew",
    "report_whole": "a-report-is-missing",
}
_OTHER_CHECKS = "a-check-is-not-good"


def needs(
    conditions: Iterable[Condition],
    checks: Sequence[NotGood],
    blocked: Sequence[BlockedRule],
    model: Model | None,
    *,
    cache_fault: str | None,
) -> tuple[Need, ...]:
    """All that needs a person.

    Args:
        conditions: What is the case, as alerts are told of it.
        checks: The checks that were not good.
        blocked: The rules that hold days back; accepted ones wait for a run.
        model: The champion.
        cache_fault: Why the cache could not be looked at; None: it could.
    """
    found = [
        _of_condition(one)
        for one in conditions
        if one.nature != "announced" and (one.kind != "redis_down" or cache_fault is None)
    ]
    if cache_fault is not None:
        found.append(
            Need(
                severity="critical",
                title="The cache does not answer",
                text=cache_fault,
                runbook="redis-is-down-or-full",
            )
        )
    found += [_of_check(one) for one in checks if _is_news(one)]
    for day in sorted({one.day for one in blocked if one.accepted}):
        found.append(
            Need(
                severity="info",
                title=f"{day} was accepted and waits",
                text="`moovitamix run` publishes it when all that it breaks is accepted.",
                runbook="a-day-is-blocked",
            )
        )
    if model is not None and model.pinned:
        found.append(
            Need(
                severity="info",
                title=f"Version {model.version} is pinned",
                text="Since a rollback, automation trains and promotes nothing. When the cause is "
                "mended: `moovitamix models unpin`.",
                runbook="no-candidate-is-promoted",
                since=model.promoted_at,
            )
        )
    return tuple(sorted(_folded(found), key=_urgency))


def _folded(found: Iterable[Need]) -> list[Need]:
    """The same once, with how often: what fails each hour would fill the page."""
    groups: dict[tuple[str, str], list[Need]] = {}
    for one in found:
        groups.setdefault((one.title, one.text), []).append(one)
    return [
        replace(min(group, key=_urgency), title=f"{group[0].title}, {len(group)} times")
        if len(group) > 1
        else group[0]
        for group in groups.values()
    ]


def _urgency(one: Need) -> tuple[int, datetime, str]:
    """The most severe first, then what has lasted longest."""
    since = one.since.astimezone(UTC) if one.since else datetime.max.replace(tzinfo=UTC)
    return _WEIGHT[one.severity], since, one.title


def _of_condition(one: Condition) -> Need:
    return Need(
        severity=one.severity,
        title=one.title,
        text=one.text,
        runbook=one.entry,
        since=one.since,
        link=one.link,
    )


def _is_news(one: NotGood) -> bool:
    """Whether nothing else tells it: a blocking check has blocked a day, or failed a run."""
    return not one.blocking and one.check.partition(".")[2] not in _TOLD_BY_ALERTS


def _of_check(one: NotGood) -> Need:
    name = one.check.partition(".")[2]
    return Need(
        severity="warning" if one.result == "failed" else "info",
        title=f"The check {one.check} {'has failed' if one.result == 'failed' else 'warns'}",
        text=one.text or "It holds nothing back; `moovitamix dev` shows what it found.",
        runbook=_ENTRIES.get(name, _OTHER_CHECKS),
    )
