"""What two versions have in common: their configurations, without what the data has made of them.

Two versions of one configuration differ by their data alone: the younger is a refresh.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from moovitamix.recommend.als import AlsParameters
from moovitamix.recommend.blend import BlendParameters
from moovitamix.recommend.matrix import MatrixParameters
from moovitamix.recommend.new_releases import NO_RELEASES

# The parts of a version's parameters that shape its lists; what else is recorded there is history.
PARTS = ("matrix", "als", "blend", "releases")


def configuration(parameters: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The configuration of a version by part; what a version is too old to know has its default.

    λ is the one that was asked for where that is recorded (under `found`): on thin data it is
    lowered by what the data can stand, and would make each refresh a new configuration.

    Args:
        parameters: As registered.
    """
    defaults = {
        "matrix": asdict(MatrixParameters()),
        "als": asdict(AlsParameters()),
        "blend": asdict(BlendParameters()),
        "releases": asdict(NO_RELEASES),
    }
    found = {part: {**defaults.get(part, {}), **parameters.get(part, {})} for part in PARTS}
    asked = parameters.get("found", {}).get("regularization")
    if asked is not None:
        found["als"]["regularization"] = asked
    return found


def same_configuration(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two versions, by their registered parameters, are of one configuration."""
    return configuration(one) == configuration(other)


def differences(
    one: Mapping[str, Any], other: Mapping[str, Any]
) -> list[tuple[str, object, object]]:
    """What differs between two configurations: name ("als.alpha"), the one's value, the other's.

    A parameter that one of them does not have is None there.
    """
    left, right = flat(one), flat(other)
    return [
        (name, left.get(name), right.get(name))
        for name in [*left, *(name for name in right if name not in left)]
        if left.get(name) != right.get(name)
    ]


def flat(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without its parts: "als.alpha" and its value."""
    parts = configuration(parameters)
    return {
        f"{part}.{name}": value for part, fields in parts.items() for name, value in fields.items()
    }
