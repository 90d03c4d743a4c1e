"""A configuration: everything that is chosen before a model is fitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from moovitamix.recommend.als import AlsParameters
from moovitamix.recommend.matrix import MatrixParameters


@dataclass(frozen=True, slots=True)
class Configuration:
    """How plays become values, and how ALS is fitted to them. Without arguments: the defaults."""

    matrix: MatrixParameters = field(default_factory=MatrixParameters)
    als: AlsParameters = field(default_factory=AlsParameters)

    def to_json(self) -> dict[str, Any]:
        """As the registry holds it, under `matrix` and `als`."""
        return {"matrix": asdict(self.matrix), "als": asdict(self.als)}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Configuration:
        """What `to_json` gave; a parameter that was not known then has its default."""
        return cls(MatrixParameters(**fields["matrix"]), AlsParameters(**fields["als"]))
