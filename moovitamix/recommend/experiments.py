"""The record of A/B experiments: which one runs, between which versions, and how each ended.

What users are answered meanwhile is the business of `serve/experiment.py`, what is found out that
of `experiment_figures.py`. Every function works inside the caller's transaction.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from moovitamix.errors import NothingToDo
from moovitamix.recommend import registry
from moovitamix.recommend.likeness import same_configuration
from moovitamix.recommend.registry import ModelVersion

if TYPE_CHECKING:
    import psycopg

ExperimentVerdict = Literal["challenger better", "champion better", "cannot tell", "broken off"]

_COLUMNS = """id, champion, challenger, share, salt, started_at, started_by, start_reason, ends_at,
    stopped_at, stopped_by, verdict, reason, figures"""

_NEWEST = f"SELECT {_COLUMNS} FROM experiments ORDER BY id DESC LIMIT 1"  # noqa: S608 - constants

_INSERT = f"""
INSERT INTO experiments (champion, challenger, share, salt, started_by, start_reason, ends_at)
VALUES (%(champion)s, %(challenger)s, %(share)s, %(salt)s, %(by)s, %(reason)s,
    now() + make_interval(secs => %(seconds)s::double precision))
RETURNING {_COLUMNS}
"""  # noqa: S608 - constants of this file

_CLOSE = """
UPDATE experiments
SET stopped_at = now(), stopped_by = %s, verdict = %s, reason = %s, figures = %s
WHERE id = %s AND stopped_at IS NULL
"""

_LOST = """
SELECT experiments.id, stopped_at::date, champion.parameters, challenger.parameters
FROM experiments
JOIN model_versions AS champion ON champion.version = experiments.champion
JOIN model_versions AS challenger ON challenger.version = experiments.challenger
WHERE experiments.verdict = 'champion better'
ORDER BY experiments.id DESC
"""

_NONE_RUNS = "No experiment runs: `moovitamix experiment start V` begins one."


@dataclass(frozen=True, slots=True)
class Experiment:
    """A row of `experiments`; the columns' comments are in `warehouse/experiment_tables.py`."""

    id: int
    champion: int
    challenger: int
    share: float
    salt: str
    started_at: datetime
    started_by: str
    start_reason: str | None
    ends_at: datetime | None
    stopped_at: datetime | None
    stopped_by: str | None
    verdict: ExperimentVerdict | None
    reason: str | None
    figures: dict[str, Any]


def newest(connection: psycopg.Connection) -> Experiment | None:
    """The experiment begun last, running or not; None before the first."""
    row = connection.execute(_NEWEST).fetchone()
    return None if row is None else Experiment(*row)


def running(connection: psycopg.Connection) -> Experiment | None:
    """The experiment that runs, or None. There is at most one, and it is the newest."""
    found = newest(connection)
    return found if found is not None and found.stopped_at is None else None


def require_running(connection: psycopg.Connection) -> Experiment:
    """The experiment that runs.

    Raises:
        NothingToDo: When none does.
    """
    found = running(connection)
    if found is None:
        raise NothingToDo(_NONE_RUNS)
    return found


def lost_by(
    connection: psycopg.Connection, candidate: ModelVersion, champion: ModelVersion
) -> str | None:
    """How a candidate's configuration last lost an experiment against the champion's; or None.

    Versions come and go with their data: it is the configurations that were tried.
    """
    for number, day, kept, tried in connection.execute(_LOST):
        if same_configuration(tried, candidate.parameters) and same_configuration(
            kept, champion.parameters
        ):
            return f"lost experiment {number}, which ended on {day}"
    return None


def opponents(connection: psycopg.Connection, challenger: int) -> tuple[ModelVersion, ModelVersion]:
    """The champion and a version that may be tried against it now.

    Raises:
        NothingToDo: When an experiment runs, there is no champion or no such version, it is the
            champion, was rejected, or its files are gone.
    """
    under_way = running(connection)
    if under_way is not None:
        raise NothingToDo(
            f"Experiment {under_way.id} runs, with version {under_way.challenger} as challenger. "
            "See it with `moovitamix experiment status`; `moovitamix experiment stop` ends it."
        )
    wanted = registry.find(connection, challenger)
    champion = registry.champion(connection)
    if champion is None:
        raise NothingToDo("There is no champion to try it against: `moovitamix run` trains one.")
    if wanted.version == champion.version:
        raise NothingToDo(
            f"Version {challenger} is the champion itself. `moovitamix models list` shows others."
        )
    if wanted.status == "rejected":
        raise NothingToDo(
            f"Version {challenger} was rejected: {wanted.reason or 'see its record'}. "
            "`moovitamix models list` shows others."
        )
    if wanted.artifact_removed_at is not None:
        raise NothingToDo(
            f"The files of version {challenger} were removed by the retention rule on "
            f"{wanted.artifact_removed_at:%Y-%m-%d}. `moovitamix models list` shows others."
        )
    return champion, wanted


def begin(
    connection: psycopg.Connection,
    *,
    champion: int,
    challenger: int,
    share: float,
    salt: str,
    by: str,
    reason: str | None = None,
    days: float | None = None,
) -> Experiment:
    """Record that an experiment begins, now that both versions' lists are there.

    Args:
        connection: The transaction.
        champion: The version that must still be the champion.
        challenger: The version that is tried.
        share: Of users in the challenger's arm, between 0 and 1.
        salt: What users are divided by, at most 64 bytes.
        by: Who begins it.
        reason: In their words.
        days: How long it is to run; None: not said.

    Raises:
        NothingToDo: As `opponents`, or when the champion has changed meanwhile.
    """
    registry.lock(connection)
    now, _ = opponents(connection, challenger)
    if now.version != champion:
        raise NothingToDo(
            f"Version {now.version} has become the champion meanwhile. Start again: "
            f"`moovitamix experiment start {challenger}`."
        )
    row = connection.execute(
        _INSERT,
        {
            "champion": champion,
            "challenger": challenger,
            "share": share,
            "salt": salt,
            "by": by,
            "reason": reason,
            "seconds": None if days is None else days * 86_400,
        },
    ).fetchone()
    assert row is not None  # noqa: S101 - INSERT … RETURNING
    return Experiment(*row)


def conclude(
    connection: psycopg.Connection,
    experiment: Experiment,
    *,
    verdict: ExperimentVerdict,
    reason: str,
    figures: Mapping[str, Any],
    by: str,
) -> None:
    """End an experiment with its verdict, also in the record of decisions about models.

    The gate's own verdict on the challenger stays as it is.

    Raises:
        NothingToDo: When it has ended meanwhile.
    """
    registry.lock(connection)
    done = connection.execute(
        _CLOSE, (by, verdict, reason, json.dumps(figures), experiment.id)
    ).rowcount
    if not done:
        raise NothingToDo(
            f"Experiment {experiment.id} has ended meanwhile: `moovitamix experiment status`."
        )
    told = f"experiment {experiment.id}: {verdict}. {reason}"
    registry.enter_decision(
        connection, "experiment", experiment.challenger, experiment.champion, by, told
    )
