"""Checks of the `ingest` stage: did the pull bring what the source's contract promises?

The judgements themselves are in `judgements.py`. Whether the source is still the same world is a
check of the asset `pull` itself (`assets.py`), for then there is no pull to look at.
"""

from collections.abc import Iterator
from datetime import date
from typing import TYPE_CHECKING

import dagster as dg

from moovitamix.partitions import days_of_run
from moovitamix.resources import Lake, Warehouse
from moovitamix.warehouse.collapse import WHOLENESS_RULES, WholenessRule

if TYPE_CHECKING:
    from moovitamix.ingest.judgements import Judgement
    from moovitamix.ingest.lake import LakeStore
    from moovitamix.ingest.pulls import Pull

RAW = ("raw_tracks", "raw_users", "raw_listen_history")

KEEPS_CONTRACT = "records_keep_the_contract"
AS_DECLARED = "fields_as_declared"
ADDS_UP = "counts_add_up"
FRESH = "fresh"

CHECKS: dict[tuple[str, str], str] = {
    (asset, name): description
    for asset in RAW
    for name, description in {
        KEEPS_CONTRACT: (
            "At most 2 % of the newest pull's records break the contract. "
            "What breaks it waits in `quarantine`, with the field and the reason."
        ),
        AS_DECLARED: (
            "The newest pull's records have no field beyond the contract. "
            "Such fields are left out: what they hold is lost until the contract names them."
        ),
        ADDS_UP: (
            "It is known what became of each record of the newest pull, and the files of the run's "
            "days hold what their manifests say. What is missing on file is not loaded."
        ),
    }.items()
} | {
    ("raw_listen_history", FRESH): (
        "The newest listen is at most three days older than the pull. "
        "Otherwise the source has stopped taking in listens."
    )
}

# Not a warning: something is lost, and the tables will lack it.
ERRORS = frozenset({ADDS_UP})


@dg.multi_asset_check(
    name="pull_checks",
    specs=[
        *(
            dg.AssetCheckSpec(name, asset=asset, description=description)
            for (asset, name), description in CHECKS.items()
        ),
        *(
            dg.AssetCheckSpec(rule.name, asset=rule.asset, description=rule.why, blocking=True)
            for rule in WHOLENESS_RULES
        ),
    ],
    can_subset=True,
)
def pull_checks(
    context: dg.AssetCheckExecutionContext, lake: Lake, warehouse: Warehouse
) -> Iterator[dg.AssetCheckResult]:
    """Judge the newest pull by its manifest, its files, and what it misses of the tables."""
    from moovitamix.ingest.judgements import Judgement
    from moovitamix.ingest.pulls import kept_pulls

    store, days = lake.open(), days_of_run(context.run.tags)
    kept = kept_pulls(store)
    for key in sorted(context.selected_asset_check_keys, key=str):
        asset = key.asset_key.path[-1]
        rule = next((one for one in WHOLENESS_RULES if one.is_called(asset, key.name)), None)
        if not kept:
            judged, severe = Judgement(True), False
        elif rule is not None:
            judged, may_go_on = _judge_wholeness(store, warehouse, kept[-1], rule)
            severe = not may_go_on
        else:
            judged, severe = _judge(store, kept, asset, key.name, days), key.name in ERRORS
        yield dg.AssetCheckResult(
            asset_key=key.asset_key,
            check_name=key.name,
            passed=judged.passed,
            severity=dg.AssetCheckSeverity.ERROR if severe else dg.AssetCheckSeverity.WARN,
            metadata={
                name: dg.MetadataValue.json(value) if isinstance(value, dict) else value
                for name, value in judged.figures.items()
            },
        )


def _judge(
    store: "LakeStore", kept: "list[Pull]", asset: str, name: str, days: list[date] | None
) -> "Judgement":
    from moovitamix.ingest import judgements
    from moovitamix.ingest.contract import ENDPOINTS
    from moovitamix.ingest.tally import tally

    endpoint = next(one for one in ENDPOINTS if f"raw_{one.name}" == asset)
    counts = kept[-1].counts[endpoint.name]
    if name == ADDS_UP:
        return judgements.adds_up(tally(store, endpoint, kept, days))
    if name == FRESH:
        return judgements.is_fresh(kept[-1], counts)
    if name == KEEPS_CONTRACT:
        return judgements.keeps_the_contract(counts)
    return judgements.has_fields_as_declared(counts)


def _judge_wholeness(
    store: "LakeStore", warehouse: Warehouse, newest: "Pull", rule: WholenessRule
) -> "tuple[Judgement, bool]":
    """How much the newest pull misses, and whether that holds back what comes after it.

    It is written to `blocked_days` under the pull's last day: a later run looks there.
    """
    from moovitamix.ingest.contract import ENDPOINTS
    from moovitamix.ingest.judgements import is_whole
    from moovitamix.ingest.pulls import gone_keys
    from moovitamix.warehouse.acceptance import note_missing
    from moovitamix.warehouse.collapse import compare

    endpoint = next(one for one in ENDPOINTS if one.name == rule.table)
    gone = gone_keys(store, endpoint, newest)
    with warehouse.connect() as connection:
        missing = compare(connection, rule.table, gone)
        may_go_on = note_missing(connection, rule, missing, day=newest.over, pull=newest.name)
    return is_whole(missing), may_go_on
