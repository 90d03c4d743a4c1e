"""What tuning is worth on given plays: NDCG@10 of the defaults and of what was found, on the test.

The plays are a CSV with the columns user_id, track_id and listened_at (ISO 8601, UTC), such as
`moovitamix run --into-csv` writes. The last days are the test; the tuning sees what comes before
them alone, as in the job `retrain`. The trials are printed as they end.
"""

from __future__ import annotations

import tempfile
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from dataclasses import asdict
from datetime import date
from pathlib import Path
from time import perf_counter

import polars as pl

from moovitamix.durations import parse_duration
from moovitamix.ingest.lake import LakeStore
from moovitamix.recommend.als import AlsParameters
from moovitamix.recommend.configuration import Configuration
from moovitamix.recommend.evaluate import evaluate
from moovitamix.recommend.evaluation import EvaluationRules
from moovitamix.recommend.figures import sentence
from moovitamix.recommend.matrix import INTERACTIONS
from moovitamix.recommend.tuning.outcome import Budget
from moovitamix.recommend.tuning.search import tune
from moovitamix.recommend.tuning.validation import cut_validation

# What implicit 0.7 fits by when it is told nothing.
LIBRARY = Configuration(
    als=AlsParameters(factors=100, alpha=1.0, regularization=0.01, iterations=15)
)


def main() -> None:
    """Measure and print."""
    parser = ArgumentParser(description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter)
    parser.add_argument("plays", type=Path)
    parser.add_argument("--tune", type=parse_duration, default="10m", help="budget of time")
    parser.add_argument("--trials", type=int, help="budget of trials, on top of that of time")
    parser.add_argument("--test-days", type=int, default=7)
    parser.add_argument("--seed", type=int, default=20260901)
    parser.add_argument(
        "--library", action="store_true", help="begin with implicit's defaults instead of ours"
    )
    parser.add_argument("--lake", help="keep the trials in this lake, and go on with them")
    asked = parser.parse_args()

    plays = pl.read_csv(asked.plays, try_parse_dates=True).select(
        pl.col("user_id", "track_id").cast(pl.Int64),
        pl.col("listened_at").dt.replace_time_zone(None).cast(pl.Datetime("us")),
    )
    assert plays.schema == INTERACTIONS
    as_of = plays["listened_at"].dt.date().max()
    assert isinstance(as_of, date)
    rules = EvaluationRules(test_days=asked.test_days)
    validation = cut_validation(plays, as_of, rules)
    print(
        f"{plays.height:,} plays up to {as_of}; tuned on {len(validation.users):,} users, "
        f"{validation.relevant.height:,} discoveries"
    )
    print(validation.too_little or "enough to tune on")

    def on_test(configuration: Configuration) -> str:
        return sentence(evaluate(plays, as_of, configuration.matrix, configuration.als, rules))

    first = LIBRARY if asked.library else Configuration()
    print(f"begun with: {on_test(first)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        lake = LakeStore(asked.lake or Path(folder).as_uri())
        began = perf_counter()
        tuned = tune(
            validation,
            first,
            Budget(time=asked.tune, trials=asked.trials),
            lake,
            seed=asked.seed,
            tell=lambda line: print(f"  {line}", flush=True),
        )
    print(f"{perf_counter() - began:.0f} s: {tuned.to_json()}")
    print(f"tuned: {on_test(tuned.configuration)}")
    print(asdict(tuned.configuration))


if __name__ == "__main__":
    main()
