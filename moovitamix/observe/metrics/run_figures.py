"""What a run's events say in figures: rows made, checks passed.

Costs of steps come from `meter.py`; what is kept, and where, is told by `warehouse/figures.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import dagster as dg

from moovitamix.observe.metrics.meter import Cost
from moovitamix.observe.metrics.stages import Stages
from moovitamix.warehouse.figures import CheckFigure, Result, RunFigures, StepFigure

# What an asset says that it made, the first that it names.
_MADE = ("listens_staged", "rows_inserted", "staged_rows", "records", "keys", "dagster/row_count")

# How many a check has looked at, and how many of them break its rule.
_LOOKED_AT = ("rows", "records", "present")
_BROKEN = ("unexpected", "broken", "rejected", "missing", "unknown_fields")


def run_figures(
    events: Iterable[dg.DagsterEvent],
    costs: Mapping[str, Cost],
    stages: Stages,
) -> RunFigures:
    """The figures of a run.

    Args:
        events: All of the run, or those of materializations and checks.
        costs: By step.
        stages: Of the code location.
    """
    # A range run tells the same counts once for each day: the last telling stands for all.
    made: dict[str, tuple[str, Mapping[str, object]]] = {}
    checks: dict[tuple[str, str], CheckFigure] = {}
    for event in events:
        if event.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION:
            told = event.step_materialization_data.materialization
            made[told.asset_key.to_user_string()] = (event.step_key or "", _plain(told.metadata))
        elif event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            check = _check(event.asset_check_evaluation_data, stages)
            checks[check.asset, check.check_name] = check
    rows: dict[str, int] = {}
    for step, metadata in made.values():
        count = _first_count(metadata, _MADE)
        if count is not None:
            rows[step] = rows.get(step, 0) + count
    return RunFigures(
        steps=[
            StepFigure(
                step=step,
                stage=stages.of_step(step),
                ended_at=cost.ended_at,
                succeeded=cost.succeeded,
                seconds=cost.seconds,
                cpu_seconds=cost.cpu_seconds,
                peak_bytes=cost.peak_bytes,
                rows=rows.get(step),
            )
            for step, cost in costs.items()
        ],
        checks=list(checks.values()),
    )


def _check(told: dg.AssetCheckEvaluation, stages: Stages) -> CheckFigure:
    asset, metadata = told.asset_key.to_user_string(), _plain(told.metadata)
    result: Result = "passed"
    if not told.passed:
        result = "failed" if told.severity == dg.AssetCheckSeverity.ERROR else "warned"
    return CheckFigure(
        asset=asset,
        check_name=told.check_name,
        stage=stages.of_asset(asset),
        result=result,
        rows=_first_count(metadata, _LOOKED_AT),
        unexpected=_first_count(metadata, _BROKEN),
    )


def _plain(metadata: Mapping[str, dg.MetadataValue]) -> dict[str, object]:
    return {name: value.value for name, value in metadata.items()}


def _first_count(metadata: Mapping[str, object], names: Iterable[str]) -> int | None:
    return next((_count(metadata[name]) for name in names if name in metadata), None)


def _count(value: object) -> int | None:
    """A count as it is; of things by name, how many names."""
    if isinstance(value, dict):
        return len(value)
    return value if isinstance(value, int) else None
