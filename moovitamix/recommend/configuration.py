"""A configuration: everything that is chosen before a model is fitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from dataclasses import fields as dataclass_fields
from typing import Any

from moovitamix.recommend.als import AlsParameters
from moovitamix.recommend.blend import BlendParameters
from moovitamix.recommend.matrix import MatrixParameters
from moovitamix.recommend.new_releases import ReleaseParameters


@dataclass(frozen=True, slots=True)
class Configuration:
    """How plays become values, how ALS is fitted to them, and what is beside it in lists.

    Without arguments: the defaults.
    """

    matrix: MatrixParameters = field(default_factory=MatrixParameters)
    als: AlsParameters = field(default_factory=AlsParameters)
    blend: BlendParameters = field(default_factory=BlendParameters)
    releases: ReleaseParameters = field(default_factory=ReleaseParameters)

    def to_json(self) -> dict[str, Any]:
        """As the registry holds it, under `matrix`, `als`, `blend` and `releases`."""
        return {part.name: asdict(getattr(self, part.name)) for part in dataclass_fields(self)}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Configuration:
        """What `to_json` gave; a parameter that was not known then has its default."""
        return cls(
            MatrixParameters(**fields["matrix"]),
            AlsParameters(**fields["als"]),
            BlendParameters.of(fields),
            ReleaseParameters.of(fields),
        )
