"""What places kept for new releases are worth, and cost, on worlds of the demonstration source.

Each world is cut off on four days, a week apart. ALS is fitted to what was heard before the
cut-off, and lists are judged by the week after it, by what was new to a user: "unheard", young
tracks that were out before the cut-off and that nobody had heard by then; "few", young tracks
that one to nine users had heard; "discovery", as in the evaluation, all that anybody had heard;
and "all", unheard and discovery. Intervals are over users, whatever the cut-off.
"""

from __future__ import annotations

from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from moovitamix.embedded.demo_source.world import DemoParameters, DemoWorld
from moovitamix.recommend import metrics
from moovitamix.recommend.als import AlsParameters, fit_als, fold_in
from moovitamix.recommend.matrix import (
    MatrixParameters,
    UserItemMatrix,
    in_columns,
    select_users,
)
from moovitamix.recommend.matrix_building import build_matrix
from moovitamix.recommend.metrics import Figure
from moovitamix.recommend.new_releases import NewReleases, ReleaseParameters, with_releases
from moovitamix.recommend.split import Split, split_by_time
from moovitamix.recommend.top_n import TopN, score_users
from moovitamix.recommend.track_features import track_features

DAYS, N = 60, 100
YOUNG_DAYS, FEW = 28, 9
CUT_OFFS = (7, 14, 21, 28)
TEST_DAYS = 7
NO_SHARE, BY_FACTORS = "no share", "by artist and genres"
KEPT = "hits at kept places"

Columns = dict[str, list[NDArray[np.float64]]]


@dataclass(frozen=True, eq=False)
class World:
    """A demonstration world's plays and tracks, the latter as `track_features` takes them."""

    plays: pl.DataFrame
    tracks: pl.DataFrame
    last_day: date


def main() -> None:
    """Measure and print."""
    parser = ArgumentParser(description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter)
    parser.add_argument("--worlds", default="7-18", help="seeds, from-to")
    parser.add_argument("--first", type=int, nargs="+", default=[ReleaseParameters().first])
    parser.add_argument("--every", type=int, nargs="+", default=[ReleaseParameters().every])
    parser.add_argument(
        "--enough", type=int, nargs="+", default=[ReleaseParameters().enough_listeners]
    )
    asked = parser.parse_args()
    low, high = (int(seed) for seed in asked.worlds.split("-"))
    shares = [
        ReleaseParameters(first=first, every=every, enough_listeners=enough)
        for first, every in zip(asked.first, asked.every, strict=True)
        for enough in asked.enough
    ]
    found: dict[ReleaseParameters, Columns] = {share: defaultdict(list) for share in shares}
    counts = np.zeros(2, dtype=np.int64)
    for seed in range(low, high + 1):
        world = make_world(seed)
        for back in CUT_OFFS:
            for number, one in enumerate(judge(world, seed, back, shares)):
                share, columns, about = one
                for name, values in columns.items():
                    found[share][name].append(values)
                counts += about if not number else 0
    print(f"{counts[0]:,} pairs of unheard tracks, {counts[1]:,} of tracks that few had heard")
    for share in shares:
        print(f"\n{share}")
        report({name: np.concatenate(parts) for name, parts in found[share].items()})


def make_world(seed: int) -> World:
    """Everything that the demonstration source has after sixty days."""
    first_day = date(2026, 9, 23)
    world = DemoWorld(DemoParameters(seed=seed, first_day=first_day, days=DAYS))
    last_day = first_day + timedelta(days=DAYS - 1)
    now = datetime.combine(first_day, datetime.min.time()) + timedelta(days=DAYS)
    tracks = pl.DataFrame(
        [
            (track.id, track.artist, track.genres.lower().replace(", ", "\n"), track.created_at)
            for track in world.tracks(0, world.count_tracks(now), now)
        ],
        schema=["track_id", "artist", "genres", "created_at"],
        orient="row",
    )
    plays = pl.DataFrame(
        [
            (listen.user_id, track, listen.created_at)
            for listen in world.listens(0, world.count_listens(now), now)
            for track in listen.items
        ],
        schema=["user_id", "track_id", "listened_at"],
        orient="row",
    )
    created = pl.col("created_at").str.to_datetime(time_unit="us")
    return World(
        plays.with_columns(pl.col("listened_at").str.to_datetime(time_unit="us")),
        tracks.with_columns(created.dt.epoch("us")),
        last_day,
    )


