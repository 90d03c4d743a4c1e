"""Reads from Dagster's history what ran between two reports, how long, and what checks found."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import dagster as dg

from moovitamix.observe.report.of_runs import Checks, NotGood, Run, StepTime, Work
from moovitamix.observe.run_history import days_of_tags

# Of more runs than these a page is no report any more; the rest is counted.
MOST_RUNS = 100
MOST_STEPS = 12

# So long a stretch a report is about, where no earlier one says where it begins; and at most.
USUAL_STRETCH = timedelta(days=1)
LONGEST_STRETCH = timedelta(days=7)

_TOLD_OF = {
    dg.DagsterEventType.STEP_SUCCESS,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
}
_LONGEST_TEXT = 400


def stretch_of(
    now: datetime, before: datetime | None, after: datetime | None
) -> tuple[datetime, datetime]:
    """From when to when a report tells of runs: from the report before to this one.

    So each run is told of by one report, whenever reports are written, and one that is written
    again long after is about the same runs.

    Args:
        now: The moment of writing, UTC.
        before: When the report of the newest earlier day was written.
        after: When that of the next later day was; None: this is the newest.
    """
    until = min(now, after) if after is not None else now
    since = before if before is not None and before < until else until - USUAL_STRETCH
    return max(since, until - LONGEST_STRETCH), until


def read_work(
    instance: dg.DagsterInstance, since: datetime, until: datetime, *, without: str | None = None
) -> Work:
    """What ran in a stretch: runs that were begun before its end and did not rest before it began.

    Args:
        instance: Whose history.
        since: UTC.
        until: UTC.
        without: A run that is left out: the one that writes the report.
    """
    found = instance.get_run_records(
        dg.RunsFilter(updated_after=since, created_before=until), order_by="create_timestamp"
    )
    told = [one for one in found if one.dagster_run.run_id != without]
    newest = sorted(told[:MOST_RUNS], key=lambda one: one.create_timestamp)
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    evaluations: dict[str, dg.AssetCheckEvaluation] = {}
    for record in newest:
        for event in _events(instance, record.dagster_run.run_id):
            if event.event_type == dg.DagsterEventType.STEP_SUCCESS:
                seconds[event.step_key or ""].append(event.step_success_data.duration_ms / 1000)
            else:
                one = event.asset_check_evaluation_data
                evaluations[f"{one.asset_key.to_user_string()}.{one.check_name}"] = one
    steps = [
        StepTime(step=name, runs=len(all_), seconds=sum(all_)) for name, all_ in seconds.items()
    ]
    return Work(
        since=since,
        until=until,
        runs=tuple(_run(one) for one in newest),
        left_out=len(told) - len(newest),
        steps=tuple(sorted(steps, key=lambda one: -one.seconds)[:MOST_STEPS]),
        checks=_checks(evaluations),
    )


def _events(instance: dg.DagsterInstance, run_id: str) -> Iterable[dg.DagsterEvent]:
    for entry in instance.all_logs(run_id, of_type=_TOLD_OF):
        if entry.dagster_event is not None:
            yield entry.dagster_event


def _run(record: dg.RunRecord) -> Run:
    run = record.dagster_run
    began, ended = record.start_time, record.end_time
    return Run(
        job=run.job_name,
        days=days_of_tags(run.tags),
        began=datetime.fromtimestamp(began, UTC) if began is not None else None,
        seconds=ended - began if began is not None and ended is not None else None,
        status=run.status.value.lower(),
    )


def _checks(evaluations: dict[str, dg.AssetCheckEvaluation]) -> Checks:
    results: Counter[str] = Counter()
    not_good = []
    for name, one in sorted(evaluations.items()):
        if one.passed:
            results["passed"] += 1
            continue
        result = "failed" if one.severity == dg.AssetCheckSeverity.ERROR else "warning"
        results[result] += 1
        not_good.append(
            NotGood(
                check=name,
                result="failed" if result == "failed" else "warning",
                blocking=bool(one.blocking),
                text=_shortened(one.description or ""),
            )
        )
    return Checks(
        passed=results["passed"],
        warning=results["warning"],
        failed=results["failed"],
        not_good=tuple(sorted(not_good, key=lambda one: (one.result != "failed", one.check))),
    )


def _shortened(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= _LONGEST_TEXT else words[:_LONGEST_TEXT].rsplit(" ", 1)[0] + " …"
