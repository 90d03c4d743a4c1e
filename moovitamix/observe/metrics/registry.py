"""All metrics of the platform, and the table of them that `docs/metrics.md` holds."""

from __future__ import annotations

from collections.abc import Sequence

from moovitamix.observe.metrics.api_families import API_FAMILIES
from moovitamix.observe.metrics.batch_families import RUN_FAMILIES
from moovitamix.observe.metrics.family import Family, Label
from moovitamix.observe.metrics.model_families import MODEL_FAMILIES

BATCH_FAMILIES = (*RUN_FAMILIES, *MODEL_FAMILIES)
FAMILIES: tuple[Family, ...] = (*API_FAMILIES, *BATCH_FAMILIES)
BY_NAME = {family.name: family for family in FAMILIES}


def markdown(families: Sequence[Family]) -> str:
    """Metrics as a table for people: name, kind, labels with their values, help."""
    lines = ["| metric | kind | labels | what it tells |", "| --- | --- | --- | --- |"]
    for one in families:
        labels = "; ".join(_told(label) for label in one.labels)
        lines.append(f"| `{one.name}` | {one.kind} | {labels} | {one.help} |")
    return "\n".join(lines)


def _told(label: Label) -> str:
    values = ", ".join(value or "(empty)" for value in label.values)
    return f"`{label.name}`: {values or label.source}"
