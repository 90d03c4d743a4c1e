"""The figures of an evaluation as people read them: sentences, tables, a series of points."""

from __future__ import annotations

from collections.abc import Mapping

from moovitamix.recommend.comparison import COVERAGE, MEASURES, NDCG, NOVELTY, at
from moovitamix.recommend.evaluation import Evaluation
from moovitamix.recommend.evaluation_plot import intervals
from moovitamix.recommend.metrics import Figure
from moovitamix.recommend.rankers import (
    CANDIDATE,
    CHAMPION,
    EASE,
    ITEM_ITEM,
    OWN_PLAYS,
    POPULARITY,
    PRODUCTION,
    TASKS,
    Task,
)

_TITLES = {"ndcg": "NDCG", "map": "MAP"}

_NAMES = {
    CANDIDATE: "ALS",
    CHAMPION: "champion's configuration",
    PRODUCTION: "production as it stands",
    EASE: "EASE",
}

_BASELINES = (POPULARITY, ITEM_ITEM, EASE, OWN_PLAYS)


def sentence(evaluation: Evaluation) -> str:
    """The figures that decide, in a sentence; before it, which baselines rank better."""
    gain = evaluation.differences["discovery"].get(POPULARITY)
    if gain is None:
        return f"No user could be judged by ({evaluation.split})."
    figures = evaluation.figures["discovery"]
    als, popular = (figures[ranker][NDCG].value for ranker in (CANDIDATE, POPULARITY))
    least = evaluation.rules.minimum_users
    few = f"; fewer than {least} users cannot tell" if evaluation.users < least else ""
    told = (
        f"NDCG@{evaluation.rules.k} is {als:.4f} for ALS and {popular:.4f} for popularity on "
        f"{evaluation.users} users ({evaluation.split}): a difference of {gain.value:+.4f}, "
        f"95 % interval {gain.low:+.4f} to {gain.high:+.4f}{few}."
    )
    return " ".join([*warnings(evaluation), told])


def warnings(evaluation: Evaluation) -> list[str]:
    """A sentence for each baseline that ranks better than the candidate, beyond chance."""
    enough = {
        "discovery": evaluation.users >= evaluation.rules.minimum_users,
        "replay": evaluation.replay_users >= evaluation.rules.minimum_users,
    }
    return [
        f"In {task}, the baseline {_NAMES.get(ranker, ranker)} ranks better than ALS: NDCG@"
        f"{evaluation.rules.k} {evaluation.figures[task][ranker][NDCG].value:.4f} against "
        f"{evaluation.figures[task][CANDIDATE][NDCG].value:.4f}."
        for task in TASKS
        for ranker, gain in evaluation.differences[task].items()
        if ranker in _BASELINES and enough[task] and gain.high < 0
    ]


def rows(evaluation: Evaluation) -> list[tuple[str, Figure, Figure]]:
    """Discovery's figures at k in reading order: title, ALS, popularity; none without users."""
    figures = evaluation.figures["discovery"]
    if not figures:
        return []
    als, popular = figures[CANDIDATE], figures[POPULARITY]
    told = [name for name in MEASURES if name in als]
    return [(_TITLES.get(name, name), als[name], popular[name]) for name in told]


def table(evaluation: Evaluation) -> str:
    """All figures with their intervals, as Markdown; what baselines win comes first."""
    if not any(evaluation.figures.values()):
        return sentence(evaluation)
    parts = [f"**{warning}**" for warning in warnings(evaluation)]
    parts.append(_circumstances(evaluation))
    for task in TASKS:
        if evaluation.figures[task]:
            parts += _of_task(evaluation, task)
    if evaluation.releases is not None:
        parts.append(evaluation.releases.sentence())
    if evaluation.rmse:
        parts.append(
            "RMSE of preferences (shown because it is asked for; it decides nothing): "
            + "; ".join(f"{_NAMES.get(n, n)} {figure}" for n, figure in evaluation.rmse.items())
            + "."
        )
    parts.append("In brackets: 95 % bootstrap intervals over users. Novelty is in bits.")
    return "\n\n".join(parts)


def _circumstances(evaluation: Evaluation) -> str:
    cut_off = f", cut off at {evaluation.cut_off}" if evaluation.cut_off else ""
    return (
        f"Split: {evaluation.split}{cut_off}. Past: {evaluation.training_plays} plays of "
        f"{evaluation.training_users} users and {evaluation.catalogue} tracks, all of them ranked. "
        f"Future: {evaluation.test_plays} plays; {evaluation.cold_users:.1%} of its users and "
        f"{evaluation.cold_tracks:.1%} of its tracks are not in the past."
    )


def _of_task(evaluation: Evaluation, task: Task) -> list[str]:
    k, longer = evaluation.rules.k, evaluation.rules.longer_k
    users, pairs = (
        (evaluation.users, evaluation.discoveries)
        if task == "discovery"
        else (evaluation.replay_users, evaluation.replays)
    )
    measured = evaluation.figures[task]
    parts = [f"**{task}**: {users} users, {pairs} relevant pairs"]
    parts += _drawn(measured, k)
    for length in (k, longer):  # a table for each: all in one are wider than the UI's panel
        names = [at(measure, length, k) for measure in MEASURES]
        names = [name for name in names if all(name in of for of in measured.values())]
        if names:
            parts.append(_grid(measured, names, k))
    if evaluation.segments[task]:
        by_ranker: dict[str, dict[str, Figure]] = {ranker: {} for ranker in measured}
        for segment, found in evaluation.segments[task].items():
            for ranker, figure in found.items():
                by_ranker[ranker][segment] = figure
        parts += [f"NDCG@{k} by segment:", _grid(by_ranker, list(evaluation.segments[task]), None)]
    differences = "; ".join(
        f"{_NAMES.get(ranker, ranker)} {gain}"
        for ranker, gain in evaluation.differences[task].items()
    )
    return [*parts, f"NDCG@{k} of ALS less that of, paired by user: {differences}."]


def _drawn(measured: Mapping[str, Mapping[str, Figure]], k: int) -> list[str]:
    """NDCG of all rankers as a picture, and what is to be seen on it."""
    ndcg = {_NAMES.get(ranker, ranker): of[NDCG] for ranker, of in measured.items() if NDCG in of}
    if not ndcg:
        return []
    picture = intervals(ndcg, judged=_NAMES[CANDIDATE])
    return [f"![NDCG@{k} of all rankers]({picture})", f"NDCG@{k}: bars are the intervals."]


def _grid(measured: Mapping[str, Mapping[str, Figure]], names: list[str], k: int | None) -> str:
    """A row by ranker, a column by name; a bare name is told with its k."""
    titles = []
    for name in names:
        measure, _, length = name.partition("@")
        at_k = length or k
        titles.append(_TITLES.get(measure, measure) + (f"@{at_k}" if at_k else ""))
    lines = ["| | " + " | ".join(titles) + " |", "| --- " * (len(names) + 1) + "|"]
    for ranker, figures in measured.items():
        cells = " | ".join(str(figures[name]) for name in names)
        lines.append(f"| {_NAMES.get(ranker, ranker)} | {cells} |")
    return "\n".join(lines)


def series(evaluation: Evaluation) -> dict[str, float]:
    """Bare figures by name (`discovery_candidate_ndcg`), which Dagster draws over time.

    At k, and of what is told by one figure: NDCG, coverage and novelty.
    """
    return {
        f"{task}_{ranker}_{name}".replace(" ", "_").replace("-", "_"): figures[name].value
        for task in TASKS
        for ranker, figures in evaluation.figures[task].items()
        for name in (NDCG, COVERAGE, NOVELTY)
        if name in figures
    }
