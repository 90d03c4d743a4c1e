"""Failed ticks, read from Dagster's history; what follows is the business of `failed_ticks.py`."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorTick,
    InstigatorType,
    TickStatus,
)

from moovitamix.observe.failed_ticks import FailedTick, Instigator
from moovitamix.observe.run_history import words_of

_KINDS: dict[InstigatorType, Instigator] = {
    InstigatorType.SENSOR: "sensor",
    InstigatorType.SCHEDULE: "schedule",
}
# Of one that looks right now, the look before counts.
_OVER = [TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.FAILURE]


def failed_ticks(instance: dg.DagsterInstance) -> list[FailedTick]:
    """The last look of each sensor and schedule that is on, where it failed; by name."""
    if instance.schedule_storage is None:  # one that lives in memory, for a run by hand
        return []
    states = [
        state
        for state in instance.all_instigator_state()
        if state.status != InstigatorStatus.STOPPED and state.instigator_type in _KINDS
    ]
    last = [(state, tick) for state in states if (tick := _last(instance, state)) is not None]
    found = [_read(state, tick) for state, tick in last if tick.status == TickStatus.FAILURE]
    return sorted(found, key=lambda one: one.name)


def _last(instance: dg.DagsterInstance, state: InstigatorState) -> InstigatorTick | None:
    ticks = instance.get_ticks(
        state.instigator_origin_id, state.selector_id, limit=1, statuses=_OVER
    )
    return ticks[0] if ticks else None


def _read(state: InstigatorState, tick: InstigatorTick) -> FailedTick:
    error, message = words_of(tick.tick_data.error)
    return FailedTick(
        name=state.instigator_name,
        instigator=_KINDS[state.instigator_type],
        at=datetime.fromtimestamp(tick.end_timestamp or tick.timestamp, UTC),
        in_a_row=max(tick.consecutive_failure_count, 1),
        error=error,
        message=message,
    )
