"""How long an evaluation takes: every ranker, the full catalogue, all figures with intervals.

The plays are random with popular and unpopular tracks and eight tastes: what is measured is time,
not quality. With `--listens` they are those of a file instead, and the figures are printed.
"""

from __future__ import annotations

from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from time import perf_counter, process_time
from typing import cast

import numpy as np
import polars as pl

from moovitamix.recommend import figures
from moovitamix.recommend.als import AlsParameters
from moovitamix.recommend.blend_choice import choose_blend
from moovitamix.recommend.evaluate import evaluate
from moovitamix.recommend.evaluation import EvaluationRules
from moovitamix.recommend.matrix import INTERACTIONS, MatrixParameters, end_of

AS_OF = date(2026, 11, 22)
DAYS = 60


def main() -> None:
    """Measure and print."""
    parser = ArgumentParser(description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--tracks", type=int, default=20_000)
    parser.add_argument("--plays", type=int, default=4_000_000)
    parser.add_argument(
        "--listens", type=Path, help="CSV with user_id, track_id, listened_at (ISO 8601, no zone)"
    )
    parser.add_argument("--test-days", type=int, default=EvaluationRules().test_days)
    parser.add_argument(
        "--validation-days", type=int, help="days before the test that choose the blend"
    )
    asked = parser.parse_args()
    rules = EvaluationRules(test_days=asked.test_days)
    plays = (
        read_listens(asked.listens)
        if asked.listens
        else random_plays(asked.users, asked.tracks, asked.plays)
    )
    as_of = cast("datetime", plays["listened_at"].max()).date()
    began, used = perf_counter(), process_time()
    blend = choose_blend(
        plays,
        as_of,
        MatrixParameters(),
        AlsParameters(),
        rules,
        validation_days=asked.validation_days,
    )
    seconds, processor = perf_counter() - began, process_time() - used
    print(f"{blend}, chosen in {seconds:.1f} s, {processor:.1f} s of processor time", flush=True)
    began, used = perf_counter(), process_time()
    evaluation = evaluate(
        plays,
        as_of,
        MatrixParameters(),
        AlsParameters(),
        rules,
        blend=blend,
    )
    seconds, processor = perf_counter() - began, process_time() - used
    print(
        f"{evaluation.training_plays:,} plays of {evaluation.training_users:,} users and "
        f"{evaluation.catalogue:,} tracks; {evaluation.users:,} and {evaluation.replay_users:,} "
        f"users judged: {seconds:.1f} s, {processor:.1f} s of processor time, "
        f"{getrusage(RUSAGE_SELF).ru_maxrss / 2**20:.2f} GB at most"
    )
    print(figures.table(evaluation) if asked.listens else figures.sentence(evaluation))


def read_listens(path: Path) -> pl.DataFrame:
    """The plays of a CSV file, of other columns too."""
    return pl.read_csv(path).select(
        pl.col("user_id").cast(pl.Int64),
        pl.col("track_id").cast(pl.Int64),
        pl.col("listened_at").str.to_datetime(time_unit="us"),
    )


def random_plays(users: int, tracks: int, plays: int) -> pl.DataFrame:
    """Plays of users of eight tastes, of tracks of very different popularity."""
    chance = np.random.default_rng(1)
    user = chance.integers(0, users, plays)
    taste = np.where(chance.random(plays) < 0.3, chance.integers(0, 8, plays), user % 8)
    track = 8 * (tracks // 8 * chance.random(plays) ** 2).astype(np.int64) + taste
    start = int((end_of(AS_OF) - timedelta(days=DAYS)).replace(tzinfo=UTC).timestamp() * 1e6)
    micros = start + (chance.random(plays) * DAYS * 86_400e6).astype(np.int64)
    return pl.DataFrame({"user_id": user, "track_id": track, "listened_at": micros}).cast(
        INTERACTIONS
    )


if __name__ == "__main__":
    main()
