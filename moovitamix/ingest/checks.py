"""Checks of the `ingest` stage: did the pull bring what the source's contract promises?"""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from moovitamix.resources import Lake

# A few broken records are bad luck and wait in quarantine; more means that the source changed.
REJECTED_SHARE_ALLOWED = 0.02

ENDPOINTS = ("tracks", "users", "listen_history")

KEEPS_CONTRACT = "records_keep_the_contract"
AS_DECLARED = "fields_as_declared"


@dg.multi_asset_check(
    name="pull_checks",
    specs=[
        dg.AssetCheckSpec(name, asset=f"raw_{endpoint}", description=description)
        for endpoint in ENDPOINTS
        for name, description in {
            KEEPS_CONTRACT: (
                "At most 2 % of the newest pull's records break the contract. "
                "What breaks it waits in `quarantine`, with the field and the reason."
            ),
            AS_DECLARED: (
                "The newest pull's records have no field beyond the contract. "
                "Such fields are left out: what they hold is lost until the contract names them."
            ),
        }.items()
    ],
    can_subset=True,
)
def pull_checks(
    context: dg.AssetCheckExecutionContext, lake: Lake
) -> Iterator[dg.AssetCheckResult]:
    """Judge the newest pull by its manifest."""
    from moovitamix.ingest.pulls import newest_pull

    pull = newest_pull(lake.open())
    for key in sorted(context.selected_asset_check_keys, key=str):
        endpoint = key.asset_key.path[-1].removeprefix("raw_")
        counts = pull.counts[endpoint] if pull else None
        rejected, distinct = (counts.rejected, counts.distinct) if counts else (0, 0)
        unknown = counts.unknown_fields if counts else {}
        told: dict[str, Any] = {"records": distinct}
        if key.name == KEEPS_CONTRACT:
            passed = keeps_contract(rejected, distinct)
            told["rejected"] = rejected
        else:
            passed = not unknown
            told["unknown_fields"] = dg.MetadataValue.json(unknown)
        yield dg.AssetCheckResult(
            asset_key=key.asset_key,
            check_name=key.name,
            passed=passed,
            severity=dg.AssetCheckSeverity.WARN,
            metadata=told,
        )


def keeps_contract(rejected: int, distinct: int) -> bool:
    """Whether few enough of an endpoint's records were rejected."""
    return rejected <= REJECTED_SHARE_ALLOWED * max(distinct, 1)