def judge(
    world: World, seed: int, back: int, shares: list[ReleaseParameters]
) -> Iterator[tuple[ReleaseParameters, dict[str, NDArray[np.float64]], NDArray[np.int64]]]:
    """Values by user of lists made on one cut-off, for each share."""
    as_of = world.last_day - timedelta(days=back - TEST_DAYS)
    known = world.plays.filter(pl.col("listened_at").dt.date() <= as_of)
    split = split_by_time(known, as_of, TEST_DAYS)
    matrix = build_matrix(split.past, MatrixParameters(), split.as_of)
    model = fit_als(matrix, AlsParameters())
    features = _features(world, matrix, split.as_of)
    groups = _relevant(split, features, matrix)
    users = pl.concat([groups["all"], groups["few"]])["user_id"].unique().sort().to_numpy()
    judged = select_users(matrix, users)
    plain = _joined(list(score_users(model, judged, N)))
    factors = fold_in(model, judged)
    about = np.array([groups["unheard"].height, groups["few"].height])
    for share in shares:
        releases = NewReleases.find(model, features, share)
        heard = in_columns(judged, releases.tracks)
        lists = {NO_SHARE: plain, BY_FACTORS: releases.place(plain, factors, heard)}
        places = share.places(N)
        for name, order in _orders(releases, features, plain, heard, seed).items():
            best = releases.tracks[order[:, : len(places)]]
            lists[name] = with_releases(plain, best, np.full(len(best), best.shape[1]), places)
        values: dict[str, NDArray[np.float64]] = {"user": judged.users + np.float64(seed * 10**7)}
        for name, found in lists.items():
            for what, relevant in groups.items():
                hits, counted = _hits(found, relevant)
                values[f"{what} users"] = (counted > 0).astype(np.float64)
                at_least = np.maximum(counted, 1)
                for k in (10, 20, N):
                    values[f"{what} ndcg@{k} {name}"] = metrics.ndcg(hits[:, :k], at_least)
                    values[f"{what} recall@{k} {name}"] = metrics.recall(hits[:, :k], at_least)
                kept = places[places < 20]
                values[f"{what} {KEPT} {name}"] = hits[:, kept].mean(axis=1)
        yield share, values, about


def _features(world: World, matrix: UserItemMatrix, as_of: date) -> pl.DataFrame:
    """The features on a day of the tracks that were out by then."""
    listeners = pl.DataFrame(
        {
            "track_id": matrix.tracks,
            "listeners": np.bincount(matrix.values.indices, minlength=len(matrix.tracks)),
        }
    )
    known = world.tracks.join(listeners, on="track_id", how="left")
    known = known.with_columns(
        pl.col("listeners").fill_null(0), last_listen=pl.lit(None, dtype=pl.Int64)
    )
    return track_features(known, as_of).filter(pl.col("age_days") >= 0)


def _relevant(
    split: Split, features: pl.DataFrame, matrix: UserItemMatrix
) -> dict[str, pl.DataFrame]:
    """By group: user_id and track_id of what known users heard, and had not heard before."""
    pair = ["user_id", "track_id"]
    new = split.future.select(pair).unique().join(split.past, on=pair, how="anti").sort(pair)
    new = new.filter(pl.col("user_id").is_in(matrix.users)).join(features, on="track_id")
    young = new.filter(pl.col("age_days") <= YOUNG_DAYS)
    unheard = young.filter(pl.col("listeners") == 0)
    discovered = new.filter(pl.col("listeners") > 0)
    return {
        "unheard": unheard,
        "few": young.filter(pl.col("listeners").is_between(1, FEW)),
        "discovery": discovered,
        "all": pl.concat([discovered, unheard]),
    }


