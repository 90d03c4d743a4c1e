"""Who asks for it is told what a run does, while it does it."""

import logging
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import pytest

from moovitamix.progress import progress_logger, shown_on


@dataclass
class Notebook:
    """A sink that keeps what it is told, in order."""

    told: list[tuple[object, ...]] = field(default_factory=list)
    durations: dict[str, float] = field(default_factory=dict)

    def step_started(self, step: str) -> None:
        self.told.append(("started", step))

    def step_ended(self, step: str, *, succeeded: bool, milliseconds: float) -> None:
        self.told.append(("ended", step, succeeded))
        self.durations[step] = milliseconds

    def said(self, step: str | None, level: int, message: str) -> None:
        self.told.append(("said", step, level, message))


@dg.asset
def tracks(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
    context.log.info("12 tracks loaded")
    context.log.warning("1 quarantined")
    return dg.MaterializeResult()


@dg.asset(deps=[tracks])
def charts(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
    context.log.debug("adding up")
    return dg.MaterializeResult()


@dg.asset(deps=[tracks])
def hopeless() -> dg.MaterializeResult[Any]:
    raise dg.Failure("no listens")


@dg.asset(deps=[hopeless])
def after_hopeless() -> dg.MaterializeResult[Any]:
    return dg.MaterializeResult()


def run(*assets: dg.AssetsDefinition) -> bool:
    """Run the assets as the command line does: in process, with the `progress` logger."""
    job = dg.Definitions(
        assets=assets,
        jobs=[dg.define_asset_job("all", selection=dg.AssetSelection.all())],
        loggers={"progress": progress_logger},
        executor=dg.in_process_executor,
    ).resolve_job_def("all")
    with dg.DagsterInstance.ephemeral() as instance:
        return job.execute_in_process(
            run_config={"loggers": {"progress": {}}}, instance=instance, raise_on_error=False
        ).success


def test_steps_and_their_sentences_are_told_in_order() -> None:
    notebook = Notebook()
    with shown_on(notebook):
        assert run(tracks, charts)
    assert notebook.told == [
        ("started", "tracks"),
        ("said", "tracks", logging.INFO, "12 tracks loaded"),
        ("said", "tracks", logging.WARNING, "1 quarantined"),
        ("ended", "tracks", True),
        ("started", "charts"),
        ("said", "charts", logging.DEBUG, "adding up"),
        ("ended", "charts", True),
    ]


def test_a_step_that_is_done_is_told_with_its_duration() -> None:
    notebook = Notebook()
    with shown_on(notebook):
        run(tracks, charts)
    assert set(notebook.durations) == {"tracks", "charts"}
    assert all(duration > 0 for duration in notebook.durations.values())


def test_a_failed_step_is_told_as_failed_and_what_it_holds_back_never_starts() -> None:
    notebook = Notebook()
    with shown_on(notebook):
        assert not run(tracks, hopeless, after_hopeless)
    assert ("started", "hopeless") in notebook.told
    assert ("ended", "hopeless", False) in notebook.told
    assert ("ended", "hopeless", True) not in notebook.told
    held_back = [told for told in notebook.told if told[1] == "after_hopeless"]
    assert [told[0] for told in held_back] == ["said"]
    assert "Not executing" in str(held_back[0][3])


def test_two_runs_tell_everything_once_each() -> None:
    notebook = Notebook()
    with shown_on(notebook):
        run(tracks)
        run(tracks)
    assert notebook.told.count(("said", "tracks", logging.INFO, "12 tracks loaded")) == 2


def test_all_sinks_are_told_and_those_that_left_are_not() -> None:
    first, second = Notebook(), Notebook()
    with shown_on(first):
        with shown_on(second):
            run(tracks)
        heard = list(second.told)
        run(charts)
    run(tracks)
    assert heard
    assert second.told == heard
    assert first.told[: len(heard)] == heard
    assert ("started", "charts") in first.told
    assert first.told.count(("started", "tracks")) == 1


def test_a_sink_is_forgotten_when_its_run_raises() -> None:
    notebook = Notebook()
    with pytest.raises(KeyboardInterrupt), shown_on(notebook):
        raise KeyboardInterrupt
    run(tracks)
    assert notebook.told == []
