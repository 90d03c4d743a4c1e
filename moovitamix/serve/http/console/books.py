"""What Postgres tells of all stages, read at once. What it means is told in `health.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import psycopg

from moovitamix.observe import facts, ledger, looks
from moovitamix.observe.conditions import Condition
from moovitamix.observe.standing import DriftReading
from moovitamix.recommend import registry, succession
from moovitamix.recommend.registry import ModelVersion
from moovitamix.recommend.succession import Entry
from moovitamix.warehouse.acceptance import BrokenRule, broken_rules
from moovitamix.warehouse.days import blocked_days, published_days
from moovitamix.warehouse.quarantine import Group, waiting_groups

# By the newest day that is published or held back: what it broke, and whether that was accepted.
_BROKEN = """
SELECT endpoint, check_name, accepted_at IS NOT NULL FROM blocked_days
WHERE day = %s ORDER BY endpoint, check_name
"""

_NEWEST = "SELECT day, published_at, pull FROM published_days ORDER BY day DESC LIMIT 1"
_PULL = (
    "SELECT max(pull) FROM (SELECT pull FROM published_days UNION SELECT pull FROM blocked_days) p"
)

_DRIFT = """
SELECT feature, verdict, value, alarm, day, read_at,
       model_version IS NOT DISTINCT FROM
           (SELECT version FROM model_versions WHERE status = 'champion')
FROM drift_readings
WHERE day = (SELECT max(day) FROM drift_readings) ORDER BY feature
"""


@dataclass(frozen=True)
class Judged:
    """The newest day that was judged.

    Attributes:
        day: The day.
        broken: Endpoint and name of each rule it broke, and whether that was accepted.
    """

    day: date
    broken: Sequence[tuple[str, str, bool]]


@dataclass(frozen=True)
class Reading:
    """One feature on the newest day that was compared with a champion's data.

    Attributes:
        feature: Its name.
        verdict: Of docs/drift.md.
        value: What was found.
        alarm: From where on it has drifted.
        day: The newest day that was read.
        at: When, UTC.
        of_champion: Whether it was compared with the data of today's champion.
    """

    feature: str
    verdict: str
    value: float | None
    alarm: float | None
    day: date
    at: datetime
    of_champion: bool


@dataclass(frozen=True, kw_only=True)
class Books:
    """What the tables hold.

    Attributes:
        pull: The name of the newest pull that any day was judged with.
        newest: The newest published day, and when it was published.
        published: All published days.
        blocked: By day, the `table.check` names that hold it back.
        broken: The rules behind that, and those accepted whose day is not published yet.
        judged: The newest day that was judged; None: none was.
        waiting: What is in quarantine, by reason; None: there is too much to be counted in time.
        levels: How many rows wait, and how many did at this hour of the last days; None: the same.
        readings: Of drift.
        drifted: Those of them with an alarm, against the champion.
        alerts: Open ones.
        looked: When alerts were last looked after, UTC; None: never.
        versions: The registry, newest first.
        decisions: What was decided about the champion, newest first.
        predecessor: Whom a rollback would make the champion.
        pinned: The rollback since which automation promotes nothing.
    """

    pull: str | None
    newest: tuple[date, datetime] | None
    published: set[date]
    blocked: Mapping[date, Sequence[str]]
    broken: Sequence[BrokenRule]
    judged: Judged | None
    waiting: Sequence[Group] | None
    levels: tuple[int, Sequence[int]] | None
    readings: Sequence[Reading]
    drifted: Sequence[DriftReading]
    alerts: Sequence[Condition]
    looked: datetime | None
    versions: Sequence[ModelVersion]
    decisions: Sequence[Entry]
    predecessor: ModelVersion | None
    pinned: Entry | None

    @property
    def champion(self) -> ModelVersion | None:
        """The version that is served."""
        return next((one for one in self.versions if one.status == "champion"), None)


def read_books(connection: psycopg.Connection, now: datetime) -> Books:
    """All of it, within the caller's transaction.

    Args:
        connection: Of the warehouse.
        now: UTC.
    """
    newest = connection.execute(_NEWEST).fetchone()
    pull = connection.execute(_PULL).fetchone()
    blocked = blocked_days(connection)
    judged = max([*blocked, *(newest[:1] if newest else ())], default=None)
    broken = connection.execute(_BROKEN, (judged,)).fetchall()
    waiting, levels = _read_quarantine(connection, now)
    return Books(
        pull=pull[0] if pull else None,
        newest=newest[:2] if newest else None,
        published=published_days(connection),
        blocked=blocked,
        broken=broken_rules(connection),
        judged=Judged(judged, broken) if judged else None,
        waiting=waiting,
        levels=levels,
        readings=[Reading(*row) for row in connection.execute(_DRIFT).fetchall()],
        drifted=facts.drifted(connection),
        alerts=ledger.open_conditions(connection),
        looked=looks.last(connection),
        versions=registry.history(connection),
        decisions=succession.decisions(connection),
        predecessor=succession.predecessor(connection),
        pinned=succession.pin(connection),
    )


def _read_quarantine(
    connection: psycopg.Connection, now: datetime
) -> tuple[Sequence[Group] | None, tuple[int, Sequence[int]] | None]:
    """The one table here that may be large: without it, all else is told the same."""
    try:
        with connection.transaction():
            return waiting_groups(connection), facts.quarantine_levels(connection, now)
    except psycopg.errors.QueryCanceled:
        return None, None
