"""Checks of the `warehouse` stage: blocking ones on what is staged, warnings on the tables.

The rules are data: `expectations.py` for staged slices, `table_rules.py` for the tables. Whether
the tables hold what was dealt to the days is no rule about rows: see `reconcile.py`.
"""

from collections.abc import Iterator

import dagster as dg

from moovitamix.resources import Lake, Warehouse
from moovitamix.warehouse.expectations import STAGED_EXPECTATIONS, expectations_of
from moovitamix.warehouse.table_rules import TABLE_RULES


def _staged_checks(table: str) -> dg.AssetChecksDefinition:
    rules = expectations_of(table)

    @dg.multi_asset_check(
        name=f"{table}_checks",
        specs=[
            dg.AssetCheckSpec(
                rule.name,
                asset=table,
                description=rule.why,
                blocking=True,
                additional_deps=rule.needs,
            )
            for rule in rules
        ],
    )
    def judge_staged(
        context: dg.AssetCheckExecutionContext, lake: Lake, warehouse: Warehouse
    ) -> Iterator[dg.AssetCheckResult]:
        """Judge the slice of this run, each day on its own.

        A bad day is written to `blocked_days`. While other days of the run are good, its
        failure is a warning, so that they are published; it holds back the publication when no
        day is good. A day whose verdict was accepted by name counts as good.
        """
        from moovitamix.ingest.pulls import newest_pull
        from moovitamix.warehouse import judge

        run_id = context.run.run_id
        with warehouse.connect() as connection:
            days = judge.awaiting_days(connection, run_id=run_id, endpoint=table)
        validate = judge.gx_validator(
            warehouse.address(), warehouse.schema_name, table, run_id, rules
        )
        verdicts = judge.judge_days(validate, days)
        newest = newest_pull(lake.open())
        with warehouse.connect() as connection:
            settled = judge.record_verdicts(
                connection,
                run_id=run_id,
                endpoint=table,
                pull=newest.name if newest else "",
                verdicts=verdicts,
            )
        severity = dg.AssetCheckSeverity.WARN if settled.good else dg.AssetCheckSeverity.ERROR
        for rule in rules:
            result = verdicts.whole[rule.name]
            found = [day for day, broken in verdicts.failed.items() if rule.name in broken]
            bad = [str(day) for day in found if rule.name in settled.failed[day]]
            accepted = [str(day) for day in found if rule.name not in settled.failed[day]]
            yield dg.AssetCheckResult(
                asset_key=table,
                check_name=rule.name,
                passed=result.passed and not found,
                severity=severity,
                metadata={
                    "rows": result.rows,
                    "unexpected": result.unexpected,
                    **({"days_blocked": ", ".join(bad)} if bad else {}),
                    **({"days_accepted": ", ".join(accepted)} if accepted else {}),
                    **({"error": result.error} if result.error else {}),
                },
            )

    return judge_staged


staged_checks = [
    _staged_checks(table) for table in dict.fromkeys(r.table for r in STAGED_EXPECTATIONS)
]


@dg.multi_asset_check(
    name="table_checks",
    specs=[
        dg.AssetCheckSpec(rule.name, asset=rule.table, description=rule.why) for rule in TABLE_RULES
    ],
    can_subset=True,
)
def table_checks(
    context: dg.AssetCheckExecutionContext, warehouse: Warehouse
) -> Iterator[dg.AssetCheckResult]:
    """Count the rows that break each rule, on the whole table."""
    from moovitamix.warehouse.table_rules import count_broken

    selected = context.selected_asset_check_keys
    with warehouse.connect() as connection:
        for rule in TABLE_RULES:
            if dg.AssetCheckKey(dg.AssetKey(rule.table), rule.name) not in selected:
                continue
            broken, rows = count_broken(connection, rule)
            yield dg.AssetCheckResult(
                asset_key=rule.table,
                check_name=rule.name,
                passed=rule.holds(broken, rows),
                severity=dg.AssetCheckSeverity.WARN,
                metadata={"rows": rows, "broken": broken, "share_allowed": rule.share_allowed},
            )


@dg.asset_check(
    asset="listen_history",
    name="counts_reconcile",
    description=(
        "All that the lake dealt to the days of the last publication is in the table or waits in "
        "quarantine, and no row of these days is one that no pull knows."
    ),
)
def counts_reconcile(lake: Lake, warehouse: Warehouse) -> dg.AssetCheckResult:
    """Count the listens of the last published days in the lake and in the tables."""
    from moovitamix.warehouse.reconcile import reconcile

    with warehouse.connect() as connection:
        found = reconcile(connection, lake.open())
    return dg.AssetCheckResult(
        passed=found.reconciles,
        # Not a warning: something is lost, or was put in by hand.
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={
            "listens_dealt": found.dealt,
            "listens_loaded": found.loaded,
            "listens_waiting": found.waiting,
            "listens_lost": found.lost,
            "listens_unknown": found.unknown,
            "records_rejected": found.rejected,
            "records_in_quarantine": found.set_aside,
        },
    )
