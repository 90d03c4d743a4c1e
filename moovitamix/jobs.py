"""Jobs of the code location executed in this process, on the persistent instance; why one failed.

Which of them are needed is told in `main_job.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from moovitamix.check_faults import HELD_BACK, check_faults
from moovitamix.errors import MoovitaMixError
from moovitamix.terminal import Terminal

if TYPE_CHECKING:
    import dagster as dg
    from dagster_shared.error import SerializableErrorInfo

_INTERRUPTIONS = frozenset({"KeyboardInterrupt", "DagsterExecutionInterruptedError"})


@dataclass(frozen=True)
class Execution:
    """What came of a job.

    Attributes:
        run_id: Dagster's.
        succeeded: Whether all steps did.
        faults: Sentences on what went wrong, failed checks included.
    """

    run_id: str
    succeeded: bool
    faults: list[str]


class Jobs:
    """The jobs of the code location.

    Args:
        terminal: Where progress is shown.
    """

    def __init__(self, terminal: Terminal) -> None:
        import dagster as dg

        from moovitamix.definitions import defs
        from moovitamix.killed_runs import close_killed_runs

        self._terminal = terminal
        self._defs = defs
        self._instance = dg.DagsterInstance.get()
        close_killed_runs(self._instance)

    def execute(
        self,
        job: str,
        *,
        days: tuple[date, date] | None = None,
        config: Mapping[str, Any] | None = None,
        only: Sequence[str] | None = None,
    ) -> Execution:
        """Execute a job.

        Args:
            job: Its name.
            days: The first and the last of a partitioned job.
            config: Run configuration, without loggers.
            only: The assets to make; None: all of the job's.

        Raises:
            KeyboardInterrupt: When somebody pressed Ctrl-C meanwhile.
        """
        import dagster as dg

        from moovitamix.killed_runs import PROCESS_TAG, this_process
        from moovitamix.observe.metrics.recorder import CommandMeter, keep_figures
        from moovitamix.progress import shown_on
        from moovitamix.resources import Warehouse

        first, last = days or (None, None)
        tags = {PROCESS_TAG: this_process()}
        if first != last:
            tags["dagster/asset_partition_range_start"] = str(first)
            tags["dagster/asset_partition_range_end"] = str(last)
        definition = self._defs.resolve_job_def(job)
        meter = CommandMeter()
        with shown_on(self._terminal), shown_on(meter):
            result = definition.execute_in_process(
                instance=self._instance,
                run_config={"loggers": {"progress": {}}, **(config or {})},
                partition_key=str(first) if first and first == last else None,
                tags=tags,
                asset_selection=[dg.AssetKey(name) for name in only] if only else None,
                raise_on_error=False,
            )
        keep_figures(Warehouse(), result.run_id, job, result.all_events, meter.costs)
        if _was_interrupted(result):
            raise KeyboardInterrupt  # Dagster has made a failed run of it, as of any error
        faults = [] if result.success else _faults(result)
        faults += check_faults(result.all_events, self._defs.resolve_asset_graph())
        return Execution(result.run_id, bool(result.success), faults)


def _was_interrupted(result: dg.ExecuteInProcessResult) -> bool:
    """Whether somebody pressed Ctrl-C, in a step or between two."""
    for event in result.all_events:
        error = None
        if event.is_step_failure:
            error = event.step_failure_data.error
        elif event.is_job_failure:
            error = event.job_failure_data.error
        if error is not None and error.cls_name in _INTERRUPTIONS:
            return True
    return False


def _faults(result: dg.ExecuteInProcessResult) -> list[str]:
    """Why a run failed, one sentence or two a failed step."""
    told = []
    held_back = False  # told by `check_faults`
    for event in result.all_events:
        if not event.is_step_failure:
            continue
        failure = event.step_failure_data
        if failure.user_failure_data is not None and failure.user_failure_data.description:
            told.append(failure.user_failure_data.description)
            continue
        if failure.error is not None and failure.error.cls_name == HELD_BACK:
            held_back = True
        elif failure.error is not None:
            told.append(_cause(event.step_key, failure.error))
    return told if told or held_back else ["The run failed; `moovitamix dev` shows why."]


def _cause(step: str | None, error: SerializableErrorInfo) -> str:
    """What is worth telling of a chain of errors: ours where there is one, else the first cause."""
    ours = set(_names_of_kinds(MoovitaMixError))
    link: SerializableErrorInfo | None = error
    while link is not None:
        error = link
        if error.cls_name in ours:
            return error.message.partition(": ")[2].strip()
        link = error.cause
    return f"{step} failed: {error.message.strip()} The trace is in `moovitamix dev`."


def _names_of_kinds(kind: type[Any]) -> Iterator[str]:
    yield kind.__name__
    for narrower in kind.__subclasses__():
        yield from _names_of_kinds(narrower)
