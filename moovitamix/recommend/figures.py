"""The figures of an evaluation as people read them: a sentence, a table, a series of points."""

from __future__ import annotations

from moovitamix.recommend.evaluation import ALS, NDCG, POPULARITY, Evaluation
from moovitamix.recommend.metrics import Figure

_TITLES = {
    NDCG: "NDCG",
    "recall": "recall",
    "map": "MAP",
    "precision": "precision",
    "coverage": "coverage",
}


def sentence(evaluation: Evaluation) -> str:
    """The figures that decide, in a sentence."""
    gain = evaluation.difference
    if gain is None:
        return f"No user could be judged by ({evaluation.split})."
    als, popular = (evaluation.figures[ranker][NDCG].value for ranker in (ALS, POPULARITY))
    least = evaluation.rules.minimum_users
    few = f"; fewer than {least} users cannot tell" if evaluation.users < least else ""
    return (
        f"NDCG@{evaluation.rules.k} is {als:.4f} for ALS and {popular:.4f} for popularity on "
        f"{evaluation.users} users ({evaluation.split}): a difference of {gain.value:+.4f}, "
        f"95 % interval {gain.low:+.4f} to {gain.high:+.4f}{few}."
    )


def rows(evaluation: Evaluation) -> list[tuple[str, Figure, Figure]]:
    """All figures in reading order: title, ALS, popularity. None when nobody was judged."""
    if evaluation.difference is None:
        return []
    als, popular = evaluation.figures[ALS], evaluation.figures[POPULARITY]
    return [(title, als[name], popular[name]) for name, title in _TITLES.items()]


def table(evaluation: Evaluation) -> str:
    """All figures with their intervals, as a Markdown table."""
    if evaluation.difference is None:
        return sentence(evaluation)
    k = evaluation.rules.k
    lines = [f"| @{k} | ALS | popularity |", "| --- | --- | --- |"]
    lines += [f"| {title} | {als} | {popular} |" for title, als, popular in rows(evaluation)]
    gain = f"ALS less popularity, NDCG@{k}, paired by user: {evaluation.difference}."
    return "\n".join([*lines, "", gain, "", "In brackets: 95 % bootstrap intervals over users."])


def series(evaluation: Evaluation) -> dict[str, float]:
    """The bare figures by name (`als_ndcg`), which Dagster draws over materializations."""
    return {
        f"{ranker}_{name}": figure.value
        for ranker, measured in evaluation.figures.items()
        for name, figure in measured.items()
    }
