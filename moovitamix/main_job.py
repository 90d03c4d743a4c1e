"""The main job, from pull to cache, and training: which runs are needed.

How they are executed is told in `jobs.py`, what is said at the end in `summary.py`; how it looks is
the business of `terminal.py`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

from moovitamix.durations import write_duration
from moovitamix.errors import NothingToDo, StoreUnavailable
from moovitamix.jobs import Jobs
from moovitamix.terminal import Terminal

if TYPE_CHECKING:
    from moovitamix.recommend.registry import ModelVersion


@dataclass(frozen=True)
class Request:
    """What a user asked the main job to do.

    Args:
        first: The first day, or None: what is missing.
        last: The last day, or None: up to yesterday.
        refresh: Pull again although a kept pull covers the days.
        recommend: Whether to go on after the warehouse.
    """

    first: date | None = None
    last: date | None = None
    refresh: bool = False
    recommend: bool = True


@dataclass
class Report:
    """What came of it: runs by job name, and the sentences that tell what went wrong."""

    runs: list[tuple[str, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    news: bool = False


class MainJob:
    """What there is to do for a user who asks for a run or a training.

    Args:
        terminal: Where progress is shown.
    """

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self.report = Report()
        with terminal.phase("starting Dagster"):
            self._jobs = Jobs(terminal)

    def ingest(self, request: Request) -> None:
        """Materialize `ingest` and `warehouse` for the days asked for: one run a gap, one pull.

        Raises:
            NothingToDo: When the days asked for are not over, or before the first partition.
        """
        from moovitamix.warehouse.days import gaps

        published_before = self._published()
        days = self._days(request, published_before)
        stretches = gaps(days)
        if stretches:
            _import_ahead()
        for position, (first, last) in enumerate(stretches):
            span = f"{first}" if first == last else f"{first} to {last}"
            with self._terminal.part("Ingest and warehouse", span):
                # One pull serves all gaps: only the first run may ask for a new one.
                refresh = request.refresh and position == 0
                self.report.news |= self._execute(
                    "ingest_day",
                    days=(first, last),
                    config={"ops": {"pull": {"config": {"refresh": refresh}}}},
                )
        # Of a range run that failed for some of its days, the others are published.
        self.report.news |= bool(set(days) & (self._published() - published_before))
        self._keep_house()

    def _keep_house(self) -> None:
        from moovitamix.resources import Cache, Lake, Warehouse
        from moovitamix.retention import keep_house
        from moovitamix.settings import get_settings

        try:
            with self._terminal.phase("housekeeping"):
                tidied = keep_house(Warehouse(), Lake().open(), Cache(), get_settings())
        except StoreUnavailable as error:
            # It is tried again by the next run, and what was loaded is to be served.
            self.report.faults.append(f"Old data could not be removed. {error}")
            return
        if tidied and self._terminal.level <= logging.INFO:
            self._terminal.console.print(f"  [dim]{tidied.sentence()}[/]")

    def recommend(self) -> None:
        """Train when there is no champion; then publish a generation when there is news."""
        from moovitamix.settings import get_settings

        if not self._published():
            return
        champion = self._champion()
        if champion is None:
            with self._terminal.part("Recommend", "there is no champion yet"):
                trained = self._retrain(write_duration(get_settings().tune_first))
            if trained:
                self._serve(trained=True)
            return
        if self.report.news or not self._is_served(champion.version):
            self._serve()
        self._renew()

    def train(self, tune: str | None, trials: int | None) -> None:
        """Train now, whether or not there is a champion; publish when another one is promoted.

        Args:
            tune: How long to search for a better configuration; None: as long as the settings say,
                or without a limit of time where the number of trials has one.
            trials: At most so many trials; None: any number.

        Raises:
            NothingToDo: When no day has been published.
        """
        if not self._published():
            raise NothingToDo("No day has been published yet: load one with `moovitamix run`.")
        with self._terminal.part("Recommend", "train, evaluate, judge"):
            trained = self._retrain(tune, trials)
        champion = self._champion()
        if trained and champion is not None and not self._is_served(champion.version):
            self._serve(trained=True)

    def _champion(self) -> ModelVersion | None:
        from moovitamix.recommend import registry
        from moovitamix.resources import Warehouse

        with Warehouse().connect() as connection:
            return registry.champion(connection)

    def _retrain(self, tune: str | None, trials: int | None = None) -> bool:
        asked = {"tune": tune, "trials": trials}
        budget = {name: value for name, value in asked.items() if value is not None}
        return self._execute("retrain", config={"ops": {"als_model": {"config": budget}}})

    def _serve(self, *, trained: bool = False) -> None:
        with self._terminal.part("Serve", "one generation of lists"):
            # Features and matrix have just been made when the model was, if as the model needs it.
            ready = trained and self._matrix_is_the_champions()
            only_serve = ["user_top_n", "similar_tracks", "popular_tracks"] if ready else None
            self._execute("refresh_serving", only=only_serve)

    def _renew(self) -> None:
        """Let what is served live on, where nothing newer has taken its place."""
        from moovitamix.resources import Cache
        from moovitamix.serve.arms import renew_challenger
        from moovitamix.serve.life import renew

        cache = Cache()
        with cache.connect() as client:
            renew(client, cache.prefix)
            renew_challenger(client, cache.prefix)

    def _matrix_is_the_champions(self) -> bool:
        from moovitamix.recommend.artifacts import current_matrix
        from moovitamix.resources import Lake

        champion = self._champion()
        made = current_matrix(Lake().open()).fingerprint
        return champion is not None and made == champion.matrix_fingerprint

    def _is_served(self, champion: int) -> bool:
        """Whether what is served is the champion's, and made of all that is known by now."""
        from moovitamix.resources import Cache, Warehouse
        from moovitamix.serve.generations import read_current
        from moovitamix.serve.news import news_since
        from moovitamix.settings import get_settings

        cache = Cache()
        with cache.connect() as client:
            generation = read_current(client, cache.prefix)
        if generation is None:
            return False
        today = get_settings().present().date()
        with Warehouse().connect() as connection:
            return news_since(connection, generation, champion, today) is None

    def _published(self) -> set[date]:
        from moovitamix.resources import Warehouse
        from moovitamix.warehouse.days import published_days

        with Warehouse().connect() as connection:
            return published_days(connection)

    def _awaited(self) -> set[date]:
        """Blocked days whose verdict was accepted: to be published, though some of it is there."""
        from moovitamix.resources import Warehouse
        from moovitamix.warehouse.acceptance import awaited_days

        with Warehouse().connect() as connection:
            return awaited_days(connection)

    def _days(self, request: Request, published: set[date]) -> list[date]:
        from moovitamix.ingest.pull import last_day_over
        from moovitamix.settings import get_settings
        from moovitamix.warehouse.days import days_between

        settings = get_settings()
        over = last_day_over(settings.present())
        first = request.first or settings.first_day
        last = request.last or over
        if first < settings.first_day:
            raise NothingToDo(
                f"{first} is before the first partition, {settings.first_day}, to which all that "
                "is older is dealt. Set MOOVITAMIX_FIRST_DAY to change it."
            )
        if last > over:
            raise NothingToDo(f"{last} is not over yet; the last day that is over is {over}.")
        days = days_between(first, last)
        if not days:
            raise NothingToDo(f"There is no day from {first} to {last}.")
        if request.first or request.last or request.refresh:
            return days
        return sorted(set(days) & self._awaited() | set(days) - published)

    def _execute(
        self,
        job: str,
        *,
        days: tuple[date, date] | None = None,
        config: Mapping[str, Any] | None = None,
        only: Sequence[str] | None = None,
    ) -> bool:
        """Execute a job; whether it succeeded. Why it failed goes to the report."""
        execution = self._jobs.execute(job, days=days, config=config, only=only)
        self.report.runs.append((job, execution.run_id))
        self.report.faults.extend(execution.faults)
        return execution.succeeded


def _import_ahead() -> None:
    """Import Great Expectations while the source is being read: it takes seconds."""
    from moovitamix.warehouse.judge import great_expectations

    threading.Thread(target=great_expectations, name="import-ahead", daemon=True).start()
