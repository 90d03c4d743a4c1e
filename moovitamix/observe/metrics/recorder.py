"""The figures of a run, kept when it ends: of runs that the daemon launches, and of commands.

A run never fails for its figures: when they cannot be kept, that is logged, and they are lost.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from moovitamix.errors import MoovitaMixError
from moovitamix.observe.metrics.meter import Cost, StepMeter
from moovitamix.resources import Warehouse

if TYPE_CHECKING:
    from dagster._core.execution.context.system import PlanOrchestrationContext
    from dagster._core.execution.plan.plan import ExecutionPlan
    from dagster._core.execution.retries import RetryMode

logger = logging.getLogger(__name__)

_KEPT = {
    dg.DagsterEventType.ASSET_MATERIALIZATION,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
}


class MeteredExecutor(dg.Executor):
    """Another executor of steps in one process, with a meter beside it.

    Args:
        inner: The one that executes.
        warehouse: Where the figures are kept.
    """

    def __init__(self, inner: dg.Executor, warehouse: Warehouse) -> None:
        self._inner = inner
        self._warehouse = warehouse

    @property
    def retries(self) -> RetryMode:
        """Of the inner one."""
        return self._inner.retries

    @property
    def step_dependency_config(self) -> Any:
        """Of the inner one; Dagster does not name its type in public."""
        return self._inner.step_dependency_config

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[dg.DagsterEvent]:
        """Execute, and keep the figures when it has ended, however it did."""
        meter, kept = StepMeter(), []
        try:
            for event in self._inner.execute(plan_context, execution_plan):
                _tell(meter, event)
                if event.event_type in _KEPT:
                    kept.append(event)
                yield event
        finally:
            run = plan_context.dagster_run
            keep_figures(self._warehouse, run.run_id, run.job_name, kept, meter.costs)


def metered(warehouse: Warehouse) -> dg.ExecutorDefinition:
    """Dagster's in-process executor, with a meter; configured like it."""
    inner = dg.in_process_executor

    def create(context: dg.InitExecutorContext) -> dg.Executor:
        if inner.executor_creation_fn is None:
            raise TypeError("Dagster's in-process executor is not created by a function any more.")
        return MeteredExecutor(inner.executor_creation_fn(context), warehouse)

    return dg.ExecutorDefinition(
        inner.name,
        config_schema=inner.config_schema.as_field(),
        executor_creation_fn=create,
        description=inner.description,
    )


class CommandMeter(StepMeter):
    """A meter that the `progress` logger tells of steps: of runs within a command."""

    def step_started(self, step: str) -> None:
        """A step has begun."""
        self.began(step)

    def step_ended(self, step: str, *, succeeded: bool, milliseconds: float) -> None:  # noqa: ARG002 - the protocol
        """A step is done, or has failed."""
        self.ended(step, succeeded=succeeded)

    def said(self, step: str | None, level: int, message: str) -> None:
        """Sentences are no figures."""


def keep_figures(
    warehouse: Warehouse,
    run_id: str,
    job: str,
    events: Iterable[dg.DagsterEvent],
    costs: Mapping[str, Cost],
) -> None:
    """Keep the figures of a run that has ended.

    Args:
        warehouse: Where.
        run_id: Dagster's.
        job: Its name.
        events: Of the run; see `run_figures`.
        costs: By step; empty: nothing was executed, and nothing is kept.
    """
    import psycopg

    from moovitamix.observe.metrics.run_figures import run_figures
    from moovitamix.observe.metrics.stages import stages
    from moovitamix.warehouse.figures import keep_run

    if not costs:
        return
    try:
        with warehouse.connect() as connection:
            keep_run(connection, run_id, job, run_figures(events, costs, stages()))
    except (MoovitaMixError, psycopg.Error) as error:
        logger.warning("The figures of run %s are lost: %s", run_id, type(error).__name__)


def _tell(meter: StepMeter, event: dg.DagsterEvent) -> None:
    if event.step_key is None:
        return
    if event.event_type == dg.DagsterEventType.STEP_START:
        meter.began(event.step_key)
    elif event.event_type == dg.DagsterEventType.STEP_SUCCESS:
        meter.ended(event.step_key, succeeded=True)
    elif event.event_type in (
        dg.DagsterEventType.STEP_FAILURE,
        dg.DagsterEventType.STEP_UP_FOR_RETRY,
    ):
        meter.ended(event.step_key, succeeded=False)
