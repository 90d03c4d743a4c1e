"""Checks of the `ingest` stage: did the pull bring what the source's contract promises?"""

from collections.abc import Iterator

import dagster as dg

from moovitamix.resources import Lake

# A few broken records are bad luck and wait in quarantine; more means that the source changed.
REJECTED_SHARE_ALLOWED = 0.02

ENDPOINTS = ("tracks", "users", "listen_history")


@dg.multi_asset_check(
    name="pull_checks",
    specs=[
        dg.AssetCheckSpec(
            "records_keep_the_contract",
            asset=f"raw_{endpoint}",
            description=(
                "At most 2 % of the newest pull's records break the contract. "
                "What breaks it waits in `quarantine`, with the field and the reason."
            ),
        )
        for endpoint in ENDPOINTS
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
        yield dg.AssetCheckResult(
            asset_key=key.asset_key,
            check_name=key.name,
            passed=keeps_contract(rejected, distinct),
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"rejected": rejected, "records": distinct},
        )


def keeps_contract(rejected: int, distinct: int) -> bool:
    """Whether few enough of an endpoint's records were rejected."""
    return rejected <= REJECTED_SHARE_ALLOWED * max(distinct, 1)
