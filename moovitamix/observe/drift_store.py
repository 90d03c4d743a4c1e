"""Where drift is kept: readings as rows in Postgres, calibrations beside the champion's model.

How they come about is told in `drift.py` and `drift_null.py`. Neither names a user.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from moovitamix.observe.drift import Reading
from moovitamix.observe.drift_features import FEATURES
from moovitamix.observe.drift_null import Bound, Null
from moovitamix.observe.drift_plan import DriftRules

if TYPE_CHECKING:
    import psycopg

    from moovitamix.ingest.lake import LakeStore

# Of the calibration: a file of another format, or of other rules, is made anew.
_FORMAT = 1

# A day that a later champion was trained on keeps what was read of it before; that it was read is
# noted all the same.
_WRITE = """
INSERT INTO drift_readings (day, feature, model_version, as_of, pull, value, usual, warn, alarm,
    verdict, reason)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (day, feature) DO UPDATE SET
    model_version = excluded.model_version, as_of = excluded.as_of, pull = excluded.pull,
    value = excluded.value, usual = excluded.usual, warn = excluded.warn, alarm = excluded.alarm,
    verdict = excluded.verdict, reason = excluded.reason, read_at = now()
WHERE excluded.as_of IS NULL OR excluded.as_of < excluded.day
    OR drift_readings.verdict = 'cannot tell'
"""

_READ = """
SELECT day, model_version, as_of, read_at, feature, value, usual, warn, alarm, verdict, reason
FROM drift_readings
WHERE day = coalesce(%s, (SELECT max(day) FROM drift_readings))
"""

# What an earlier champion's data had drifted from is no news of its successor.
_OF_CHAMPION = """
  AND model_version IS NOT DISTINCT FROM
      (SELECT version FROM model_versions WHERE status = 'champion')
"""


@dataclass(frozen=True, slots=True)
class Against:
    """What a day was read against.

    Attributes:
        model_version: The champion; None: there was none.
        as_of: The last day of its data.
        pull: With which the day that is read was published; None: it was not.
    """

    model_version: int | None = None
    as_of: date | None = None
    pull: str | None = None


@dataclass(frozen=True, slots=True)
class StoredDay:
    """The readings of a day, as they were kept.

    Attributes:
        day: The last of its window.
        model_version: The champion then.
        as_of: The last day of its data.
        read_at: When, UTC.
        readings: In the order of `drift_features.FEATURES`.
    """

    day: date
    model_version: int | None
    as_of: date | None
    read_at: datetime
    readings: tuple[Reading, ...]


def write_readings(
    connection: psycopg.Connection, day: date, readings: Sequence[Reading], against: Against
) -> None:
    """Keep the readings of a day, in the place of earlier ones."""
    for one in readings:
        bound = one.bound
        limits = (None, None, None) if bound is None else (bound.usual, bound.warning, bound.alarm)
        connection.execute(
            _WRITE,
            (
                *(day, one.feature, against.model_version, against.as_of, against.pull),
                *(one.value, *limits, one.verdict, one.reason),
            ),
        )
    connection.execute("UPDATE drift_readings SET read_at = now() WHERE day = %s", (day,))


def read_readings(connection: psycopg.Connection, day: date | None = None) -> StoredDay | None:
    """The readings of a day, or of the newest that was read; None when there are none."""
    return _stored(connection.execute(_READ, (day,)).fetchall())


def read_of_champion(connection: psycopg.Connection) -> tuple[Reading, ...]:
    """Of the newest day that was read, what was read against today's champion.

    None right after a promotion, until the next day is read; while there is no champion, what was
    read without one.
    """
    stored = _stored(connection.execute(_READ + _OF_CHAMPION, (None,)).fetchall())
    return () if stored is None else stored.readings


def _stored(rows: Sequence[Any]) -> StoredDay | None:
    if not rows:
        return None
    order = {feature.name: place for place, feature in enumerate(FEATURES)}
    readings = sorted(
        (_reading(*row[4:]) for row in rows),
        key=lambda one: order.get(one.feature, len(order)),
    )
    found, version, as_of, read_at = rows[0][:4]
    return StoredDay(found, version, as_of, read_at, tuple(readings))


def _reading(
    feature: str,
    value: float | None,
    usual: float | None,
    warning: float | None,
    alarm: float | None,
    verdict: Any,
    reason: str,
) -> Reading:
    bound = None
    if usual is not None and warning is not None and alarm is not None:
        bound = Bound(usual, warning, alarm)
    return Reading(feature, value, bound, verdict, reason)


def store_null(lake: LakeStore, artifact: str, null: Null, rules: DriftRules) -> None:
    """Keep a calibration beside the model it is for: it goes when the model goes."""
    content = {"format": _FORMAT, "rules": asdict(rules), "null": asdict(null)}
    lake.write_bytes(_name(artifact, rules, null.gap), json.dumps(content, indent=1).encode())


def load_null(lake: LakeStore, artifact: str, gap: int, rules: DriftRules) -> Null | None:
    """A calibration; None where there is none, or none that can be used by these rules."""
    try:
        content = json.loads(lake.read_bytes(_name(artifact, rules, gap)))
        if content["format"] != _FORMAT or content["rules"] != asdict(rules):
            return None
        told = dict(content["null"])
        bounds = {name: Bound(**bound) for name, bound in told.pop("bounds").items()}
        return Null(bounds=bounds, **told)
    except (FileNotFoundError, KeyError, TypeError, ValueError):
        return None  # what is damaged is made anew: it follows from the plays and the model


def _name(artifact: str, rules: DriftRules, gap: int) -> str:
    return f"{artifact}/drift-{rules.days}d-gap{gap}.json"
