"""Failed runs as conditions: the cause in one sentence, and what many of them mean.

Pure: who reads Dagster's history is `run_history.py`. Only errors that MoovitaMix raises on purpose
are quoted. The message of any other may hold values of a record (Postgres names the key of a row
that is refused), so of these the type alone is told, and the run shows the rest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from moovitamix.observe.conditions import Condition

# A pull tries six times by itself before its run fails; two runs that did are no hiccup.
GONE_AFTER = 2

# The job of runs that are begun on the UI's asset pages, whatever they make.
BY_HAND = "__ASSET_JOB"

# A job that never runs again must not be told of for ever.
TOLD_FOR = timedelta(days=7)

_GONE = "the-source-is-unavailable"
_ANEW = "the-source-has-started-anew"
_MISSING = "a-pull-misses-too-much"
_BLOCKED = "a-day-is-blocked"

_ENTRIES: dict[str, str] = {
    "SourceUnavailable": _GONE,
    "SourceContractError": "the-contract-is-broken",
    "SourceStartedAnew": _ANEW,
}
# By the first word of the message: one type stands for three stores.
_STORES = {"Postgres": "postgres-is-down", "Redis": "redis-is-down-or-full"}
# Each is one cause, whatever page, step or last answer the words name.
_OUTAGES = {_GONE, _ANEW, *_STORES.values()}

_LONGEST = 400


@dataclass(frozen=True, kw_only=True)
class FailedRun:
    """A run that failed.

    Attributes:
        run_id: Dagster's.
        job: Its job.
        days: A day, or the first and last one; empty where it is of none.
        ended: When; UTC.
        step: The first step that failed; None where the run ended without one.
        error: The type of the error; None where there is none.
        message: The error's words, where they were written by us.
        checks: The blocking checks that failed, as `asset.check`.
    """

    run_id: str
    job: str
    days: tuple[str, ...] = ()
    ended: datetime
    step: str | None
    error: str | None
    message: str | None = None
    checks: tuple[str, ...] = ()


def condition_of(run: FailedRun, ui_url: str | None) -> Condition:
    """The condition that stands for a failed run, until it is made good."""
    days = " to ".join(dict.fromkeys(run.days))
    of_days = f" for {days}" if days else ""
    where = f"Step {run.step}: " if run.step else ""
    kind = "check_failed" if run.checks else "run_failed"
    what = "was stopped by a check" if run.checks else "failed"
    return Condition(
        key=f"{kind}:{run.job}:{run.run_id}",
        kind="check_failed" if run.checks else "run_failed",
        title=f"{run.job} {what}{of_days}",
        text=where + _cause(run),
        since=run.ended,
        link=f"{ui_url.rstrip('/')}/runs/{run.run_id}" if ui_url else None,
        runbook=_entry(run),
    )


def once_each(conditions: Sequence[Condition]) -> list[Condition]:
    """Of runs of a job that failed for the same cause again and again, the first.

    Args:
        conditions: As `condition_of` makes them.
    """
    first: dict[tuple[str, str, str], Condition] = {}
    for one in sorted(conditions, key=_since):
        first.setdefault((one.kind, job_of(one.key), _same_cause(one)), one)
    return list(first.values())


def _same_cause(condition: Condition) -> str:
    """What is equal where runs failed for the same cause: their words may differ in numbers."""
    if condition.entry in _OUTAGES:
        return condition.entry
    # Of blocked days the number is the cause.
    return condition.text if condition.entry == _BLOCKED else re.sub(r"\d+", "#", condition.text)


def _since(condition: Condition) -> datetime:
    return condition.since or datetime.max.replace(tzinfo=UTC)


def is_told_by_days(run: FailedRun, blocked: Collection[date]) -> bool:
    """Whether a run failed only for days that are blocked: each of them is an alert already."""
    if _entry(run) != _BLOCKED or not run.days:
        return False
    return any(run.days[0] <= day.isoformat() <= run.days[-1] for day in blocked)


def _cause(run: FailedRun) -> str:
    if run.checks:
        return f"{', '.join(run.checks)} failed. What comes after it is held back."
    if run.message:
        return quoted(run.message)
    if run.error:
        return f"{run.error}. The run's log tells more."
    return "It ended without an error of its own: its process was killed, or never started."


def quoted(message: str) -> str:
    """Words of ours in one line, and not too many."""
    words = " ".join(message.split())
    return words if len(words) <= _LONGEST else words[:_LONGEST].rsplit(" ", 1)[0] + " …"


def _entry(run: FailedRun) -> str | None:
    if run.checks:
        of_days = all(check.startswith("staged_") for check in run.checks)
        of_pull = all(check.endswith("_whole") for check in run.checks)
        return _BLOCKED if of_days else _MISSING if of_pull else None
    if run.step is None and run.error is None:
        return "a-run-was-killed"
    if run.error == "Failure" and "Blocked by their checks" in (run.message or ""):
        return _BLOCKED
    if run.error == "StoreUnavailable":
        return _STORES.get((run.message or "").partition(" ")[0])
    return _ENTRIES.get(run.error or "")


def still_open(
    failures: Sequence[Condition], made_good: Callable[[str, str, datetime], bool], now: datetime
) -> list[Condition]:
    """The failures that nothing has made good since, and that are not too old to be told.

    Args:
        failures: Conditions of runs, new ones and such as are open already.
        made_good: By job, run and when it ended, whether that was made good since.
        now: UTC.
    """
    return [
        one
        for one in failures
        if one.since is not None
        and now - one.since < TOLD_FOR
        and not made_good(job_of(one.key), one.key.split(":")[2], one.since)
    ]


def job_of(key: str) -> str:
    """The job that a run's condition is about."""
    return key.split(":")[1]


def source_trouble(
    failures: Sequence[Condition],
    *,
    gone_before: bool,
    failed_since: Callable[[str, datetime], int],
) -> list[Condition]:
    """What failures that are open together say of the source.

    Args:
        failures: The open ones, those that `once_each` leaves out too.
        gone_before: Whether it is told to be gone already: then one failure keeps it so, for of
            its repeats only those of the last minutes are among the failures.
        failed_since: By job and moment, how many of its runs have failed since.
    """
    found = []
    if any(one.entry == _ANEW for one in failures):
        found.append(
            Condition(
                key="source_anew",
                kind="source_anew",
                title="The source has started anew",
                text="Most of its ids are gone or stand for somebody else. Nothing was changed, "
                "and no new day is loaded until somebody decides: have it restored, or "
                "`moovitamix source accept-reset`.",
            )
        )
    gone = [one for one in failures if one.entry == _GONE]
    if len(gone) >= GONE_AFTER or (gone and gone_before):
        first = min(map(_since, gone))
        jobs = {job_of(one.key) for one in gone}
        times = max(len(gone), sum(failed_since(job, first) for job in jobs))
        found.append(
            Condition(
                key="source_gone",
                kind="source_gone",
                title="The source is gone",
                text=f"Since {first:%Y-%m-%d %H:%M} UTC {times} runs that pull have failed, and "
                "none succeeded. No new day is loaded. `moovitamix doctor` tells whether it "
                "answers now.",
            )
        )
    return found
