"""Whoever starts a run is told of checks that failed as errors, each once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dagster as dg

from moovitamix.check_faults import check_faults

LATER = "what comes after it"


@dg.multi_asset(
    specs=[dg.AssetSpec("world")],
    check_specs=[dg.AssetCheckSpec("same", asset="world", description="It is.", blocking=True)],
)
def world() -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
    yield dg.AssetCheckResult(passed=False)
    raise ValueError("It is another one.")


@dg.asset(partitions_def=dg.StaticPartitionsDefinition(["a day"]))
def days() -> dg.MaterializeResult[Any]:
    return dg.MaterializeResult()


@dg.asset
def model() -> dg.MaterializeResult[Any]:
    return dg.MaterializeResult()


@dg.multi_asset_check(
    specs=[
        dg.AssetCheckSpec("warns", asset="days", description="Look at it."),
        dg.AssetCheckSpec("reconciles", asset="days", description="All is there."),
        dg.AssetCheckSpec("good", asset="days", description="Days are good.", blocking=True),
        dg.AssetCheckSpec("sound", asset="model", description="It is sound.", blocking=True),
    ]
)
def checks() -> Iterator[dg.AssetCheckResult]:
    warn = dg.AssetCheckSeverity.WARN
    yield dg.AssetCheckResult(asset_key="days", check_name="warns", passed=False, severity=warn)
    for asset, name in (("days", "reconciles"), ("days", "good"), ("model", "sound")):
        yield dg.AssetCheckResult(asset_key=asset, check_name=name, passed=False)


def test_errors_are_told_and_warnings_and_what_an_asset_tells_itself_are_not() -> None:
    definitions = dg.Definitions(
        assets=[world, days, model],
        asset_checks=[checks],
        jobs=[dg.define_asset_job("all", selection=dg.AssetSelection.all())],
    )
    result = definitions.resolve_job_def("all").execute_in_process(
        raise_on_error=False, partition_key="a day"
    )
    assert check_faults(result.all_events, definitions.resolve_asset_graph()) == [
        f"{check} {what}. {description} `moovitamix {where} more; see docs/runbook.md."
        for check, what, description, where in [
            ("days.reconciles", "has failed", "All is there.", "dev` shows"),
            ("days.good", f"holds back {LATER}", "Days are good.", "days blocked` tells"),
            ("model.sound", f"holds back {LATER}", "It is sound.", "dev` shows"),
        ]
    ]
