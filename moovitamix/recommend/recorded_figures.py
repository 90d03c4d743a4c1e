"""The figures that the registry holds of a version, whichever version of the code wrote them.

An evaluation gains rankers, tasks and measures over time, and the registry keeps what old ones
said: so figures are found by their shape, not by their place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from moovitamix.recommend.metrics import Figure

_SHAPE = {"value", "low", "high"}
# The order in which people read them; the registry's JSON keeps none.
_TASKS = ("discovery", "replay")
_RANKERS = ("candidate", "champion", "production", "popularity", "item-item", "ease", "own plays")
_MEASURES = ("ndcg", "recall", "map", "precision", "coverage", "novelty")
# Where the NDCG of a version's own lists is: of today's evaluations, and of the first ones.
_DECISIVE = ("discovery candidate ndcg", "als ndcg")


def recorded_figures(metrics: Mapping[str, Any]) -> dict[str, Figure]:
    """All figures of an evaluation by name, in its order: "discovery candidate ndcg".

    Differences between rankers are named so: "difference discovery popularity".

    Args:
        metrics: As registered; empty before the evaluation.
    """
    found = dict(_walk(metrics.get("figures") or {}, ()))
    for kind in ("difference", "differences"):
        found |= dict(_walk(metrics.get(kind) or {}, ("difference",)))
    return found


def side_by_side(metrics: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Figure]]]:
    """The figures at the length that decides, by task, measure and ranker, in reading order.

    Under "less" is what the candidate's NDCG is less that of each other ranker. Empty for the first
    evaluations, which knew no tasks.
    """
    found = recorded_figures(metrics)
    tables: dict[str, dict[str, dict[str, Figure]]] = {}
    for task in _TASKS:
        rows = {
            measure: {
                ranker: found[name]
                for ranker in _RANKERS
                if (name := f"{task} {ranker} {measure}") in found
            }
            for measure in _MEASURES
        }
        rows["less"] = {
            ranker: found[name]
            for ranker in _RANKERS
            if (name := f"difference {task} {ranker}") in found
        }
        if rows[_MEASURES[0]]:
            tables[task] = rows
    return tables


def own_ndcg(metrics: Mapping[str, Any]) -> Figure | None:
    """The NDCG of a version's own lists, by which it was judged; None before it was."""
    found = recorded_figures(metrics)
    return next((found[name] for name in _DECISIVE if name in found), None)


def _walk(node: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, Figure]]:
    if set(node) == _SHAPE:
        yield " ".join(path), Figure(**node)
        return
    for name, below in node.items():
        if isinstance(below, Mapping):
            yield from _walk(below, (*path, name))
