"""The model registry: versions in the table `model_versions`, one of them the champion.

Who deserves to be the champion is decided in `gate.py`, and by hand in `succession.py`; here it
is only recorded.
Every function works inside the caller's transaction.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Literal

from moovitamix import __version__
from moovitamix.errors import NothingToDo

if TYPE_CHECKING:
    import psycopg

    from moovitamix.recommend.gate import Decision

Status = Literal["candidate", "champion", "retired", "rejected"]
Algorithm = Literal["als", "popularity"]

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || '.model_versions', 0))"

_COLUMNS = """version, status, provisional, algorithm, as_of, pull, matrix_fingerprint, parameters,
    metrics, judged_against, verdict, reason, criteria, artifact, code_version, run_id, created_at,
    promoted_at, retired_at, artifact_removed_at"""

_ENTER_DECISION = """
INSERT INTO model_decisions (action, version, predecessor, decided_by, reason)
VALUES (%s, %s, %s, %s, %s)
"""


# An experiment compares with the champion: with another champion it has nothing left to tell.
_BREAK_OFF = """
UPDATE experiments SET stopped_at = now(), verdict = 'broken off',
    reason = format('Version %%s became the champion (%%s).', %(version)s::text, %(action)s::text)
WHERE stopped_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A row of the registry; the columns' comments are in `warehouse/registry_tables.py`."""

    version: int
    status: Status
    provisional: bool
    algorithm: Algorithm
    as_of: date
    pull: str
    matrix_fingerprint: str
    parameters: dict[str, Any]
    metrics: dict[str, Any]
    judged_against: int | None
    verdict: str | None
    reason: str | None
    criteria: list[dict[str, Any]]
    artifact: str
    code_version: str
    run_id: str
    created_at: datetime
    promoted_at: datetime | None
    retired_at: datetime | None
    artifact_removed_at: datetime | None


def lock(connection: psycopg.Connection) -> None:
    """Wait for whoever registers or promotes, and keep others waiting until the transaction ends.

    To be taken before the champion is looked up, by who decides by it.
    """
    connection.execute(_LOCK)


def register(
    connection: psycopg.Connection,
    *,
    run_id: str,
    as_of: date,
    pull: str,
    matrix_fingerprint: str,
    parameters: Mapping[str, Any],
    artifact: str,
) -> ModelVersion:
    """Enter a fitted model as a candidate. A run registers once: again, it gets its version back.

    Args:
        connection: The transaction.
        run_id: Dagster's id of the run that fitted it.
        as_of: The last day of its data.
        pull: The newest pull in its data.
        matrix_fingerprint: Of the matrix it was fitted to.
        parameters: JSON-able, of matrix and model.
        artifact: Its folder in the lake, already written.

    """
    lock(connection)
    known = of_run(connection, run_id)
    if known is not None:
        return known
    connection.execute(
        """INSERT INTO model_versions (status, algorithm, as_of, pull, matrix_fingerprint,
               parameters, artifact, code_version, run_id)
           VALUES ('candidate', 'als', %s, %s, %s, %s, %s, %s, %s)""",
        (
            as_of,
            pull,
            matrix_fingerprint,
            json.dumps(parameters),
            artifact,
            __version__,
            run_id,
        ),
    )
    return _only(connection, "WHERE run_id = %s", run_id)


def record_evaluation(
    connection: psycopg.Connection, version: int, metrics: Mapping[str, Any], against: int | None
) -> None:
    """Write the figures of a version: an `Evaluation` as JSON-able dict.

    Args:
        connection: The transaction.
        version: Whose figures they are.
        metrics: The evaluation.
        against: The champion when the evaluation began, or None: a comparison counts only while
            it is still the champion.
    """
    connection.execute(
        "UPDATE model_versions SET metrics = %s, judged_against = %s WHERE version = %s",
        (json.dumps(metrics), against, version),
    )


def promote(connection: psycopg.Connection, version: int, decision: Decision) -> ModelVersion:
    """Make a version the champion and record why; the old champion is retired.

    Promoting the champion again records the decision and changes nothing else.

    Raises:
        NothingToDo: When there is no such version.
    """
    change_champion(connection, version, action="promote", reason=decision.verdict)
    connection.execute(
        "UPDATE model_versions SET algorithm = %s, provisional = %s WHERE version = %s",
        (decision.algorithm, decision.provisional, version),
    )
    record_verdict(connection, version, decision)
    return find(connection, version)


