"""Every check of the graph has a fault in the tests that fails it: here they are all listed.

The faults are where their checks are tested, and there each fails its check and no other of what
it is a check of; but a table is only emptied together with what refers to it. A stage is added by
a line in `FAULTS`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import pytest

from moovitamix.definitions import STAGES, build_defs
from moovitamix_tests import test_erasure as of_erased
from moovitamix_tests.ingest import test_checks as of_pulls
from moovitamix_tests.observe import test_assets as of_days
from moovitamix_tests.observe.report import test_report_asset as of_reports
from moovitamix_tests.recommend import test_checks as of_models
from moovitamix_tests.serve import test_assets as of_lists
from moovitamix_tests.warehouse import test_expectations as of_slices
from moovitamix_tests.warehouse import test_reconcile as of_counts
from moovitamix_tests.warehouse import test_table_rules as of_tables

Check = tuple[str, str]

# By stage, the checks that have a fault, by the module that has it.
FAULTS: dict[str, list[Collection[Check]]] = {
    "ingest": [of_pulls.FAULTS],
    "warehouse": [of_slices.FAULTS, of_tables.FAULTS, [of_counts.CHECK], [of_erased.CHECK]],
    "recommend": [of_models.FAULTS],
    "serve": [of_lists.FAULTS],
    "observe": [of_days.FAULTS, of_reports.FAULTS],
}


@pytest.mark.parametrize("stage", FAULTS)
def test_every_check_of_a_stage_has_its_fault_in_one_place(stage: str) -> None:
    graph = build_defs().resolve_asset_graph()
    checks = {
        (key.asset_key.to_user_string(), key.name)
        for key in graph.asset_check_keys
        if graph.get(key.asset_key).group_name == stage
    }
    assert stage in STAGES
    assert Counter(check for faults in FAULTS[stage] for check in faults) == Counter(checks)
