"""Whether the tables hold just the listens that were dealt to the last published days.

The publication counts what it does itself and refuses what does not add up (`publish.py`). This
looks at what came of it, from the other end: the lake, against the rows that are there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl
import psycopg

from moovitamix.ingest.contract import LISTENS
from moovitamix.ingest.lake import LakeStore
from moovitamix.ingest.pulls import kept_pulls, known_contents, rejected_on
from moovitamix.warehouse.stage import ROWS_A_WRITE, listens_by_file

_LAST = """
SELECT day, pull FROM published_days
WHERE run_id = (SELECT run_id FROM published_days ORDER BY published_at DESC, day DESC LIMIT 1)
ORDER BY day
"""

_DEALT = """
CREATE TEMPORARY TABLE dealt_listens
    (user_id bigint, track_id bigint, recorded_at timestamp, nth smallint) ON COMMIT DROP
"""

# What the app told in time is dealt to its day as well. What came while the day was being loaded
# is not missed yet: a later load takes it (`told.py`).
_TOLD = """
INSERT INTO dealt_listens
SELECT a.user_id, a.track_id, a.recorded_at, a.nth
FROM activity a
JOIN published_days p ON p.day = a.day AND p.day = ANY(%(days)s)
WHERE a.taken_at < p.published_at - %(underway)s::interval
  AND NOT EXISTS (SELECT FROM dealt_listens d
                  WHERE d.user_id = a.user_id AND d.recorded_at = a.recorded_at
                    AND d.track_id = a.track_id AND d.nth = a.nth)
"""

_FOUND = """
SELECT count(*), count(h.id), count(*) FILTER (WHERE h.id IS NULL AND w.nth IS NOT NULL)
FROM dealt_listens d
LEFT JOIN listen_history h
  ON h.user_id = d.user_id AND h.recorded_at = d.recorded_at
 AND h.track_id = d.track_id AND h.nth = d.nth
LEFT JOIN (
    SELECT DISTINCT (listen ->> 'user_id')::bigint AS user_id,
           (listen ->> 'track_id')::bigint AS track_id,
           (listen ->> 'recorded_at')::timestamp AS recorded_at,
           (listen ->> 'nth')::smallint AS nth
    FROM (SELECT (convert_from(payload, 'UTF8'))::json AS listen FROM quarantine
          WHERE endpoint = 'listens' AND resolved_at IS NULL) AS waiting) AS w
  ON w.user_id = d.user_id AND w.recorded_at = d.recorded_at
 AND w.track_id = d.track_id AND w.nth = d.nth
"""

# Rows that were recorded on these days and that their slices do not hold, by record; and whether
# the slices hold the record: then all of its plays should be there. What a retry of the quarantine
# has loaded is in no slice, and what the app told need not be.
_OTHERS = """
SELECT h.user_id, h.recorded_at, count(*),
       EXISTS (SELECT FROM dealt_listens d
               WHERE d.user_id = h.user_id AND d.recorded_at = h.recorded_at)
FROM listen_history h
WHERE h.recorded_at::date = ANY(%(days)s) AND NOT h.told
  AND NOT EXISTS (SELECT FROM dealt_listens d
                  WHERE d.user_id = h.user_id AND d.recorded_at = h.recorded_at
                    AND d.track_id = h.track_id AND d.nth = h.nth)
  AND NOT EXISTS (SELECT FROM quarantine q
                  WHERE q.endpoint = 'listen_history' AND q.resolved_at IS NOT NULL
                    AND q.key = h.user_id || ' '
                                || (extract(epoch FROM h.recorded_at) * 1000000)::bigint)
GROUP BY h.user_id, h.recorded_at
"""

# Longer than a load takes from staging a day to publishing it, and a request to commit.
UNDERWAY = timedelta(hours=6)

_REJECTED = "SELECT count(*) FROM quarantine WHERE endpoint = %s AND sha256 = ANY(%s)"


@dataclass(frozen=True)
class Reconciliation:
    """The listens of the last publication, counted where they come from and in the tables.

    Args:
        dealt: Plays that the lake dealt to these days, or the app told on them.
        loaded: Those of them in `listen_history`.
        waiting: Those of them in quarantine.
        rejected: Records that broke the contract, dealt to these days.
        set_aside: Those of them in quarantine.
        unknown: Rows recorded on these days that the lake does not know.
    """

    dealt: int = 0
    loaded: int = 0
    waiting: int = 0
    rejected: int = 0
    set_aside: int = 0
    unknown: int = 0

    @property
    def lost(self) -> int:
        """Plays that are neither loaded nor waiting."""
        return self.dealt - self.loaded - self.waiting

    @property
    def reconciles(self) -> bool:
        """Whether nothing is lost, and nothing there that nobody sent."""
        return self.lost == 0 and self.unknown == 0 and self.rejected == self.set_aside


def reconcile(connection: psycopg.Connection, lake: LakeStore) -> Reconciliation:
    """Compare the days of the last publication with the lake, as of the pull it was made with.

    One file of the lake is in memory at a time.

    Args:
        connection: A transaction of the warehouse, in which a temporary table is made.
        lake: Holds what was dealt.
    """
    published = connection.execute(_LAST).fetchall()
    if not published:
        return Reconciliation()
    days, pull = [day for day, _ in published], str(published[-1][1])
    connection.execute(_DEALT)
    # A pull that came after the publication may have dealt more to these days.
    # In this order: of what was told after the day was dealt to, a pull may know by now.
    _copy(connection, (rows.filter(pl.col("pull") <= pull) for rows in listens_by_file(lake, days)))
    connection.execute(_TOLD, {"days": days, "underway": UNDERWAY})
    dealt, loaded, waiting = connection.execute(_FOUND).fetchone() or (0, 0, 0)
    rejected = rejected_on(lake, LISTENS, days).filter(pl.col("pull") <= pull)["sha256"].to_list()
    set_aside = connection.execute(_REJECTED, (LISTENS.name, rejected)).fetchone() or (0,)
    others = connection.execute(_OTHERS, {"days": days}).fetchall()
    return Reconciliation(
        dealt=dealt,
        loaded=loaded,
        waiting=waiting,
        rejected=len(set(rejected)),
        set_aside=set_aside[0],
        unknown=_unknown(lake, days, others),
    )


def _copy(connection: psycopg.Connection, slices: Iterator[pl.DataFrame]) -> None:
    statement = "COPY dealt_listens FROM STDIN (FORMAT csv)"
    with connection.cursor().copy(statement) as copy:
        for rows in slices:
            named = rows.select("user_id", "track_id", "recorded_at", "nth")
            for part in named.iter_slices(ROWS_A_WRITE):
                copy.write(part.write_csv(include_header=False).encode())
    connection.execute("ANALYZE dealt_listens")


def _unknown(
    lake: LakeStore, days: Sequence[date], others: Sequence[tuple[int, object, int, bool]]
) -> int:
    """How many of these rows no pull knows: those of late and grown records are dealt elsewhere."""
    if not others:
        return 0
    rows = pl.DataFrame(
        others,
        schema={
            "user_id": pl.Int64,
            "created_at": pl.Datetime("us"),
            "plays": pl.Int64,
            "dealt": pl.Boolean,
        },
        orient="row",
    )
    # A record is stored once its day is over, by no pull before that.
    pulls = [one for one in kept_pulls(lake) if one.over >= min(days)]
    known = known_contents(lake, LISTENS, pulls).select(LISTENS.key)
    elsewhere = rows.filter(~pl.col("dealt")).join(known, on=list(LISTENS.key), how="semi")
    return int(rows["plays"].sum()) - int(elsewhere["plays"].sum())
