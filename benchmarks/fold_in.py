"""How near a fold-in comes to a refit: lists of a user who goes on listening, made in three ways.

On worlds of the demonstration source. ALS is fitted to what was heard up to a day. On the day after
it, users hear something, and their lists are made: not at all anew ("old", less what they heard),
folded in ("folded", the factors of tracks of the day before), and by a model that is fitted anew to
all that was heard ("refit", from the same seed). Judged by what these users heard for the first
time in the week after: NDCG@20 and recall@100, and how many of a refit's first 20 the other lists
have in theirs. Intervals are over users.
"""

from __future__ import annotations

from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from collections import defaultdict
from datetime import timedelta

import numpy as np
import polars as pl
from new_releases import World, make_world
from numpy.typing import NDArray

from moovitamix.recommend.als import AlsParameters, fit_als
from moovitamix.recommend.matrix import MatrixParameters, UserItemMatrix, select_users
from moovitamix.recommend.matrix_building import Plays, build_matrix, build_rows
from moovitamix.recommend.top_n import TopN, score_users
from moovitamix.recommend.weighting import Statistics, listeners_of

DAYS_BACK = (8, 15, 22, 29)
TEST_DAYS, FIRST, N = 7, 20, 100


def main() -> None:
    """Measure and print."""
    parser = ArgumentParser(description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter)
    parser.add_argument("--worlds", default="31-36", help="seeds, from-to")
    asked = parser.parse_args()
    low, high = (int(seed) for seed in asked.worlds.split("-"))
    found: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    for seed in range(low, high + 1):
        world = make_world(seed)
        for back in DAYS_BACK:
            for name, values in judge(world, back).items():
                found[name].append(values)
    print(f"{sum(map(len, found['refit NDCG@20'])):,} users who heard something on the day between")
    for name, parts in found.items():
        values = np.concatenate(parts)
        half = 1.96 * values.std() / np.sqrt(len(values))
        print(f"{name:<28}{values.mean():.4f} ± {half:.4f}")
    for name in ("NDCG@20", "recall@100"):
        old, folded, refit = (
            np.concatenate(found[f"{way} {name}"]) for way in ("old", "folded", "refit")
        )
        for one, other, told in ((folded, old, "folded - old"), (folded, refit, "folded - refit")):
            less = one - other
            half = 1.96 * less.std() / np.sqrt(len(less))
            print(f"{told + ' ' + name:<28}{less.mean():+.4f} ± {half:.4f}")


def judge(world: World, back: int) -> dict[str, NDArray[np.float64]]:
    """Values by user who heard something on the day after the fit."""
    fitted = world.last_day - timedelta(days=back)
    between = fitted + timedelta(days=1)
    day = pl.col("listened_at").dt.date()
    before, known = world.plays.filter(day <= fitted), world.plays.filter(day <= between)
    users = known.filter(day == between)["user_id"].unique().sort().to_numpy()
    parameters = MatrixParameters()
    matrix = build_matrix(before, parameters, fitted)
    model = fit_als(matrix, AlsParameters())
    whole = build_matrix(known, parameters, between)
    anew = fit_als(whole, AlsParameters())
    rows = build_rows(
        Plays.of(known.filter(pl.col("user_id").is_in(users.tolist()))),
        parameters,
        between,
        matrix.tracks,
        Statistics(len(matrix.users), listeners_of(matrix.values), matrix.mean_plays),
    )
    returning = users[np.isin(users, matrix.users)]
    lists = {
        "old": score_users(model, select_users(matrix, returning), N),
        "folded": score_users(model, rows, N),
        "refit": score_users(anew, select_users(whole, users), N),
    }
    relevant = _heard_first(world, whole, between)
    by_way = {way: _by_user(list(blocks)) for way, blocks in lists.items()}
    heard_between = _pairs(known.filter(day == between))
    columns: dict[str, list[float]] = defaultdict(list)
    for user in users.tolist():
        wanted = relevant.get(user)
        refit = by_way["refit"].get(user, [])
        if wanted:
            for way, found in by_way.items():
                listed = [t for t in found.get(user, []) if t not in heard_between[user]]
                columns[f"{way} NDCG@20"].append(_ndcg(listed[:FIRST], wanted))
                columns[f"{way} recall@100"].append(
                    len(wanted.intersection(listed)) / min(N, len(wanted))
                )
        for way in ("old", "folded"):
            shared = len(set(by_way[way].get(user, [])[:FIRST]) & set(refit[:FIRST])) / FIRST
            columns[f"{way}, of refit's first 20"].append(shared)
    return {name: np.array(values) for name, values in columns.items()}


def _heard_first(world: World, known: UserItemMatrix, between: object) -> dict[int, set[int]]:
    """By user: the known tracks that were new to them in the week after."""
    day = pl.col("listened_at").dt.date()
    after = world.plays.filter(
        day > pl.lit(between), day <= pl.lit(between) + pl.duration(days=TEST_DAYS)
    )
    heard = _pairs(world.plays.filter(day <= pl.lit(between)))
    tracks = set(known.tracks.tolist())
    return {
        user: found
        for user, listened in _pairs(after).items()
        if (found := (listened & tracks) - heard.get(user, set()))
    }


def _pairs(plays: pl.DataFrame) -> dict[int, set[int]]:
    grouped = plays.group_by("user_id").agg("track_id")
    return {user: set(tracks) for user, tracks in grouped.iter_rows()}


def _by_user(blocks: list[TopN]) -> dict[int, list[int]]:
    return {
        user: tracks[:length].tolist()
        for block in blocks
        for user, tracks, length in zip(
            block.ids.tolist(), block.tracks, block.lengths.tolist(), strict=True
        )
    }


def _ndcg(listed: list[int], wanted: set[int]) -> float:
    gains = 1 / np.log2(np.arange(2, FIRST + 2))
    found = sum(gains[place] for place, track in enumerate(listed) if track in wanted)
    return float(found / gains[: min(FIRST, len(wanted))].sum())


if __name__ == "__main__":
    main()
