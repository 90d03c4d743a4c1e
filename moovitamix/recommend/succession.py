"""Champions by hand: promotion, rollback, the pin that a rollback sets, and the record of it all.

Promotion by figures is the business of `gate.py` and `training.py`. Every function works inside
the caller's transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from moovitamix.errors import NothingToDo
from moovitamix.recommend import registry
from moovitamix.recommend.registry import ModelVersion

if TYPE_CHECKING:
    import psycopg

# Unpinning ends what the rollbacks before it have begun.
_PIN = """
SELECT action, version, predecessor, decided_by, reason, decided_at FROM model_decisions
WHERE action IN ('rollback', 'unpin') ORDER BY id DESC LIMIT 1
"""

# How a version came to be champion, its rollbacks left out: rolled back from 3 to 2, what comes
# before 2 is what came before it at first, not 3.
_PREDECESSOR = """
SELECT predecessor FROM model_decisions
WHERE action = 'promote' AND version = %s ORDER BY id DESC LIMIT 1
"""

# What makes a version the champion.
_MAKES = {"promote", "rollback"}

_DECISIONS = """
SELECT action, version, predecessor, decided_by, reason, decided_at FROM model_decisions
ORDER BY id DESC
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of `model_decisions`.

    Attributes:
        action: What was done.
        version: The champion after it; of an experiment, the challenger.
        predecessor: The champion before it; of an experiment, whom it was tried against.
        decided_by: Who, by hand; None: the gate.
        reason: In their words; the gate's is its verdict.
        decided_at: When, UTC.
    """

    action: Literal["promote", "rollback", "unpin", "experiment"]
    version: int
    predecessor: int | None
    decided_by: str | None
    reason: str | None
    decided_at: datetime


def decisions(connection: psycopg.Connection) -> list[Entry]:
    """All that was decided, newest first."""
    return [Entry(*row) for row in connection.execute(_DECISIONS).fetchall()]


def pin(connection: psycopg.Connection) -> Entry | None:
    """The rollback since which automation promotes nothing, or None."""
    row = connection.execute(_PIN).fetchone()
    entry = Entry(*row) if row is not None else None
    return entry if entry is not None and entry.action == "rollback" else None


def is_by_hand(connection: psycopg.Connection) -> bool:
    """Whether the champion was made so by a person, who may have overruled the gate."""
    made = next((one for one in decisions(connection) if one.action in _MAKES), None)
    return made is not None and made.decided_by is not None


def predecessor(connection: psycopg.Connection) -> ModelVersion | None:
    """The version that was champion before the present one, or None."""
    champion = registry.champion(connection)
    row = champion and connection.execute(_PREDECESSOR, (champion.version,)).fetchone()
    return registry.find(connection, row[0]) if row and row[0] is not None else None


def promote_by_hand(
    connection: psycopg.Connection, version: int, decided_by: str, reason: str | None = None
) -> ModelVersion:
    """Make a version the champion whatever the gate says; it is recorded who did it.

    What the gate has said about it stays as it is.

    Raises:
        NothingToDo: When there is no such version, it is the champion, or its artifact is gone.
    """
    registry.lock(connection)
    wanted = registry.find(connection, version)
    if wanted.status == "champion":
        raise NothingToDo(f"Version {version} is the champion: there is nothing to promote.")
    _refuse_without_artifact(wanted)
    registry.change_champion(
        connection, version, action="promote", decided_by=decided_by, reason=reason
    )
    return registry.find(connection, version)


def roll_back(
    connection: psycopg.Connection, decided_by: str, reason: str | None = None
) -> ModelVersion:
    """Make the champion's predecessor the champion again, and pin it.

    Raises:
        NothingToDo: When there is no predecessor, or its artifact is gone.
    """
    registry.lock(connection)
    wanted = predecessor(connection)
    if wanted is None:
        raise NothingToDo(
            "There is no champion before the present one. Another version is promoted by "
            "`moovitamix models promote V`."
        )
    _refuse_without_artifact(wanted)
    registry.change_champion(
        connection, wanted.version, action="rollback", decided_by=decided_by, reason=reason
    )
    return registry.find(connection, wanted.version)


def unpin(connection: psycopg.Connection, decided_by: str, reason: str | None = None) -> Entry:
    """Let automation promote again.

    Returns:
        The rollback that had pinned the champion.

    Raises:
        NothingToDo: When nothing is pinned.
    """
    registry.lock(connection)
    pinned = pin(connection)
    champion = registry.champion(connection)
    if pinned is None or champion is None:
        raise NothingToDo("Nothing is pinned: the gate decides about the next training.")
    registry.enter_decision(
        connection, "unpin", champion.version, champion.version, decided_by, reason
    )
    return pinned


def _refuse_without_artifact(version: ModelVersion) -> None:
    if version.artifact_removed_at is not None:
        raise NothingToDo(
            f"The files of version {version.version} were removed by the retention rule on "
            f"{version.artifact_removed_at:%Y-%m-%d}. `moovitamix models list` shows which are "
            "there; MOOVITAMIX_KEEP_VERSIONS keeps more from now on."
        )