def change_champion(
    connection: psycopg.Connection,
    version: int,
    *,
    action: Literal["promote", "rollback"],
    decided_by: str | None = None,
    reason: str | None = None,
) -> None:
    """Retire the champion, put a version in its place, and enter it in `model_decisions`.

    An experiment that runs is broken off. Nothing happens when it is the champion already.

    Args:
        connection: The transaction, which has to be the one that records the verdict.
        version: The new champion.
        action: What is entered.
        decided_by: Who, by hand; None: the gate.
        reason: In their words.

    Raises:
        NothingToDo: When there is no such version.
    """
    lock(connection)
    find(connection, version)
    before = champion(connection)
    if before is not None and before.version == version:
        return
    if before is not None:
        connection.execute(
            "UPDATE model_versions SET status = 'retired', retired_at = now() WHERE version = %s",
            (before.version,),
        )
    connection.execute(
        """UPDATE model_versions SET status = 'champion', retired_at = NULL,
               promoted_at = coalesce(promoted_at, now())
           WHERE version = %s""",
        (version,),
    )
    predecessor = before.version if before is not None else None
    enter_decision(connection, action, version, predecessor, decided_by, reason)
    connection.execute(_BREAK_OFF, {"version": version, "action": action})


def enter_decision(
    connection: psycopg.Connection,
    action: Literal["promote", "rollback", "unpin", "experiment"],
    version: int,
    predecessor: int | None,
    decided_by: str | None,
    reason: str | None,
) -> None:
    """Enter in `model_decisions` what was done, with the champion after and before it.

    Of an experiment, which changes no champion: with the challenger, and the champion it was tried
    against.
    """
    connection.execute(_ENTER_DECISION, (action, version, predecessor, decided_by, reason))


def record_verdict(connection: psycopg.Connection, version: int, decision: Decision) -> None:
    """Write what was decided about a version, and what that rests on."""
    criteria = json.dumps([asdict(criterion) for criterion in decision.criteria])
    connection.execute(
        "UPDATE model_versions SET verdict = %s, reason = %s, criteria = %s WHERE version = %s",
        (decision.verdict, decision.reason, criteria, version),
    )


def champion(connection: psycopg.Connection) -> ModelVersion | None:
    """The version that is served, or None before the first promotion."""
    return _first(connection, "WHERE status = 'champion'")


def find(connection: psycopg.Connection, version: int) -> ModelVersion:
    """The version of this number.

    Raises:
        NothingToDo: When there is none.
    """
    return _only(connection, "WHERE version = %s", version)


def of_run(connection: psycopg.Connection, run_id: str) -> ModelVersion | None:
    """The version that a run registered, or None."""
    return _first(connection, "WHERE run_id = %s", (run_id,))


def under_judgement(connection: psycopg.Connection, run_id: str) -> ModelVersion:
    """The version to evaluate and judge: this run's own, else the newest still in question.

    That is the newest candidate or, where none is newer than it, the champion itself.

    Raises:
        NothingToDo: When no model has been fitted.
    """
    found = of_run(connection, run_id) or _first(
        connection, "WHERE status IN ('candidate', 'champion') ORDER BY version DESC LIMIT 1"
    )
    if found is None:
        raise NothingToDo(
            "There is no model to judge: materialize `als_model` first (job `retrain`)."
        )
    return found


def history(connection: psycopg.Connection) -> list[ModelVersion]:
    """All versions, newest first."""
    return _select(connection, "ORDER BY version DESC")


def _first(
    connection: psycopg.Connection, where: str, parameters: tuple[object, ...] = ()
) -> ModelVersion | None:
    return next(iter(_select(connection, where, parameters)), None)


def _select(
    connection: psycopg.Connection, where: str, parameters: tuple[object, ...] = ()
) -> list[ModelVersion]:
    query = f"SELECT {_COLUMNS} FROM model_versions {where}"  # noqa: S608 - constants of this file
    rows = connection.execute(query, parameters).fetchall()
    return [ModelVersion(*row) for row in rows]


def _only(connection: psycopg.Connection, where: str, value: int | str) -> ModelVersion:
    found = _first(connection, where, (value,))
    if found is None:
        raise NothingToDo(f"There is no model version {value}: `moovitamix models list` shows all.")
    return found
