"""Failed and succeeded runs, read from Dagster's history; what follows is `failed_runs.py`'s."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster_shared.error import SerializableErrorInfo

from moovitamix import errors
from moovitamix.check_faults import HELD_BACK
from moovitamix.observe.failed_runs import BY_HAND, FailedRun

# More than that between two looks is a flood: the oldest come first, and the rest at the next look.
AT_ONCE = 200

# A run may be entered in the history a little after one that ended later; what is read twice is
# told once.
OVERLAP = timedelta(minutes=5)

# Written by us: their words hold no value of a record.
_OURS = {
    name
    for name, found in vars(errors).items()
    if inspect.isclass(found) and issubclass(found, errors.MoovitaMixError)
} | {"Failure"}
_OF_DAGSTER = {
    "DagsterExecutionStepExecutionError",
    "SensorExecutionError",
    "ScheduleExecutionError",
}

_PARTITION = "dagster/partition"
_RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")

_TOLD_OF = {
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.RUN_FAILURE,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
}


def failed_since(instance: dg.DagsterInstance, since: datetime) -> tuple[list[FailedRun], datetime]:
    """The runs that failed since a moment, the oldest first, and from when to look next.

    That is never before `since`. Where more failed than are read at once, the next look goes on
    with the rest: what was read before would fill it again.

    Args:
        instance: Whose history.
        since: UTC; a run that was changed later than this is found.
    """
    records = instance.get_run_records(
        dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=since),
        limit=AT_ONCE,
        order_by="update_timestamp",
        ascending=True,
    )
    newest = max((_utc(one.update_timestamp) for one in records), default=since)
    rest_is_left = len(records) == AT_ONCE
    following = newest if rest_is_left else max(newest - OVERLAP, since)
    return [_read(instance, one) for one in records], following


def made_good(instance: dg.DagsterInstance, job: str, run_id: str, ended: datetime) -> bool:
    """Whether what a failed run was to do was done since.

    By a run of its job, or by others that made all that it has not: where one of them was begun on
    the UI's asset pages. All such runs are of one job, so that one says nothing of another.

    Args:
        instance: Whose history.
        job: The failed run's.
        run_id: Its id.
        ended: When it ended; UTC.
    """
    if job != BY_HAND and _has_succeeded(instance, job, ended):
        return True
    if not _has_succeeded(instance, None if job == BY_HAND else BY_HAND, ended):
        return False
    missing = _not_made(instance, run_id)
    if not missing:
        return _has_succeeded(instance, job, ended)
    last = [
        made
        for record in instance.get_asset_records(list(missing))
        if (made := record.asset_entry.last_materialization) is not None
        and made.timestamp > ended.timestamp()
    ]
    if len(last) < len(missing):
        return False
    makers = instance.get_runs(dg.RunsFilter(run_ids=list({made.run_id for made in last})))
    return all(run.status is dg.DagsterRunStatus.SUCCESS for run in makers)


def _has_succeeded(instance: dg.DagsterInstance, job: str | None, since: datetime) -> bool:
    good = dg.RunsFilter(job_name=job, statuses=[dg.DagsterRunStatus.SUCCESS])
    records = instance.get_run_records(good, limit=1, order_by="update_timestamp")
    return any(_ended(one) > since for one in records)


def _not_made(instance: dg.DagsterInstance, run_id: str) -> set[dg.AssetKey]:
    """The assets that a failed run should have made and has not; all, where that was not why."""
    planned, made = (
        {
            entry.dagster_event.asset_key
            for entry in instance.all_logs(run_id, of_type={kind})
            if entry.dagster_event is not None and entry.dagster_event.asset_key is not None
        }
        for kind in (
            dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
            dg.DagsterEventType.ASSET_MATERIALIZATION,
        )
    )
    return planned - made or planned


def count_failed(instance: dg.DagsterInstance, job: str, since: datetime) -> int:
    """How many runs of a job have ended since a moment, or at it, by failing."""
    # Changed later than that is what ended just then, too.
    changed_after = since - timedelta(seconds=1)
    return instance.get_runs_count(
        dg.RunsFilter(
            job_name=job, statuses=[dg.DagsterRunStatus.FAILURE], updated_after=changed_after
        )
    )


def _read(instance: dg.DagsterInstance, record: dg.RunRecord) -> FailedRun:
    run = record.dagster_run
    events = [
        entry.dagster_event
        for entry in instance.all_logs(run.run_id, of_type=_TOLD_OF)
        if entry.dagster_event is not None
    ]
    failed = next((one for one in events if one.is_step_failure), None)
    error, message = _words(failed, events)
    return FailedRun(
        run_id=run.run_id,
        job=run.job_name,
        days=days_of_tags(run.tags),
        ended=_ended(record),
        step=failed.step_key if failed else None,
        error=error,
        message=message,
        checks=tuple(_blocking(events)) if error == HELD_BACK else (),
    )


def days_of_tags(tags: dict[str, str] | object) -> tuple[str, ...]:
    """The day of a run, or its first and last one; empty where it is of none."""
    found = tags if isinstance(tags, dict) else {}
    if _PARTITION in found:
        return (found[_PARTITION],)
    return tuple(found[tag] for tag in _RANGE if tag in found)


def _words(
    failed: dg.DagsterEvent | None, events: list[dg.DagsterEvent]
) -> tuple[str | None, str | None]:
    if failed is not None:
        error = failed.step_failure_data.error
    else:
        ends = [one for one in events if one.event_type == dg.DagsterEventType.RUN_FAILURE]
        # Of a run whose process was killed, nothing but its end is known.
        error = getattr(ends[0].event_specific_data, "error", None) if ends else None
    return words_of(error)


def words_of(error: SerializableErrorInfo | None) -> tuple[str | None, str | None]:
    """The type of the error that tells most, and its message where it is one of ours."""
    chain = []
    while error is not None:
        chain.append(error)
        error = error.cause
    for one in chain:
        if one.cls_name in _OURS:
            return one.cls_name, one.message.partition(": ")[2].strip()
    told = [one.cls_name for one in chain if one.cls_name not in _OF_DAGSTER]
    return (told or [one.cls_name for one in chain] or [None])[0], None


def _blocking(events: list[dg.DagsterEvent]) -> Iterator[str]:
    for event in events:
        if event.event_type != dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            continue
        found = event.asset_check_evaluation_data
        if not found.passed and found.blocking:
            yield f"{found.asset_key.to_user_string()}.{found.check_name}"


def _ended(record: dg.RunRecord) -> datetime:
    if record.end_time is not None:
        return datetime.fromtimestamp(record.end_time, UTC)
    return _utc(record.update_timestamp)


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
