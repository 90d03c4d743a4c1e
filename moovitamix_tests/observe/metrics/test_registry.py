"""The registry of metrics keeps to the conventions of Prometheus."""

from __future__ import annotations

from moovitamix.observe.metrics.registry import BY_NAME, FAMILIES


def test_names_are_by_the_conventions_of_prometheus() -> None:
    for family in FAMILIES:
        assert family.name.startswith("moovitamix_")
        assert family.name.endswith("_total") == (family.kind == "counter"), family.name
        assert family.name.endswith(family.unit), family.name
        assert family.help.endswith("."), family.name
        assert bool(family.buckets) == (family.kind == "histogram"), family.name
        assert all(label.values or label.source for label in family.labels), family.name
    assert len(BY_NAME) == len(FAMILIES)
