"""The code location: the stages in the order in which data flows, and what drives them."""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import dagster as dg

import moovitamix.ingest.assets
import moovitamix.ingest.checks
import moovitamix.observe.assets
import moovitamix.observe.checks
import moovitamix.recommend.assets
import moovitamix.recommend.checks
import moovitamix.serve.assets
import moovitamix.serve.checks
import moovitamix.warehouse.assets
import moovitamix.warehouse.checks
from moovitamix import automation, erasure_checks
from moovitamix.observe.metrics.recorder import metered
from moovitamix.progress import progress_logger
from moovitamix.resources import default_resources

# The stages in flow order: each is a package, an asset group and a lane in the UI.
STAGES: dict[str, tuple[ModuleType, ModuleType]] = {
    "ingest": (moovitamix.ingest.assets, moovitamix.ingest.checks),
    "warehouse": (moovitamix.warehouse.assets, moovitamix.warehouse.checks),
    "recommend": (moovitamix.recommend.assets, moovitamix.recommend.checks),
    "serve": (moovitamix.serve.assets, moovitamix.serve.checks),
    "observe": (moovitamix.observe.assets, moovitamix.observe.checks),
}


def build_defs(resources: Mapping[str, Any] | None = None) -> dg.Definitions:
    """The code location.

    Args:
        resources: Replace those of a deployment by name (`source`, `lake`, `warehouse`,
            `cache`), as tests do.
    """
    used = {**default_resources(), **(resources or {})}
    return dg.Definitions(
        assets=dg.load_assets_from_modules([assets for assets, _ in STAGES.values()]),
        asset_checks=dg.load_asset_checks_from_modules(
            [*(checks for _, checks in STAGES.values()), erasure_checks]
        ),
        jobs=automation.JOBS,
        schedules=automation.SCHEDULES,
        sensors=automation.SENSORS,
        resources=used,
        loggers={"console": dg.colored_console_logger, "progress": progress_logger},
        # A process for each step would cost two to four seconds a step; work inside a step is
        # vectorized, so that one process is enough. Pools and a cluster's launcher still apply.
        executor=metered(used["warehouse"]),
    )


defs = build_defs()
