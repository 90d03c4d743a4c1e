"""Model versions as the console shows them: a row each, with the figures that decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from moovitamix.recommend.metrics import Figure
from moovitamix.recommend.recorded_figures import own_ndcg, recorded_figures
from moovitamix.recommend.registry import ModelVersion

_POPULARITY = ("discovery popularity ndcg", "popularity ndcg")


@dataclass(frozen=True)
class VersionRow:
    """A version and its figures.

    Attributes:
        version: The version.
        ndcg: Of its own lists, with interval; None before it was evaluated.
        popularity: The same of what is popular, for the same users and days.
    """

    version: ModelVersion
    ndcg: Figure | None
    popularity: Figure | None


def read_rows(versions: Sequence[ModelVersion]) -> list[VersionRow]:
    """A row for each version, in the same order."""
    rows = []
    for one in versions:
        figures = recorded_figures(one.metrics)
        popularity = next((figures[name] for name in _POPULARITY if name in figures), None)
        rows.append(VersionRow(one, own_ndcg(one.metrics), popularity))
    return rows
