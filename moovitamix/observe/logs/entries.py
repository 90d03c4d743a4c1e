"""What becomes of a record of `logging`: an entry with fields, or nothing where it is only noise.

Records of Dagster carry their run, job and step, and events of Dagster their asset, partition and
check. Nothing here imports Dagster: a record says by itself what it is. How an entry is written is
told in `gelf.py` and `lines.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from moovitamix.observe.logs.gelf import Entry, Value
from moovitamix.observe.logs.traces import discreet_stored_trace, discreet_trace

if TYPE_CHECKING:
    from dagster import DagsterEvent

OURS = "moovitamix"
# What our own code may say along with a sentence, by `extra`.
_EXTRA = ("request_id", "user", "generation", "route")
# Tags of a run, and the fields that they become.
_TAGS = {
    "dagster/partition": "partition",
    "dagster/schedule_name": "schedule",
    "dagster/sensor_name": "sensor",
    "dagster/backfill": "backfill",
    "moovitamix/why": "why",
}
_FIRST, _LAST = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
# What materializations tell of themselves that one searches by.
_METADATA = {
    "dagster/row_count": "rows",
    "generation": "generation",
    "model version": "model_version",
    "version": "model_version",
}
# The rest is how Dagster works: resources, handed outputs, plans, captured logs.
_TOLD_EVENTS = frozenset(
    {
        *("PIPELINE_START", "PIPELINE_SUCCESS", "PIPELINE_FAILURE", "PIPELINE_CANCELED"),
        *("STEP_START", "STEP_SUCCESS", "STEP_FAILURE", "STEP_SKIPPED", "STEP_UP_FOR_RETRY"),
        *("ASSET_MATERIALIZATION", "ASSET_OBSERVATION", "ASSET_CHECK_EVALUATION"),
        *("ASSET_FAILED_TO_MATERIALIZE", "RESOURCE_INIT_FAILURE"),
    }
)


def entry_of(record: logging.LogRecord) -> Entry | None:
    """The entry of a record; None for what Dagster only says about how it works.

    Of what other packages log only the first line is kept: what follows is often an error's text.
    """
    told: Mapping[str, Any] = getattr(record, "dagster_meta", {})
    event: DagsterEvent | None = getattr(record, "dagster_event", None)
    if event is not None and event.event_type_value not in _TOLD_EVENTS:
        return None
    fields: dict[str, Value] = {"logger": record.name}
    fields |= _of_run(told)
    for name in _EXTRA:
        value = getattr(record, name, None)
        if isinstance(value, str | int | float):
            fields[name] = value
    level, full = record.levelno, ""
    if event is not None:
        fields |= _of_event(event)
        full = _why(event)
        if event.event_type_value == "ASSET_CHECK_EVALUATION" and not fields.get("passed", True):
            level = max(level, logging.WARNING)
    elif record.exc_info and record.exc_info[1] is not None:
        full = discreet_trace(record.exc_info[1])
    message = str(told.get("orig_message") or record.getMessage())
    if not told and not record.name.startswith(OURS):
        message = message.partition("\n")[0]
    return Entry(at=record.created, level=level, message=message, full=full, fields=fields)


def _of_run(told: Mapping[str, Any]) -> dict[str, Value]:
    fields: dict[str, Value] = {}
    for key, name in (("run_id", "run"), ("job_name", "job"), ("step_key", "step")):
        if told.get(key):
            fields[name] = told[key]
    if told.get("name"):  # of a sensor or schedule, by which nothing runs yet
        fields["sensor"] = told["name"]
    tags: Mapping[str, str] = told.get("job_tags") or {}
    fields |= {name: tags[tag] for tag, name in _TAGS.items() if tags.get(tag)}
    if tags.get(_FIRST) and tags.get(_LAST):
        fields["partition"] = f"{tags[_FIRST]}...{tags[_LAST]}"  # as Dagster writes a range
    return fields


def _of_event(event: DagsterEvent) -> dict[str, Value]:
    fields: dict[str, Value] = {"event": event.event_type_value}
    if event.step_key:
        fields["step"] = event.step_key
    if event.asset_key is not None:
        fields["asset"] = event.asset_key.to_user_string()
    if event.partition is not None:
        fields["partition"] = event.partition
    kind = event.event_type_value
    if kind == "ASSET_MATERIALIZATION":
        metadata = event.step_materialization_data.materialization.metadata
        for key, name in _METADATA.items():
            value = getattr(metadata.get(key), "value", None)
            if isinstance(value, str | int | float):
                fields[name] = value
    elif kind == "ASSET_CHECK_EVALUATION":
        evaluation = event.asset_check_evaluation_data
        fields["asset"] = evaluation.asset_key.to_user_string()
        fields["check"] = evaluation.check_name
        fields["passed"] = evaluation.passed
        fields["severity"] = evaluation.severity.value
    elif kind == "STEP_SUCCESS":
        fields["seconds"] = event.step_success_data.duration_ms / 1_000
    return fields


def _why(event: DagsterEvent) -> str:
    """Why a step or a run failed, as far as it may be told."""
    data = event.event_specific_data
    failure = getattr(data, "user_failure_data", None)
    description = getattr(failure, "description", None)
    error = getattr(data, "error", None)
    trace = "" if error is None else discreet_stored_trace(error)
    return "\n\n".join(part for part in (description, trace) if part)