def _orders(
    releases: NewReleases, features: pl.DataFrame, plain: TopN, heard: csr_matrix, seed: int
) -> dict[str, NDArray[np.int64]]:
    """[users, releases]: in which order baselines offer them, by turns as the share does."""
    chance = np.random.default_rng(seed)
    ages = features.filter(pl.col("track_id").is_in(releases.tracks))["age_days"].to_numpy()
    out = heard.toarray() > 0
    for row, tracks in enumerate(plain.tracks):
        out[row] |= np.isin(releases.tracks, tracks)
    return {
        "at random": _by_turns(chance.random(out.shape) + 1000 * out, out, releases.unheard),
        "newest first": _by_turns(ages + 1000 * out, out, releases.unheard),
    }


def _by_turns(
    keys: NDArray[np.float64], out: NDArray[np.bool_], unheard: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Unheard and heard ones in the order of their keys, by turns; what is out comes last."""
    turns = np.full(keys.shape, 10.0**6)
    for part in (np.flatnonzero(unheard), np.flatnonzero(~unheard)):
        turns[:, part] = keys[:, part].argsort(axis=1, kind="stable").argsort(axis=1)
    turns[out] = 10.0**6
    return np.argsort(turns + 0.5 * ~unheard, axis=1, kind="stable")


def _hits(found: TopN, relevant: pl.DataFrame) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """[users, N] and [users]: where lists are right, and how many tracks there were to find."""
    users = np.searchsorted(found.ids, relevant["user_id"].to_numpy())
    wanted = users.astype(np.int64) << 32 | relevant["track_id"].to_numpy()
    places = np.arange(len(found.ids), dtype=np.int64)[:, None] << 32 | found.tracks
    hits = np.isin(places, wanted) & (np.arange(N) < found.lengths[:, None])
    return hits, np.bincount(users, minlength=len(found.ids))


def _joined(blocks: list[TopN]) -> TopN:
    return TopN(
        *(
            np.concatenate([getattr(block, name) for block in blocks])
            for name in ("ids", "tracks", "scores", "lengths")
        )
    )


def report(values: dict[str, NDArray[np.float64]]) -> None:
    """A table by ranker, with intervals over users, a user's weeks taken together.

    Of discovery, of both and of the kept places: what a list has gained over the one without.
    """
    columns = [
        *(("unheard", measure, False) for measure in ("recall@20", "ndcg@20", "recall@100")),
        *(("few", measure, False) for measure in ("recall@20", "recall@100")),
        *(("discovery", measure, True) for measure in ("ndcg@10", "ndcg@20", "recall@100")),
        *(("all", measure, True) for measure in ("ndcg@20", "recall@20", "recall@100")),
        ("all", KEPT, False),
    ]
    titles = [f"{what}: {measure}{' less no share' * gain}" for what, measure, gain in columns]
    print("| | " + " | ".join(titles) + " |")
    print("| --- " * (len(columns) + 1) + "|")
    for name in (NO_SHARE, BY_FACTORS, "at random", "newest first"):
        cells = []
        for what, measure, gain in columns:
            taken = values[f"{what} users"] > 0
            own = values[f"{what} {measure} {name}"]
            base = values[f"{what} {measure} {NO_SHARE}"] * gain
            cells.append(str(by_user(values["user"][taken], (own - base)[taken])))
        print(f"| {name} | " + " | ".join(cells) + " |")
    for what in ("unheard", "few", "discovery", "all"):
        judged = values[f"{what} users"] > 0
        plain = [values[f"{what} {one} {NO_SHARE}"] for one in ("ndcg@10", "ndcg@20", "recall@100")]
        told = ", ".join(f"{one[judged].mean():.4f}" for one in plain)
        print(f"{what}: {np.count_nonzero(judged):,} users and weeks; no share has {told}")


def by_user(users: NDArray[np.float64], values: NDArray[np.float64]) -> Figure:
    """The mean over rows, with the rows of a user drawn together."""
    _, owners = np.unique(users, return_inverse=True)
    weeks = np.bincount(owners).astype(np.float64)
    means = np.bincount(owners, values) / weeks
    (figure,) = metrics.mean_figures(means[:, None], resamples=1000, seed=1, weights=weeks[:, None])
    return figure


if __name__ == "__main__":
    main()
