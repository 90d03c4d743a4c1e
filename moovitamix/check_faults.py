"""What the checks of a run found, as sentences for those who started it: what, why, what to do.

A warning is for whoever looks at Dagster; what is told here makes a command fail.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg
    from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

# What Dagster raises for a step whose blocking checks have failed.
HELD_BACK = "DagsterAssetCheckFailedError"


def check_faults(events: Sequence[dg.DagsterEvent], graph: AssetGraph) -> list[str]:
    """A sentence or two for each check that failed as an error.

    A check that fails along with its asset (another world) is left out: the asset's own error
    tells more.

    Args:
        events: All of a run.
        graph: The checks, with what they are for.
    """
    import dagster as dg

    broken = {
        event.step_key
        for event in events
        if event.is_step_failure
        and event.step_failure_data.error is not None
        and event.step_failure_data.error.cls_name != HELD_BACK
    }
    told = []
    for event in events:
        if event.event_type != dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            continue
        found = event.asset_check_evaluation_data
        severe = found.severity == dg.AssetCheckSeverity.ERROR
        if found.passed or not severe or event.step_key in broken:
            continue
        check = graph.get(found.asset_check_key)
        name = f"{found.asset_key.to_user_string()}.{found.check_name}"
        what = "holds back what comes after it" if check.blocking else "has failed"
        of_days = check.blocking and graph.get(found.asset_key).partitions_def is not None
        where = "`moovitamix days blocked` tells" if of_days else "`moovitamix dev` shows"
        told.append(f"{name} {what}. {check.description} {where} more; see docs/runbook.md.")
    return told
