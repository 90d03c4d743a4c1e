"""Closes runs that Dagster's history calls unfinished, and whose process is gone.

    python -m moovitamix.killed_runs HOST PORT COMMAND ...

closes those that a code location's server had launched there, then becomes the command: the server.

A sensor asks for no second run while one is under way, so a run that never ends would hold up the
platform for good. The code location's server closes the runs that it launched when their process
dies; nobody does when the server died with them: after a power cut, or a `kill -9` of all.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path

import dagster as dg
import psutil
from dagster._core.storage.tags import GRPC_INFO_TAG

PROCESS_TAG = "moovitamix/process"

_UNDER_WAY = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def this_process() -> str:
    """This process, as `PROCESS_TAG` of a run that is executed in it."""
    process = psutil.Process(os.getpid())
    return f"{os.uname().nodename}/{process.pid}/{process.create_time():.2f}"


def close_killed_runs(instance: dg.DagsterInstance) -> list[str]:
    """Close the runs whose process is gone; those of another machine are left to it.

    A run of a command line, which carries `PROCESS_TAG`, is canceled: whoever stopped it knows. One
    that a daemon launched has failed, and is told of like any other: but only where Dagster's home
    is a folder of this machine, and no process lives that belongs to it.

    Args:
        instance: Whose history it is.

    Returns:
        The ids of the runs that were closed.
    """
    closed = close_stopped_commands(instance)
    unfinished = instance.get_runs(dg.RunsFilter(statuses=_UNDER_WAY))
    launched = [run for run in unfinished if PROCESS_TAG not in run.tags]
    if launched and _is_only_here(instance) and not _has_daemon(Path(instance.root_directory)):
        for run in launched:
            instance.report_run_failed(run, "Its process ended together with Dagster's daemon.")
            closed.append(run.run_id)
    return closed


def close_stopped_commands(instance: dg.DagsterInstance) -> list[str]:
    """Cancel the runs of command lines that were killed on this machine; the ids of these."""
    closed = []
    for run in instance.get_runs(dg.RunsFilter(statuses=_UNDER_WAY)):
        noted = run.tags.get(PROCESS_TAG)
        if noted is not None and not _is_alive(noted):
            instance.report_run_canceled(run, "Its command line was stopped.")
            closed.append(run.run_id)
    return closed


def close_runs_of_server(instance: dg.DagsterInstance, host: str, port: int) -> list[str]:
    """Close the runs that a code location's server had launched, before it starts anew.

    They were processes of its container, and ended with it. Other launchers' runs, which are on
    machines of their own, do not carry its address.

    Args:
        instance: Whose history it is.
        host: By which the daemon reaches the server.
        port: The same.

    Returns:
        The ids of the runs that were closed.
    """
    closed = []
    for run in instance.get_runs(dg.RunsFilter(statuses=_UNDER_WAY)):
        server = json.loads(run.tags.get(GRPC_INFO_TAG, "{}"))
        if (server.get("host"), server.get("port")) == (host, port):
            instance.report_run_failed(run, "Its process ended together with the code location.")
            closed.append(run.run_id)
    return closed


def _is_alive(noted: str) -> bool:
    host, pid, created = noted.rsplit("/", 2)
    if host != os.uname().nodename:
        return True  # not ours to tell
    with suppress(psutil.NoSuchProcess):
        return f"{psutil.Process(int(pid)).create_time():.2f}" == created
    return False


def _is_only_here(instance: dg.DagsterInstance) -> bool:
    """Whether its runs can be of this machine alone: their history is in files, not on a server."""
    return "Sqlite" in type(instance.run_storage).__name__ and bool(instance.root_directory)


def _has_daemon(home: Path) -> bool:
    """Whether another process lives that belongs to a home: a daemon, a server, a run."""
    ours = os.getpid()
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid == ours or process.status() == psutil.STATUS_ZOMBIE:
                continue
            of = process.environ().get("DAGSTER_HOME")
            if of and Path(of).resolve() == home.resolve() and "dagster" in _words(process):
                return True
    return False


def _words(process: psutil.Process) -> str:
    return " ".join(process.cmdline())


if __name__ == "__main__":
    with dg.DagsterInstance.get() as found:
        close_runs_of_server(found, sys.argv[1], int(sys.argv[2]))
    os.execvp(sys.argv[3], sys.argv[3:])  # noqa: S606 - as its own words say
