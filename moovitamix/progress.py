"""What a run is doing, told while it does it: Dagster's log turned into steps and sentences.

How it looks on a terminal is the business of `terminal.py`.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import dagster as dg
from dagster import DagsterEventType


class ProgressSink(Protocol):
    """Somebody who wants to know how a run is getting on."""

    def step_started(self, step: str) -> None:
        """A step has begun."""

    def step_ended(self, step: str, *, succeeded: bool, milliseconds: float) -> None:
        """A step is done, or has failed."""

    def said(self, step: str | None, level: int, message: str) -> None:
        """A step has something to say: a sentence, at a level of `logging`."""


_sinks: list[ProgressSink] = []


@contextmanager
def shown_on(sink: ProgressSink) -> Iterator[None]:
    """Tell a sink of everything that runs in this process with the `progress` logger."""
    _sinks.append(sink)
    try:
        yield
    finally:
        _sinks[:] = [other for other in _sinks if other is not sink]  # not an equal one


class _SinkHandler(logging.Handler):
    """Takes Dagster's records apart and hands them to the sinks."""

    def emit(self, record: logging.LogRecord) -> None:
        event = getattr(record, "dagster_event", None)
        told = getattr(record, "dagster_meta", {})
        step = told.get("step_key")
        for sink in _sinks:
            if event is None:
                sink.said(step, record.levelno, told.get("orig_message") or record.getMessage())
            elif step is None:
                continue
            elif event.event_type == DagsterEventType.STEP_START:
                sink.step_started(step)
            elif event.event_type == DagsterEventType.STEP_SUCCESS:
                milliseconds = event.step_success_data.duration_ms
                sink.step_ended(step, succeeded=True, milliseconds=milliseconds)
            elif event.event_type == DagsterEventType.STEP_FAILURE:
                sink.step_ended(step, succeeded=False, milliseconds=0)


@dg.logger(None, description="Tells the command line how a run gets on; silent elsewhere.")
def progress_logger(_: dg.InitLoggerContext) -> logging.Logger:
    """A logger of its own for each run, so that handlers do not pile up."""
    # Not by getLogger, which would keep it for ever.
    logger = logging.Logger(f"moovitamix.progress.{uuid.uuid4().hex}", logging.DEBUG)  # noqa: LOG001
    logger.addHandler(_SinkHandler())
    return logger
