"""To which stage a step or an asset belongs; what is of none is upkeep."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import dagster as dg

UPKEEP = "upkeep"


@dataclass(frozen=True)
class Stages:
    """The stage of each step and of each asset of the code location, by name."""

    steps: dict[str, str]
    assets: dict[str, str]

    def of_step(self, step: str) -> str:
        """The stage of a step."""
        return self.steps.get(step, UPKEEP)

    def of_asset(self, asset: str) -> str:
        """The stage of an asset."""
        return self.assets.get(asset, UPKEEP)


@lru_cache(maxsize=1)
def stages() -> Stages:
    """Those of the code location, which is loaded when a run ends at the latest."""
    from moovitamix.definitions import STAGES

    found = Stages({}, {})
    for stage, modules in STAGES.items():
        for made in dg.load_assets_from_modules(modules[:1]):
            if isinstance(made, dg.AssetsDefinition):
                found.steps[made.op.name] = stage
                found.assets.update({key.to_user_string(): stage for key in made.keys})
        for checks in dg.load_asset_checks_from_modules(modules[1:]):
            found.steps[checks.op.name] = stage
    return found
