"""The search itself: trial after trial inside a budget, and what is chosen at its end.

The objective is the mean NDCG@10 of discovery on the validation window: what the gate judges by,
on days that the gate does not look at. Optuna's TPE proposes, a median stopping rule gives up.
How one trial goes is told in `attempt.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from moovitamix.durations import write_duration
from moovitamix.recommend import archive
from moovitamix.recommend.configuration import Configuration
from moovitamix.recommend.tuning import space
from moovitamix.recommend.tuning.attempt import Clock, GivenUp, TimeIsUp, attempt
from moovitamix.recommend.tuning.outcome import Budget, Tuned
from moovitamix.recommend.tuning.trials import FinishedTrial, load_trials, store_trials
from moovitamix.recommend.tuning.validation import Validation, judge

if TYPE_CHECKING:
    import optuna

    from moovitamix.ingest.lake import LakeStore

# Random points before TPE takes over; the starting points count among them.
_UNINFORMED = 8
# So many trials are finished before one is given up.
_UNPRUNED = 4


def tune(
    validation: Validation,
    first: Configuration,
    budget: Budget,
    lake: LakeStore,
    *,
    seed: int,
    tell: Callable[[str], None] = lambda _: None,
) -> Tuned:
    """Search for a better configuration than the first.

    What a trial proposes depends on the finished trials, their number and the seed alone: with a
    budget of trials the result is the same each time, also when the search is killed and gone on
    with. A budget of time ends where the machine's speed has it.

    Args:
        validation: What to judge by.
        first: The configuration in force, tried first.
        budget: When to stop.
        lake: Where finished trials are kept.
        seed: Of the proposals.
        tell: Takes a line of progress after each trial.

    Returns:
        The best configuration when its gain over the first is more than its standard error (paired
        by user): of many trials one is always lucky. Else the first.
    """
    search = _Search(validation, first, budget, lake, seed, tell)
    search.run()
    return search.outcome()


class _Search:
    def __init__(
        self,
        validation: Validation,
        first: Configuration,
        budget: Budget,
        lake: LakeStore,
        seed: int,
        tell: Callable[[str], None],
    ) -> None:
        self._validation = validation
        self._first = first
        self._budget = budget
        self._lake = lake
        self._seed = seed
        self._tell = tell
        self._clock = Clock(budget)
        self._starts = space.starts(first)
        self._reference: NDArray[np.float64] | None = None
        of_study = {"data": validation.fingerprint, "first": first.to_json(), "seed": seed}
        self._name = archive.digest({**of_study, "space": space.SPACE_VERSION}, {})[:16]
        self._trials = load_trials(lake, self._name)
        self._study = self._new_study()
        for trial in self._trials:
            self._study.add_trial(trial.frozen())

    def run(self) -> None:
        """Try until the budget is spent."""
        if self._trials:
            self._tell(f"{len(self._trials)} trials of an earlier tuning on the same data are kept")
        try:
            while not self._is_spent():
                if self._reference is None and self._trials:
                    self._measure_reference()
                self._try_one()
        except TimeIsUp:
            self._tell("the time is up: the last trial is left unfinished")

    def outcome(self) -> Tuned:
        """The choice among the trials of the budget."""
        trials = self._trials[: self._budget.trials]
        done = [trial for trial in trials if trial.complete]
        best = max(done, key=lambda trial: trial.value, default=None)
        first = trials[0] if trials and trials[0].complete else None
        better = (
            best is not None
            and best is not first
            and best.gain is not None
            and best.error is not None
            and best.gain > best.error
        )
        chosen = best if better else first
        return Tuned(
            configuration=best.configuration if best is not None and better else self._first,
            better=better,
            study=self._name,
            trials=len(trials),
            pruned=sum(not trial.complete for trial in trials),
            seconds=round(sum(trial.seconds for trial in trials), 1),
            ndcg=chosen.value if chosen else None,
            first_ndcg=first.value if first else None,
            gain=best.gain if best else None,
            error=best.error if best else None,
            users=len(self._validation.users),
        )

    def _new_study(self) -> optuna.Study:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        return optuna.create_study(
            direction="maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=_UNPRUNED),
        )

    def _is_spent(self) -> bool:
        if self._budget.trials is not None and len(self._trials) >= self._budget.trials:
            return True
        return self._clock.left() <= 0

    def _propose(self) -> tuple[optuna.Trial, Configuration]:
        from optuna.samplers import TPESampler

        number = len(self._trials)
        # A sampler of its own for each trial: going on is as if there had been no stop.
        self._study.sampler = TPESampler(
            seed=self._seed + number, multivariate=True, n_startup_trials=_UNINFORMED
        )
        given = self._starts[number] if number < len(self._starts) else None
        if given is not None:
            self._study.enqueue_trial(space.as_point(given))
        trial = self._study.ask()
        point = space.suggest(trial)
        # As it was given, also where it is outside the space.
        return trial, given or space.as_configuration(point, self._first)

    def _try_one(self) -> None:
        trial, configuration = self._propose()
        is_first = not self._trials
        checkpoints = (configuration.als.iterations,) if is_first else space.CHECKPOINTS

        def consider(iteration: int, value: float) -> None:
            trial.report(value, iteration)
            if iteration != checkpoints[-1] and not is_first and trial.should_prune():
                raise GivenUp

        made = attempt(
            self._validation,
            configuration,
            checkpoints,
            trial.params,
            self._clock,
            consider,
            None if is_first else self._reference,
        )
        if is_first:
            self._reference = made.by_user
        self._record(trial, made.trial)

    def _measure_reference(self) -> None:
        """The first trial once more, for its NDCG by user: a search that goes on needs it."""

        def keep(_iteration: int, ndcg: NDArray[np.float64]) -> None:
            self._reference = ndcg

        judge(
            self._validation,
            self._first,
            (self._first.als.iterations,),
            keep,
            self._clock.check,
        )

    def _record(self, trial: optuna.Trial, finished: FinishedTrial) -> None:
        import optuna

        self._trials.append(finished)
        store_trials(self._lake, self._name, self._trials)
        if finished.complete:
            self._study.tell(trial, finished.value)
        else:
            self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        done = [other for other in self._trials if other.complete]
        best = max((other.value for other in done), default=0.0)
        more = ""
        if self._budget.time is not None:
            left = timedelta(seconds=max(self._clock.left(), 0))
            more = f", {write_duration(left)} left"
        if self._budget.trials is not None:
            more += f", {self._budget.trials - len(self._trials)} trials left"
        note = "" if finished.complete else " (given up)"
        self._tell(
            f"trial {len(self._trials)}: NDCG {finished.value:.4f}{note}, best {best:.4f}"
            f" of {len(done)}{more}"
        )
